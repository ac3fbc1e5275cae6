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
        self._file, self._size = _open(path)

    def write(self, stream: int, timestamp_ns: int, payload: bytes) -> None:
        """One chunk as it was read, after a rotation when the file would grow over its size."""
        assert len(payload) <= PAYLOAD_MAX_BYTES
        if self.lost_bytes:
            mark = f"[{self.lost_bytes} bytes of output were lost: no space left on device]\n".encode()
            if not self._append_all(STDERR, timestamp_ns, mark):
                self.lost_bytes += len(payload)
                return
            self.lost_bytes = 0
        if not self._append_all(stream, timestamp_ns, payload):
            self.lost_bytes += len(payload)

    def _append_all(self, stream: int, timestamp_ns: int, payload: bytes) -> bool:
        if self._json is None:
            length = OVERHEAD_BYTES + len(payload)
            return self._append((encode_header(stream, len(payload), timestamp_ns), payload, TRAILER.pack(length)), length)
        batch: list[bytes] = []
        length = 0
        for record in self._json.encode(stream, timestamp_ns, payload):
            if batch and self._size + length + len(record) > self._max_bytes:
                if not self._append((b"".join(batch),), length):
                    return False
                batch, length = [], 0
            batch.append(record)
            length += len(record)
        return self._append((b"".join(batch),), length) if batch else True

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
        if self._max_files == 1:
            os.unlink(self._path)
        for number in range(self._max_files - 1, 0, -1):
            source = rotated(self._path, number - 1)
            if os.path.exists(source):
                os.rename(source, rotated(self._path, number))
        self._file, self._size = _open(self._path)

    def close(self) -> None:
        os.close(self._file)


def _open(path: str) -> tuple[int, int]:
    """The file for appending and its size, without the half record that a power failure may have left."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    size, whole = os.fstat(descriptor).st_size, whole_size(descriptor)
    if whole != size:
        os.ftruncate(descriptor, whole)
    return descriptor, whole
