"""The cgroups of a lab: /sys/fs/cgroup/<hierarchy>/festoon-lab/<lab>/<machine>, in every hierarchy that is mounted.

Owns their making, emptying (everything in them is killed) and removal, and what they weigh when processors are short: a machine as
much as one session of the host. Groups that are not a lab's are never touched. Source: cgroups(7), sched(7),
admin-guide/cgroup-v1/cpusets.rst, admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

from lab import processes

PARENT = "festoon-lab"
KILL_TIMEOUT_S = 20.0
MAKE_TRIES = 5
ROUND_S = 1.0  # a round of killing ends with the death of all that was there when it began, or after this time

WEIGHTS = (("cpu.shares", 1024, 262144), ("cpu.weight", 100, 10000))
"""The file of cgroup v1, of v2; the weight of one; the largest."""

_CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")


def hierarchies() -> tuple[str, ...]:
    """The mount points of all cgroup hierarchies, as this process sees them."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.split(" ", 1)[0] in ("cgroup", "cgroup2"):
            found.append(left.split(" ")[4].replace("\\040", " "))
    return tuple(dict.fromkeys(found))


def make(lab: str, machine: str) -> tuple[str, ...]:
    """The machine's groups (existing ones are kept), one in each hierarchy that can be written. Raises OSError when
    there is none.
    """
    made = []
    refusal: OSError | None = None
    for mount in hierarchies():
        try:
            made.append(_make(Path(mount), (PARENT, lab, machine)))
            _weigh(Path(mount, PARENT))
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            refusal = error
    if not made and refusal:
        raise refusal
    return tuple(made)


def empty(lab: str, machine: str = "") -> None:
    """Kill everything in the groups of a machine, or of the whole lab, and wait until it has ended. Raises
    TimeoutError.
    """
    roots = [Path(mount, PARENT, lab, machine) for mount in hierarchies()]
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while time.monotonic() < deadline:
        folders = [folder for root in roots for folder in _walk(root)]
        pids: set[int] = set().union(*(_procs(folder) for folder in folders)) - {os.getpid()}
        if not pids:
            return
        for root in roots:
            _kill_at_once(root)
        with processes.Killing(pids) as killing:
            for folder in folders:
                _thaw(folder)
            killing.wait(ROUND_S)  # not all: one was frozen after we looked, and the next round thaws it
    raise TimeoutError(f"processes of the lab did not end within {KILL_TIMEOUT_S:.0f} s of SIGKILL ({PARENT}/{lab}/{machine})")


def remove(lab: str, machine: str = "") -> None:
    """Remove the empty groups of a machine, or of the whole lab, and the parent when no lab is left. Raises OSError
    (EBUSY) when one is in use.
    """
    for mount in hierarchies():
        root = Path(mount, PARENT, lab, machine)
        for folder in reversed(_walk(root)):
            folder.rmdir()
        if not machine:
            _remove_unless_used(Path(mount, PARENT))
        _weigh(Path(mount, PARENT))


def _remove_unless_used(parent: Path) -> None:
    """Another lab may come, or be the last to go, at the same moment."""
    try:
        parent.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBUSY, errno.ENOTEMPTY):
            raise


def _make(mount: Path, parts: tuple[str, ...]) -> str:
    for _ in range(MAKE_TRIES):
        try:
            return _make_all(mount, parts)
        except FileNotFoundError:  # the last lab before this one has just removed the parent that both use
            continue
    return _make_all(mount, parts)


def _make_all(mount: Path, parts: tuple[str, ...]) -> str:
    folder = mount
    for part in parts:
        _hand_down(folder)
        folder = folder / part
        folder.mkdir(exist_ok=True)
        for name in _CPUSET_FILES:  # cpuset v1: a new group has no processors, and takes no process
            own, above = folder / name, folder.parent / name
            if own.exists() and above.exists() and not own.read_text().strip():
                _write(own, above.read_text().strip())
    return str(folder)


def _hand_down(folder: Path) -> None:
    """cgroup v2: the controllers that this group has, to its children; what may not be handed down is left out."""
    available = folder / "cgroup.controllers"
    if not available.exists():
        return
    for name in available.read_text().split():
        try:
            _write(folder / "cgroup.subtree_control", f"+{name}")
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOENT, errno.EACCES, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL):
                raise


def _weigh(parent: Path) -> None:
    """All labs together would weigh as much as one of the host's own programs, which are each for themselves: a lab's machines would wait for
    those for tenths of a second.
    """
    total = 0
    for lab in _groups_in(parent):
        count = len(_groups_in(lab))
        _set_weight(lab, count)
        total += count
    _set_weight(parent, total)


def _groups_in(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []


def _set_weight(folder: Path, machines: int) -> None:
    for name, one, largest in WEIGHTS:
        if (file := folder / name).exists():
            with contextlib.suppress(FileNotFoundError):  # another lab goes at this moment
                _write(file, str(min(max(machines, 1) * one, largest)))


def _walk(root: Path) -> list[Path]:
    """The group and all below, parents first."""
    return [Path(folder) for folder, _, _ in os.walk(root)]


def _procs(folder: Path) -> set[int]:
    try:
        return {int(pid) for pid in (folder / "cgroup.procs").read_text().split() if pid != "0"}
    except FileNotFoundError:
        return set()
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENODEV):  # a threaded group lists none; a removed one is gone
            return set()
        raise


def _thaw(folder: Path) -> None:
    """Frozen processes of a v1 group survive SIGKILL until they are thawed."""
    state = folder / "freezer.state"
    if state.exists() and state.read_text().strip() != "THAWED":
        _write(state, "THAWED")


def _kill_at_once(root: Path) -> None:
    kill = root / "cgroup.kill"
    if kill.exists():
        _write(kill, "1")


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
