"""A container's log on disk, in files rotated by size: frames (supervisor/frames.py), or Docker's JSON lines
(supervisor/jsonlines.py). Owns the writers; readers are in runtime/logs.py.

Records are never split over files. Rotation renames: `log` is the newest, then log.1, log.2, ... A full disk loses
output, never blocks the container, never leaves half a record; as soon as there is room a line says how much was lost.
"""

from __future__ import annotations

import errno
import os

from runtime.supervisor.frames import OVERHEAD_BYTES, PAYLOAD_MAX_BYTES, STDERR, TRAILER, encode_header
from runtime.supervisor.jsonlines import JsonLines
from runtime.supervisor.logformat import whole_size

JSON_FILE = "json-file"
ROOM_BYTES = 256 * 1024
"""Free on the disk before a log goes on that found it full."""


def rotated(path: str, number: int) -> str:
    """0 is the newest file."""
    return path if number == 0 else f"{path}.{number}"


class LogWriter:
    """Appends what a container writes. `driver`: JSON_FILE, or anything else for frames. `lost_bytes`: of the output
    that found the disk full, and for which no line stands in the log yet."""

    def __init__(self, path: str, max_bytes: int, max_files: int, driver: str = "local") -> None:
        """Raises OSError when the file can't be opened."""
        self._path = path
        self._max_bytes = max(max_bytes, OVERHEAD_BYTES)
        self._max_files = max(1, max_files)
        self._json = JsonLines() if driver == JSON_FILE else None
        self.lost_bytes = 0
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._file, self._size, self._inode = _open(path)

    @property
    def position(self) -> tuple[int, int]:
        """(inode, size) of the newest file: where the next record begins, unless a rotation comes first."""
        return self._inode, self._size

    def write(self, stream: int, timestamp_ns: int, payload: bytes) -> None:
        """One chunk as it was read, after a rotation when the file would grow over its size."""
        assert len(payload) <= PAYLOAD_MAX_BYTES
        if self.lost_bytes and payload and not self._has_room():
            self.lost_bytes += len(payload)
            return
        if self.lost_bytes:
            mark = f"[{self.lost_bytes} bytes of output were lost: no space left on device]\n".encode()
            if not self._append_all(STDERR, timestamp_ns, mark):
                self.lost_bytes += len(payload)
                return
            self.lost_bytes = 0
        if not self._append_all(stream, timestamp_ns, payload):
            self.lost_bytes += len(payload)

    def _has_room(self) -> bool:
        """For more than the line that says what was lost."""
        status = os.fstatvfs(self._file)
        return status.f_bavail * status.f_frsize >= ROOM_BYTES

    def _append_all(self, stream: int, timestamp_ns: int, payload: bytes) -> bool:
        if self._json is None:
            length = OVERHEAD_BYTES + len(payload)
            return self._append((encode_header(stream, len(payload), timestamp_ns), payload, TRAILER.pack(length)), length)
        records = self._json.encode(stream, timestamp_ns, payload)
        while records:
            length = self._fitting(records)
            if not self._append((records[:length],), length):
                return False
            records = records[length:]
        return True

    def _fitting(self, records: bytes) -> int:
        """Length of the records that go to the present file, or to the next one if none does; one at least."""
        room = self._max_bytes - self._size
        if len(records) <= room:
            return len(records)
        return (records.rfind(b"\n", 0, max(room, 0)) + 1) or (records.rfind(b"\n", 0, self._max_bytes) + 1) or (records.find(b"\n") + 1)

    def _append(self, parts: tuple[bytes, ...], length: int) -> bool:
        """Whole or not at all: False when the disk is full."""
        try:
            if self._size and self._size + length > self._max_bytes:
                self._rotate()
            written = os.writev(self._file, parts)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            return False
        if written != length:  # the disk became full in the middle
            os.ftruncate(self._file, self._size)
            return False
        self._size += length
        return True

    def _rotate(self) -> None:
        os.close(self._file)
        if self._max_files == 1:  # another file while the old one still exists: its inode is another one too
            os.rename(self._path, rotated(self._path, 1))
        for number in range(self._max_files - 1, 0, -1):
            source = rotated(self._path, number - 1)
            if os.path.exists(source):
                os.rename(source, rotated(self._path, number))
        self._file, self._size, self._inode = _open(self._path)
        if self._max_files == 1:
            os.unlink(rotated(self._path, 1))

    def close(self) -> None:
        os.close(self._file)


def set_back(path: str, inode: int, size: int) -> None:
    """Takes back what was written after the newest file had this inode and size; files that are newer become empty. Raises
    OSError."""
    number = 0
    while os.path.exists(file := rotated(path, number)):
        found = os.stat(file)
        if found.st_ino == inode:
            if found.st_size > size:
                os.truncate(file, size)
            return
        os.truncate(file, 0)
        number += 1


def _open(path: str) -> tuple[int, int, int]:
    """The file for appending, its size and its inode, without the half record that a power failure may have left."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    status, whole = os.fstat(descriptor), whole_size(descriptor)
    if whole != status.st_size:
        os.ftruncate(descriptor, whole)
    return descriptor, whole, status.st_ino
