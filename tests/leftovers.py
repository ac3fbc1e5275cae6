"""What a killed run of the tests has left is taken away by the next one. Owns the notes in the lock files of tests/driver.py.

A run notes each lab and folder in the file that it has locked before it makes it; whoever gets that lock later knows that the run is over, however it ended.
Only what is noted is touched: a live run holds its lock, and nobody else's labs are in the notes.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import trio

from lab.enter import ROOT
from runtime.cgroups.groups import read_layout, remove_folder
from runtime.client import open_supervisor
from runtime.errors import RuntimeFault
from tests.driver import CLAIM, OCTETS, Lab, lock_path

NOTES_MAX_BYTES = 1 << 20
END_TIMEOUT_S = 60.0
ATTEMPTS = re.compile(r"festoon-attempts-(\d+)")
"""The groups of tests/node/runtime/attempts.py, by the process that made them."""


def note_lab(name: str) -> None:
    os.write(CLAIM, f"lab {name}\n".encode())


def note_folder(folder: Path) -> None:
    """One that exists; its inode goes along, in case that its name is used again."""
    os.write(CLAIM, f"folder {folder.stat().st_ino} {folder}\n".encode())


def forget() -> None:
    """This run has come to its end by itself."""
    os.ftruncate(CLAIM, 0)


def begin() -> None:
    """Before anything is noted: what the former holder of our own lock has left, then what the others have left."""
    _take_away_noted(CLAIM)
    sweep()


def sweep() -> None:
    """Everything that is noted by other runs that are over. Our own notes are of what we are using."""
    for octet in OCTETS:
        if not os.path.exists(lock_path(octet)):
            continue
        lock = os.open(lock_path(octet), os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.fstat(lock).st_ino != os.fstat(CLAIM).st_ino:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _take_away_noted(lock)
        except BlockingIOError:
            pass  # that run is under way
        finally:
            os.close(lock)
    _remove_attempts()


def _take_away_noted(lock: int) -> None:
    for line in os.pread(lock, NOTES_MAX_BYTES, 0).decode().splitlines():
        _take_away(line)
    os.ftruncate(lock, 0)


def _take_away(line: str) -> None:
    kind, _, rest = line.partition(" ")
    if kind == "lab" and Path(ROOT, rest).exists():
        Lab(rest).festoon("down", timeout_s=END_TIMEOUT_S)
    elif kind == "folder":
        inode, _, folder = rest.partition(" ")
        if Path(folder).is_dir() and Path(folder).stat().st_ino == int(inode):
            _empty(folder)


def _empty(folder: str) -> None:
    """Containers end by their supervisor, which is started again if need be; then whoever has the folder in its command line; then mounts and files."""
    for run, state in sorted({places for pid in _naming(folder) if (places := _places(pid))}):
        trio.run(_shut_down, run, state)
    for pid in list(_naming(folder)):
        _kill(pid)
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        place = line.split(" ")[4]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", place], check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=True)


async def _shut_down(run: str, state: str) -> None:
    with trio.move_on_after(END_TIMEOUT_S):
        try:
            async with open_supervisor(run, state) as supervisor:
                await supervisor.shutdown()
        except (RuntimeFault, OSError):
            return  # what is left of it is killed


def _naming(folder: str) -> Iterator[int]:
    """Processes that have the folder, or something in it, in their command lines."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if re.search(re.escape(os.fsencode(folder)) + rb"(/|\0|$)", words):
                yield int(name)


def _places(pid: int) -> tuple[str, str] | None:
    """The folders of a stem or supervisor."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return None
    if "runtime.stem" not in words and "runtime.supervisor" not in words:
        return None
    return words[words.index("--run") + 1], words[words.index("--state") + 1]


def _kill(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [], END_TIMEOUT_S)
    finally:
        os.close(pidfd)


def _remove_attempts() -> None:
    """Groups whose maker no longer lives."""
    layout = read_layout()
    for hierarchy in (*layout.v1, *([layout.v2] if layout.v2 else [])):
        for entry in list(os.scandir(hierarchy.own)):
            maker = ATTEMPTS.fullmatch(entry.name)
            if maker and not os.path.exists(f"/proc/{maker[1]}"):
                remove_folder(entry.path)
