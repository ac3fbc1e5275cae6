"""The files of a log, opened for reading, all of one moment: the newest, and the rotated ones, which may be compressed. Owns no file's content.

A compressed file is opened at once and unpacked when it is read, into an unnamed file beside it (open(2), O_TMPFILE): who follows a log opens all of
its files at each rotation, and reads one. Source: RFC 1952, 2.3 (gzip's header).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from runtime.supervisor.logfile import PACKED, rotated

FILES_MAX = 1000
_PIECE_BYTES = 1024 * 1024
_HEADER_MAX_BYTES = 64
_NAME_AT = 10  # after magic, method, flags, time, extra flags, system


class LogFile:
    """`inode`: of the file when it was written."""

    def __init__(self, path: str) -> None:
        """Raises FileNotFoundError."""
        try:
            self._opened, self._packed = os.open(path, os.O_RDONLY | os.O_CLOEXEC), False
        except FileNotFoundError:
            self._opened, self._packed = os.open(path + PACKED, os.O_RDONLY | os.O_CLOEXEC), True
        self._folder = os.path.dirname(path)
        self._plain = -1 if self._packed else self._opened
        self.own_inode = os.fstat(self._opened).st_ino
        self.inode = _name_of(self._opened) if self._packed else self.own_inode

    @property
    def descriptor(self) -> int:
        """Of the records. Raises OSError when there is no room to unpack them, EOFError and zlib.error when what was compressed is damaged."""
        if self._plain < 0:
            self._plain = self._unpack()
        return self._plain

    def _unpack(self) -> int:
        import gzip  # noqa: PLC0415  (the logs of most containers never fill a file)

        plain = os.open(self._folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            with open(self._opened, "rb", closefd=False) as packed, gzip.GzipFile(fileobj=packed) as stream, open(plain, "wb", closefd=False) as file:
                while piece := stream.read(_PIECE_BYTES):
                    file.write(piece)
        except BaseException:
            os.close(plain)
            raise
        return plain

    def close(self) -> None:
        """Twice is once."""
        for descriptor in {self._opened, self._plain} - {-1}:
            os.close(descriptor)
        self._opened = self._plain = -1


def open_all(path: str) -> list[LogFile]:
    """Oldest first; opened again when a rotation came between. None when there is no log."""
    while True:
        files: list[LogFile] = []
        for number in range(FILES_MAX):
            try:
                files.append(LogFile(rotated(path, number)))
            except FileNotFoundError:
                break
        inodes = [file.own_inode for file in files]
        if len(set(inodes)) == len(inodes) and all(_inode_at(rotated(path, number)) == inode for number, inode in enumerate(inodes)):
            return files[::-1]
        close_all(files)


def close_all(files: Iterable[LogFile]) -> None:
    for file in files:
        file.close()


def _inode_at(path: str) -> int:
    """Of the file or its compressed form; 0 when it has gone."""
    for name in (path, path + PACKED):
        try:
            return os.stat(name).st_ino
        except FileNotFoundError:
            continue
    return 0


def _name_of(descriptor: int) -> int:
    """What the header of a compressed file says of the one that it was."""
    name = os.pread(descriptor, _HEADER_MAX_BYTES, _NAME_AT).partition(b"\0")[0]
    return int(name) if name.isdigit() else 0
