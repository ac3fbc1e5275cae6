"""What a lab has made on this machine: `/var/lib/festoon-lab/<name>/`, kept so that `down` takes away exactly that,
whatever has died.

    lab.json              the plan, and what was changed on the host
    <machine>/holder      "pid start-time" of the process that holds its namespaces; cgroups: its groups, one a line
    <machine>/state       the node's /var/lib/festoon;   festoond.log: what festoond says;   festoond: "pid start-time"

Every file is written aside and renamed. Times and pids are checked against the boot: after a restart of the host
nothing of it runs.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from lab import processes
from lab.layout import LabError, Layout
from lab.processes import Process

ROOT = Path("/var/lib/festoon-lab")
NODE_STATE = Path("/var/lib/festoon")
"""Where a machine sees its own state; on the host the folder must exist to be mounted on."""

MARKER = ".made-mount-point"
_GATEWAY = "gateway"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """lab.json."""

    layout: Layout
    uplink: bool = False
    ip_forward_before: str = ""  # the host's, when `--uplink` changed it
    registry: bool = False


def lab_folder(name: str) -> Path:
    return ROOT / name


def machine_folder(lab: str, machine: str) -> Path:
    return ROOT / lab / machine


def gateway_folder(lab: str) -> Path:
    """Of the process that holds the bridge's namespace."""
    return ROOT / lab / _GATEWAY


def names() -> tuple[str, ...]:
    """The labs that have left anything here."""
    if not ROOT.is_dir():
        return ()
    return tuple(sorted(p.name for p in ROOT.iterdir() if p.is_dir()))


@contextmanager
def locked() -> Iterator[None]:
    """One `up` or `down` at a time on this machine; waits for the other."""
    while True:
        ROOT.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(ROOT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if ROOT.is_dir() and os.fstat(fd).st_ino == ROOT.stat().st_ino:
            break
        os.close(fd)  # a `down` took the folder away while we waited
    try:
        yield
    finally:
        os.close(fd)


def read(name: str) -> Record:
    """Raises LabError when there is no such lab."""
    path = lab_folder(name) / "lab.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        others = f" (there are {', '.join(names())})" if names() else ""
        raise LabError(f"there is no lab {name!r}{others}: `festoon lab up` makes one") from None
    except msgspec.ValidationError as error:
        raise LabError(f"{path} can't be read ({error}): `festoon lab down --name {name}` removes the lab") from None


def write(record: Record) -> None:
    folder = lab_folder(record.layout.name)
    folder.mkdir(mode=0o700, exist_ok=True)
    _replace(folder / "lab.json", msgspec.json.format(msgspec.json.encode(record)))


def write_process(folder: Path, name: str, process: Process) -> None:
    _replace(folder / name, f"{process}\n".encode())


def read_process(folder: Path, name: str) -> Process | None:
    """The recorded process when it still runs."""
    try:
        process = processes.parse((folder / name).read_text())
    except FileNotFoundError:
        return None
    return process if process is not None and process.alive else None


def write_groups(folder: Path, groups: tuple[str, ...]) -> None:
    _replace(folder / "cgroups", "".join(f"{g}\n" for g in groups).encode())


def make_mount_point() -> None:
    """The folder on which machines mount their state; remembered when it was not there before."""
    if not NODE_STATE.exists():
        (ROOT / MARKER).touch()
        NODE_STATE.mkdir(mode=0o700)


def remove_roots() -> None:
    """After the last lab: what `make_mount_point` made, and the folder of labs."""
    if names():
        return
    marker = ROOT / MARKER
    if marker.exists():
        if NODE_STATE.is_dir() and not any(NODE_STATE.iterdir()):
            NODE_STATE.rmdir()
        marker.unlink()
    if not ROOT.is_mount():  # a guest has a file system of its own there, which stays
        ROOT.rmdir()


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
