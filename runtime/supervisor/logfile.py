"""A container's log on disk, in files rotated by size: frames (supervisor/frames.py), or Docker's JSON lines
(supervisor/jsonlines.py). Owns the writers; readers are in runtime/logs.py.

Records are never split over files. Rotation renames: `log` is the newest, then log.1, log.2, ..., which may be compressed (log.1.gz) when nothing
can take back any more what was written there. A full disk loses output, never blocks the container, never leaves half a record; as soon as there is
room a line says how much was lost.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from runtime.supervisor.frames import OVERHEAD_BYTES, PAYLOAD_MAX_BYTES, STDERR, TRAILER, encode_header
from runtime.supervisor.jsonlines import JsonLines
from runtime.supervisor.logformat import whole_size
from runtime.supervisor.packer import Packer

JSON_FILE = "json-file"
PACKED = ".gz"
ROOM_BYTES = 256 * 1024
"""Free on the disk before a log goes on that found it full."""
LINE_REST_MAX_BYTES = 4 * 1024
"""By as much a file may grow over its size so that its last line is whole."""


def rotated(path: str, number: int) -> str:
    """0 is the newest file."""
    return path if number == 0 else f"{path}.{number}"


@dataclass(slots=True)
class _Packing:
    """A rotated file that is being compressed. `number`: of its name, which later rotations change."""

    source: int
    target: int
    number: int = 1

    def close(self) -> None:
        os.close(self.source)
        os.close(self.target)


class LogWriter:
    """Appends what a container writes. `driver`: JSON_FILE, or anything else for frames. `packer`: compresses what was rotated. `lost_bytes`: of the
    output that found the disk full, and for which no line stands in the log yet."""

    def __init__(self, path: str, max_bytes: int, max_files: int, driver: str = "local", packer: Packer | None = None) -> None:
        """Raises OSError when the file can't be opened."""
        self._path = path
        self._max_bytes = max(max_bytes, OVERHEAD_BYTES)
        self._max_files = max(1, max_files)
        self._json = JsonLines() if driver == JSON_FILE else None
        self._open_lines: set[int] = set()
        self._packer = packer
        self._packing: _Packing | None = None
        self._unpacked = False  # whether the file that was rotated last waits for being compressed
        self.lost_bytes = 0
        try:
            _close_gaps(path, self._max_files)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._file, self._size, self._inode = _open(path)

    @property
    def position(self) -> tuple[int, int]:
        """(inode, size) of the newest file: where the next record begins, unless a rotation comes first."""
        return self._inode, self._size

    def write(self, stream: int, timestamp_ns: int, payload: bytes) -> None:
        """One chunk as it was read, after a rotation when the file would grow over its size."""
        assert len(payload) <= PAYLOAD_MAX_BYTES
        if self._unpacked and self._packer is not None and self._packer.free:
            self._pack(self._packer)
        if self.lost_bytes and payload and not self._has_room():
            self.lost_bytes += len(payload)
            return
        if self.lost_bytes:
            mark = f"[{self.lost_bytes} bytes of output were lost: no space left on device]\n".encode()
            if self._append_all(STDERR, timestamp_ns, mark):
                self.lost_bytes += len(payload)
                return
            self.lost_bytes = 0
        self.lost_bytes += self._append_all(stream, timestamp_ns, payload)

    def _has_room(self) -> bool:
        """For more than the line that says what was lost."""
        status = os.fstatvfs(self._file)
        return status.f_bavail * status.f_frsize >= ROOM_BYTES

    def _append_all(self, stream: int, timestamp_ns: int, payload: bytes) -> int:
        """How much of it was lost."""
        if self._json is None:
            return self._append_frames(stream, timestamp_ns, payload)
        records = self._json.encode(stream, timestamp_ns, payload)
        while records:
            length = self._fitting(records)
            if not self._append((records[:length],), length):
                return len(payload)
            records = records[length:]
        return 0

    def _append_frames(self, stream: int, timestamp_ns: int, payload: bytes) -> int:
        """One frame, or two where the file ends: lines stay whole, so that no file begins in the middle of one. How much was lost."""
        cut = self._line_end(stream, payload)
        if 0 < cut < len(payload):
            return self._append_frames(stream, timestamp_ns, payload[:cut]) + self._append_frames(stream, timestamp_ns, payload[cut:])
        length = OVERHEAD_BYTES + len(payload)
        written = self._append((encode_header(stream, len(payload), timestamp_ns), payload, TRAILER.pack(length)), length, rotate=cut == 0)
        if written and payload:
            (self._open_lines.discard if payload.endswith(b"\n") else self._open_lines.add)(stream)
        return 0 if written else len(payload)

    def _line_end(self, stream: int, payload: bytes) -> int:
        """How much of a chunk that is too large for this file still goes to it: the lines that fit, or else the rest of a line that was begun here,
        if that is short, though it does not fit."""
        room = self._max_bytes - self._size - OVERHEAD_BYTES
        if not self._size or len(payload) <= room:
            return 0
        fitting = payload.rfind(b"\n", 0, max(room, 0)) + 1
        if fitting or stream not in self._open_lines:
            return fitting
        return payload.find(b"\n", 0, LINE_REST_MAX_BYTES) + 1

    def _fitting(self, records: bytes) -> int:
        """Length of the records that go to the present file, or to the next one if none does; one at least."""
        room = self._max_bytes - self._size
        if len(records) <= room:
            return len(records)
        return (records.rfind(b"\n", 0, max(room, 0)) + 1) or (records.rfind(b"\n", 0, self._max_bytes) + 1) or (records.find(b"\n") + 1)

    def _append(self, parts: tuple[bytes, ...], length: int, *, rotate: bool = True) -> bool:
        """Whole or not at all: False when the disk is full."""
        try:
            if rotate and self._size and self._size + length > self._max_bytes:
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
            for form in ("", PACKED):
                _move(rotated(self._path, number - 1) + form, rotated(self._path, number) + form)
        self._file, self._size, self._inode = _open(self._path)
        if self._max_files == 1:
            os.unlink(rotated(self._path, 1))
        elif self._packing is not None:
            self._packing.number += 1
        self._unpacked = self._max_files > 1

    def _pack(self, packer: Packer) -> None:
        """Begins with the file that was rotated last. Never in the same `write` as the rotation: whoever takes up from a supervisor that died in there
        may have to set that file back."""
        self._unpacked = False
        try:
            source = os.open(rotated(self._path, 1), os.O_RDONLY | os.O_CLOEXEC)
            try:
                target = os.open(os.path.dirname(self._path), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o640)
            except OSError:
                os.close(source)
                raise
        except OSError:
            return  # it stays as it is
        packing = self._packing = _Packing(source, target)
        packer.pack(source, target, lambda whole: self._packed(packing, whole=whole))

    def _packed(self, packing: _Packing, *, whole: bool) -> None:
        """The compressed file takes the place of the plain one, unless that has been dropped, or the container has ended and may have another writer."""
        if self._packing is packing:
            self._packing = None
            if whole and packing.number < self._max_files:
                _take_place(packing.target, rotated(self._path, packing.number))
        packing.close()

    def close(self) -> None:
        self._packing = None
        os.close(self._file)


def _move(source: str, target: str) -> None:
    """A target whose place nothing takes goes."""
    if os.path.exists(source):
        os.rename(source, target)
    elif os.path.exists(target):
        os.unlink(target)


def _take_place(target: int, path: str) -> None:
    """Gives the unnamed file its name (linkat(2), AT_SYMLINK_FOLLOW), then drops the plain one, which is read while both are there."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{target}", os.path.basename(path) + PACKED, dst_dir_fd=folder)
        os.unlink(path)
    except OSError:
        return  # the plain one stays
    finally:
        os.close(folder)


def _close_gaps(path: str, max_files: int) -> None:
    """In the numbers, which a rotation that was interrupted leaves: readers stop at the first that is missing. Where both forms are there the plain one
    counts."""
    there = set(os.listdir(os.path.dirname(path)))
    name, place = os.path.basename(path), 1
    for number in range(1, max_files):
        forms = [form for form in ("", PACKED) if rotated(name, number) + form in there]
        if len(forms) > 1:
            os.unlink(rotated(path, number) + PACKED)
        if forms and number != place:
            os.rename(rotated(path, number) + forms[0], rotated(path, place) + forms[0])
        place += bool(forms)


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
