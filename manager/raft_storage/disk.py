"""What the raft directory asks of a disk: one method for each system call, so that a crash can come between any two of
them. Two are real: the machine's here, and the simulated one (sim/disk.py), which loses what was not synced.

Decides nothing. Every method raises OSError as the call does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Protocol

FILE_MODE: Final = 0o600


class Disk(Protocol):
    """Descriptors are the caller's to close."""

    def names(self, directory: Path, prefix: str) -> list[str]:
        """Files whose names start so, sorted; none that are unfinished (TEMPORARY)."""

    def read(self, path: Path) -> bytes: ...
    def size(self, path: Path) -> int: ...
    def create(self, path: Path) -> int:
        """A new file, open for reading and writing."""

    def open(self, path: Path) -> int: ...
    def allocate(self, descriptor: int, size_bytes: int) -> None: ...
    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int: ...
    def truncate(self, descriptor: int, size_bytes: int) -> None: ...
    def sync(self, descriptor: int) -> None: ...
    def sync_data(self, descriptor: int) -> None: ...
    def close(self, descriptor: int) -> None: ...
    def rename(self, old: Path, new: Path) -> None: ...
    def remove(self, path: Path) -> None: ...
    def sync_directory(self, path: Path) -> None: ...
    def random(self, count: int) -> bytes:
        """Bytes for salts."""


TEMPORARY: Final = ".tmp"


class MachineDisk:
    """This machine's."""

    def names(self, directory: Path, prefix: str) -> list[str]:
        return sorted(path.name for path in directory.glob(f"{prefix}*") if not path.name.endswith(TEMPORARY))

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def allocate(self, descriptor: int, size_bytes: int) -> None:
        os.posix_fallocate(descriptor, 0, size_bytes)

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(descriptor, data, offset)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        os.ftruncate(descriptor, size_bytes)

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def sync_data(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def remove(self, path: Path) -> None:
        path.unlink()

    def sync_directory(self, path: Path) -> None:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def random(self, count: int) -> bytes:
        return os.urandom(count)


MACHINE: Final = MachineDisk()
