"""One entry of a tar becoming a file, link, device or fifo in a folder that is given as a descriptor.

Owns how each kind is made and dressed (owner, mode, attributes, times); never decides where, and never follows a link.
Names are single components. Source: POSIX.1-2017 pax interchange format; xattr(7).
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator

from runtime.errors import BadImage
from runtime.images.tar import Entry, Kind

MAX_XATTR_BYTES = 65_536
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HOLE_BYTES = 4096


def lstat(parent: int, name: str) -> os.stat_result | None:
    """None where there is nothing of this name."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def remove(parent: int, name: str, found: os.stat_result) -> None:
    """Whatever it is, with all that is in it."""
    if stat.S_ISDIR(found.st_mode):
        shutil.rmtree(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)


def write_file(parent: int, name: str, entry: Entry, data: Iterator[bytes]) -> None:
    """A new regular file. Pages of zeros become holes. One that is to be ours, without bits that a change of owner or a write clears, is made as it
    is to be (nobody else can get into the folder before it is whole)."""
    plain = (entry.uid, entry.gid) == (os.geteuid(), os.getegid()) and not entry.mode & ~0o777
    fd = os.open(name, _FILE_FLAGS, entry.mode if plain else 0o600, dir_fd=parent)
    try:
        size, hole = 0, False
        for piece in data:
            size += len(piece)
            if hole := len(piece) >= _HOLE_BYTES and not piece.strip(b"\0"):
                os.lseek(fd, len(piece), os.SEEK_CUR)
                continue
            view = memoryview(piece)
            while view:
                view = view[os.write(fd, view) :]
        if hole:  # at its end
            os.ftruncate(fd, size)
        if not plain or os.fstat(fd).st_mode & 0o777 != entry.mode:  # a umask
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
        set_xattrs(fd, entry)  # after chown, which clears security.capability
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
    finally:
        os.close(fd)


def make_other(parent: int, name: str, entry: Entry) -> None:
    """A symbolic link, device or fifo."""
    if entry.kind is Kind.SYMLINK:
        os.symlink(entry.target, name, dir_fd=parent)
    elif entry.kind is Kind.FIFO:
        os.mkfifo(name, 0o600, dir_fd=parent)
    else:
        device = os.makedev(entry.major, entry.minor)
        if entry.kind is Kind.CHARACTER and device == 0:
            raise BadImage(f"invalid device in layer: {entry.name!r} is an overlayfs whiteout")
        kind = stat.S_IFCHR if entry.kind is Kind.CHARACTER else stat.S_IFBLK
        os.mknod(name, 0o600 | kind, device, dir_fd=parent)
    os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
    if entry.kind is not Kind.SYMLINK:
        os.chmod(name, entry.mode, dir_fd=parent)
    os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)


def dress_folder(fd: int, entry: Entry) -> None:
    """Everything but its times, which what is made in it would change."""
    os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode)
    set_xattrs(fd, entry)


def set_xattrs(fd: int, entry: Entry) -> None:
    """Those that a container may bring; others are left out. Raises BadImage for overlayfs's own."""
    for key, value in entry.xattrs:
        if key.startswith(("trusted.overlay.", "user.overlay.")):
            raise BadImage(f"invalid attribute in layer: {entry.name!r} carries {key}")
        if len(value) > MAX_XATTR_BYTES:
            raise BadImage(f"invalid attribute in layer: {entry.name!r}: {key} is longer than {MAX_XATTR_BYTES} bytes")
        if key == "security.capability" or key.startswith("user."):
            os.setxattr(fd, key, value)
