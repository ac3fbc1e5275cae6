"""A path of a tree as a tar stream, and a tree copied into a folder. Inside the storage worker; goes by descriptors.

Owns the order of entries, hard links and which attributes travel; never follows a link. Source: moby's pkg/archive.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable

from runtime.errors import BadImage
from runtime.images import tar_writer
from runtime.images.entries import FOLDER_FLAGS
from runtime.images.tar_writer import Write
from runtime.kernel import constants as k
from runtime.storage import places
from runtime.storage.requests import Done, PathStat
from runtime.storage.tree import open_in_root

MAX_DEPTH = 512  # folders below each other, each of which costs a descriptor
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CAPABILITY = "security.capability"
_SEND_BYTES = 1 << 30
_OUT_BYTES = 1024 * 1024


class TooDeep(BadImage):
    """Folders below each other beyond MAX_DEPTH."""


def to_output(root: int, path: str, describe: Callable[[PathStat], None]) -> Done:
    """The request `Pack`: on standard output, after what stands at the path has been told."""
    with open(1, "wb", buffering=_OUT_BYTES, closefd=False) as out:
        packer = Packer(out.write)
        if not path:
            packer.add_all(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), "")
        else:
            described = places.described(root, path)
            parent, name, found = places.located(root, path)
            describe(described)
            written = posixpath.split(places.absolute(path))[1]
            shown = written or described.name
            if name == "." and stat.S_ISDIR(found.st_mode):
                shown = "./" if written == "." else shown.rstrip("/") + "/"
                out.write(tar_writer.header(shown, found))
                packer.add_all(parent, shown)
            else:
                packer.add(parent, name, shown)
        tar_writer.end(out.write)
    return Done()


def populate(root: int, path: str, volume: int) -> Done:
    """The request `Populate`, with the volume's folder open."""
    try:
        source = open_in_root(root, path, k.O_RDONLY | k.O_DIRECTORY)
    except FileNotFoundError:
        return Done()  # the image has nothing there
    except NotADirectoryError:
        raise BadImage(f"cannot mount volume over existing file, file exists {path}") from None
    if not os.listdir(volume):
        copy_tree(source, volume)
    return Done()


class Packer:
    """State: which files with several names have been written, under which name."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._written: dict[tuple[int, int], str] = {}

    def add(self, parent: int, name: str, shown: str, *, depth: int = 0) -> None:
        """The entry `name` of the folder, called `shown` in the archive, and all that is in it. What goes away meanwhile
        is left out.
        """
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                self._folder(parent, name, shown, found, depth)
            elif stat.S_ISREG(found.st_mode):
                self._file(parent, name, shown, found)
            else:
                target = os.readlink(name, dir_fd=parent) if stat.S_ISLNK(found.st_mode) else ""
                self._write(tar_writer.header(shown, found, target=target))
        except FileNotFoundError:
            return

    def add_all(self, folder: int, prefix: str, *, depth: int = 0) -> None:
        """What is in a folder, in the order of names."""
        if depth > MAX_DEPTH:
            raise TooDeep(f"folders more than {MAX_DEPTH} below each other")
        for name in sorted(os.listdir(folder)):
            self.add(folder, name, prefix + name, depth=depth)

    def _folder(self, parent: int, name: str, shown: str, found: os.stat_result, depth: int) -> None:
        fd = os.open(name, FOLDER_FLAGS, dir_fd=parent)
        try:
            self._write(tar_writer.header(shown, found))
            self.add_all(fd, shown if shown.endswith("/") else shown + "/", depth=depth + 1)
        finally:
            os.close(fd)

    def _file(self, parent: int, name: str, shown: str, found: os.stat_result) -> None:
        key = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and key in self._written:
            self._write(tar_writer.header(shown, found, target=self._written[key], hard_link=True))
            return
        fd = os.open(name, _FILE_FLAGS, dir_fd=parent)
        try:
            opened = os.fstat(fd)
            if not stat.S_ISREG(opened.st_mode):
                return  # replaced in between
            self._write(tar_writer.header(shown, opened, xattrs=capability_of(fd)))
            tar_writer.copy_file(self._write, fd, opened.st_size)
        finally:
            os.close(fd)
        self._written[key] = shown


def capability_of(fd: int) -> tuple[tuple[str, bytes], ...]:
    """The one attribute that archives carry: what a file's program may do."""
    try:
        return ((_CAPABILITY, os.getxattr(fd, _CAPABILITY)),)
    except OSError:
        return ()


def copy_tree(source: int, target: int) -> None:
    """Everything that is in one folder into another, empty one: owners, modes, times, links, attributes."""
    _Copy(target).fill(source, target, "")


class _Copy:
    """State: the files with several names that have been copied, each with the folder and name of its first copy."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._copied: dict[tuple[int, int], str] = {}

    def fill(self, source: int, target: int, prefix: str) -> None:
        if prefix.count("/") > MAX_DEPTH:
            raise TooDeep(f"folders more than {MAX_DEPTH} below each other")
        for name in os.listdir(source):
            self._entry(source, target, name, prefix)
        dress(source, target)

    def _entry(self, source: int, target: int, name: str, prefix: str) -> None:
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            inner, outer = os.open(name, FOLDER_FLAGS, dir_fd=source), os.open(name, FOLDER_FLAGS, dir_fd=target)
            try:
                self.fill(inner, outer, f"{prefix}{name}/")
            finally:
                os.close(inner)
                os.close(outer)
        elif (first := self._copied.get((found.st_dev, found.st_ino))) is not None:
            os.link(first, name, src_dir_fd=self._top, dst_dir_fd=target, follow_symlinks=False)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(source, target, name)
            if found.st_nlink > 1:
                self._copied[found.st_dev, found.st_ino] = prefix + name
        else:
            if stat.S_ISLNK(found.st_mode):
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            else:
                os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
            os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def _copy_file(source: int, target: int, name: str) -> None:
    reader = os.open(name, _FILE_FLAGS, dir_fd=source)
    try:
        writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            while os.sendfile(writer, reader, None, _SEND_BYTES):
                pass
            dress(reader, writer)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def dress(source: int, target: int) -> None:
    """Owner, mode, attributes and times of one opened file or folder onto another."""
    found = os.fstat(source)
    os.fchown(target, found.st_uid, found.st_gid)
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    for key in os.listxattr(source):
        if key == _CAPABILITY or key.startswith("user."):
            os.setxattr(target, key, os.getxattr(source, key))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
