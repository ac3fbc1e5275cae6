"""A container's log on disk: frames (supervisor/frames.py) in files rotated by size. Owns the writer; readers are
in runtime/logs.py.

Frames are never split over files. Rotation renames: `log` is the newest, then log.1, log.2, ...
"""

from __future__ import annotations

import errno
import os

from runtime.supervisor.frames import OVERHEAD_BYTES, PAYLOAD_MAX_BYTES, TRAILER, encode_header, whole_size


def rotated(path: str, number: int) -> str:
    """0 is the newest file."""
    return path if number == 0 else f"{path}.{number}"


class LogWriter:
    """Appends frames. A full disk loses output (counted in `lost_bytes`), never blocks the container, never leaves
    half a frame."""

    def __init__(self, path: str, max_bytes: int, max_files: int) -> None:
        """Raises OSError when the file can't be opened."""
        self._path = path
        self._max_bytes = max(max_bytes, OVERHEAD_BYTES)
        self._max_files = max(1, max_files)
        self.lost_bytes = 0
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._file, self._size = _open(path)

    def write(self, stream: int, timestamp_ns: int, payload: bytes) -> None:
        """One frame, after a rotation when the file would grow over its size."""
        assert len(payload) <= PAYLOAD_MAX_BYTES
        length = OVERHEAD_BYTES + len(payload)
        try:
            if self._size and self._size + length > self._max_bytes:
                self._rotate()
            written = os.writev(self._file, (encode_header(stream, len(payload), timestamp_ns), payload, TRAILER.pack(length)))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            self.lost_bytes += len(payload)
            return
        if written != length:  # the disk became full in the middle
            os.ftruncate(self._file, self._size)
            self.lost_bytes += len(payload)
            return
        self._size += length

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
    """The file for appending and its size, without the half frame that a power failure may have left."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    size, whole = os.fstat(descriptor).st_size, whole_size(descriptor)
    if whole != size:
        os.ftruncate(descriptor, whole)
    return descriptor, whole
