"""Writing tar streams in the pax format: headers from files' facts, content, the end.

Owns the format (by the standard library's header encoder); never opens a path. Source: POSIX.1-2017 pax interchange
format.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable

BLOCK_BYTES = 512
COPY_BYTES = 1024 * 1024
END = bytes(2 * BLOCK_BYTES)
XATTR_PREFIX = "SCHILY.xattr."
_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE, stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE, stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE, stat.S_IFIFO: tarfile.FIFOTYPE,
}  # fmt: skip

Write = Callable[[bytes], object]


def header(name: str, found: os.stat_result, *, target: str = "", hard_link: bool = False, xattrs: tuple[tuple[str, bytes], ...] = ()) -> bytes:
    """The blocks before an entry's content; times in whole seconds, as Docker writes them. A socket has no header: the
    result is empty.
    """
    kind = _KINDS.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        return b""
    info = tarfile.TarInfo(name)
    info.type = tarfile.LNKTYPE if hard_link else kind
    info.mode = stat.S_IMODE(found.st_mode)
    info.uid, info.gid, info.mtime = found.st_uid, found.st_gid, int(found.st_mtime)
    info.linkname = target
    info.size = found.st_size if info.type == tarfile.REGTYPE else 0
    if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    info.pax_headers = {XATTR_PREFIX + key: value.decode("utf-8", "surrogateescape") for key, value in xattrs}
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def plain(name: str, size_bytes: int, *, folder: bool = False, mtime_s: int = 0) -> bytes:
    """The header of a file or folder that is nobody's: the parts of an image archive."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = (tarfile.DIRTYPE, 0o755) if folder else (tarfile.REGTYPE, 0o644)
    info.size, info.mtime = size_bytes, mtime_s
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def copy_file(write: Write, fd: int, size_bytes: int) -> None:
    """Exactly that many bytes and the padding; a file that has become shorter meanwhile is filled with zeros."""
    left = size_bytes
    while left:
        piece = os.read(fd, min(left, COPY_BYTES))
        if not piece:
            piece = bytes(min(left, COPY_BYTES))
        write(piece)
        left -= len(piece)
    write(bytes(-size_bytes % BLOCK_BYTES))


def end(write: Write) -> None:
    write(END)
