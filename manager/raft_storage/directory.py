"""The raft directory: its lock, and files that are there whole or not at all. Owns no format.

    raft/lock              flock held by the manager that uses the directory (flock(2))
    raft/key               the data key, wrapped (key.py)
    raft/log-<number>      segments of the log (wal.py)
    raft/snapshot-<index>  snapshots (snapshots.py)
    raft/*.tmp             unfinished files of a manager that died; removed by the next
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from manager.raft_storage.disk import FILE_MODE, MACHINE, TEMPORARY, Disk
from manager.raft_storage.faults import InUse, LogFull, StorageFault

DIRECTORY_MODE: Final = 0o700
BLOCK_BYTES: Final = 512  # of st_blocks, stat(2)
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Usage(NamedTuple):
    """`log_bytes` with what is preallocated; `snapshot` is the last entry in the newest one, 0 without any."""

    log_bytes: int
    snapshot: int
    snapshot_bytes: int


def usage(path: Path) -> Usage:
    """What the files take now. Raises OSError."""
    log_bytes = sum(segment.stat().st_blocks * BLOCK_BYTES for segment in path.glob("log-*"))
    saved = [file for file in sorted(path.glob("snapshot-*")) if file.suffix != TEMPORARY]
    if not saved:
        return Usage(log_bytes, 0, 0)
    return Usage(log_bytes, int(saved[-1].name.removeprefix("snapshot-"), 16), saved[-1].stat().st_size)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Make the directory if it is not there, hold its lock, and clear away what an earlier manager left unfinished.
    Raises InUse.
    """
    path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUse(str(path)) from error
        for unfinished in path.glob(f"*{TEMPORARY}"):
            unfinished.unlink()
        yield
    finally:
        os.close(lock)


def sync_directory(path: Path, disk: Disk = MACHINE) -> None:
    """Make the directory's entries durable. Raises StorageFault."""
    try:
        disk.sync_directory(path)
    except OSError as error:
        raise call_failed("fsync", path, error) from error


@contextmanager
def new_file(path: Path, disk: Disk = MACHINE) -> Iterator[int]:
    """The descriptor of a file that appears under `path`, durable, when the block ends; when it raises, nothing
    appears.

    The descriptor is open for reading and writing and is the caller's to close. Raises LogFull when there is no room,
    StorageFault when the disk fails.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    made = False
    descriptor = -1
    try:
        descriptor = disk.create(temporary)
        yield descriptor
        disk.sync(descriptor)
        disk.rename(temporary, path)
        made = True
    except OSError as error:
        if error.errno in NO_ROOM:
            raise LogFull(str(path.parent)) from error
        raise call_failed("making", path, error) from error
    finally:
        if not made and descriptor >= 0:
            disk.close(descriptor)
            disk.remove(temporary)
    sync_directory(path.parent, disk)


def write_all(descriptor: int, data: bytes, offset: int, disk: Disk = MACHINE) -> None:
    """Write all of `data` at `offset`. Raises OSError."""
    view = memoryview(data)
    while view:
        written = disk.write(descriptor, view, offset)
        view, offset = view[written:], offset + written


def call_failed(call: str, path: Path, error: OSError) -> StorageFault:
    """The fault for a failed system call."""
    return StorageFault(f"{call} {path}: {error.strerror} ({errno.errorcode.get(error.errno or 0, error.errno)})")
