"""What a container changed: its upper folder compared with the layers below, and the same as an image's layer.

Owns the reading of overlayfs's form (whiteouts, opaque folders); goes by descriptors and follows no link. Read-only.
Source: kernel Documentation/filesystems/overlayfs.rst; moby's pkg/archive/changes.go; OCI image specification, layer.md.
"""

from __future__ import annotations

import os
import stat
from enum import Enum
from typing import NamedTuple

from runtime.images import tar_writer
from runtime.images.entries import FOLDER_FLAGS, lstat
from runtime.images.layers import OPAQUE_MARKER, OPAQUE_XATTR, WHITEOUT_PREFIX
from runtime.images.tar_writer import Write
from runtime.storage.pack import MAX_DEPTH, TooDeep, capability_of

_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Kind(Enum):
    """As `docker diff` counts them."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


class Change(NamedTuple):
    """`path` is absolute, in the container."""

    path: str
    kind: Kind


def changes(upper: str, lower: tuple[str, ...]) -> tuple[Change, ...]:
    """By path. `lower` top first. A folder that merely holds something changed is modified, as in Docker."""
    found: dict[str, Kind] = {}
    root = os.open(upper, FOLDER_FLAGS)
    below = [os.open(layer, FOLDER_FLAGS) for layer in lower]
    try:
        _compare(root, below, "", found, 0)
    finally:
        for fd in (root, *below):
            os.close(fd)
    return tuple(Change(path, kind) for path, kind in sorted(found.items()))


def _compare(folder: int, below: list[int], prefix: str, found: dict[str, Kind], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TooDeep(f"folders more than {MAX_DEPTH} below each other")
    if opaque(folder):
        for name in _names(below) - set(os.listdir(folder)):
            _note(found, prefix, name, Kind.DELETED)
    for name in os.listdir(folder):
        here = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if is_whiteout(here):
            if _visible(below, name) is not None:
                _note(found, prefix, name, Kind.DELETED)
            continue
        there = _visible(below, name)
        if there is None:
            _note(found, prefix, name, Kind.ADDED)
        elif not _same_folder(here, there):
            _note(found, prefix, name, Kind.MODIFIED)
        if stat.S_ISDIR(here.st_mode):
            fd = os.open(name, FOLDER_FLAGS, dir_fd=folder)
            deeper = _folders(below, name)
            try:
                _compare(fd, deeper, f"{prefix}/{name}", found, depth + 1)
            finally:
                for each in (fd, *deeper):
                    os.close(each)


def _note(found: dict[str, Kind], prefix: str, name: str, kind: Kind) -> None:
    found[f"{prefix}/{name}"] = kind
    while prefix and prefix not in found:
        found[prefix] = Kind.MODIFIED
        prefix = prefix.rpartition("/")[0]


def _same_folder(here: os.stat_result, there: os.stat_result) -> bool:
    """Copied up only because something in it was."""
    both = stat.S_ISDIR(here.st_mode) and stat.S_ISDIR(there.st_mode)
    return both and (here.st_mode, here.st_uid, here.st_gid, here.st_mtime_ns) == (there.st_mode, there.st_uid, there.st_gid, there.st_mtime_ns)


def _visible(below: list[int], name: str) -> os.stat_result | None:
    """What the layers show of a name of their (merged) folder."""
    for layer in below:
        if (entry := lstat(layer, name)) is not None:
            return None if is_whiteout(entry) else entry
        if opaque(layer):
            return None
    return None


def _names(below: list[int]) -> set[str]:
    return {name for layer in below for name in os.listdir(layer) if _visible(below, name) is not None}


def _folders(below: list[int], name: str) -> list[int]:
    """The layers' folders that are merged under a name, top first; descriptors of the caller's."""
    found: list[int] = []
    for layer in below:
        entry = lstat(layer, name)
        if entry is not None and not stat.S_ISDIR(entry.st_mode):
            break
        if entry is not None:
            found.append(os.open(name, FOLDER_FLAGS, dir_fd=layer))
            if opaque(found[-1]):
                break
        if opaque(layer):
            break
    return found


def is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def opaque(folder: int) -> bool:
    try:
        return os.getxattr(folder, OPAQUE_XATTR) == b"y"
    except OSError:
        return False


def may_have(layers: tuple[str, ...], path: str) -> bool:
    """Whether an image can have something at a path: False is sure, True is not (links are not followed)."""
    for layer in layers:
        at = layer
        for part in filter(None, path.split("/")):
            at = f"{at}/{part}"
            try:
                found = os.lstat(at)
            except (FileNotFoundError, NotADirectoryError):
                break
            if stat.S_ISLNK(found.st_mode):
                return True
        else:
            return True
    return False


def write_layer(upper: str, write: Write) -> None:
    """The upper folder as an image's layer: a tar whose whiteouts have the names of the OCI specification."""
    root = os.open(upper, FOLDER_FLAGS)
    try:
        _Layer(write).folder(root, "", 0)
    finally:
        os.close(root)
    tar_writer.end(write)


class _Layer:
    def __init__(self, write: Write) -> None:
        self._write = write
        self._written: dict[tuple[int, int], str] = {}

    def folder(self, fd: int, prefix: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise TooDeep(f"folders more than {MAX_DEPTH} below each other")
        if opaque(fd):
            self._write(tar_writer.plain(prefix + OPAQUE_MARKER, 0))
        for name in sorted(os.listdir(fd)):
            self._entry(fd, name, prefix, depth)

    def _entry(self, parent: int, name: str, prefix: str, depth: int) -> None:
        found = lstat(parent, name)
        if found is None:
            return
        if is_whiteout(found):
            self._write(tar_writer.plain(f"{prefix}{WHITEOUT_PREFIX}{name}", 0))
        elif stat.S_ISDIR(found.st_mode):
            fd = os.open(name, FOLDER_FLAGS, dir_fd=parent)
            try:
                self._write(tar_writer.header(prefix + name, found))
                self.folder(fd, f"{prefix}{name}/", depth + 1)
            finally:
                os.close(fd)
        elif stat.S_ISREG(found.st_mode):
            self._file(parent, name, prefix + name)
        else:
            target = os.readlink(name, dir_fd=parent) if stat.S_ISLNK(found.st_mode) else ""
            self._write(tar_writer.header(prefix + name, found, target=target))

    def _file(self, parent: int, name: str, shown: str) -> None:
        fd = os.open(name, _FILE_FLAGS, dir_fd=parent)
        try:
            found = os.fstat(fd)
            key = (found.st_dev, found.st_ino)
            if key in self._written:
                self._write(tar_writer.header(shown, found, target=self._written[key], hard_link=True))
                return
            self._write(tar_writer.header(shown, found, xattrs=capability_of(fd)))
            tar_writer.copy_file(self._write, fd, found.st_size)
            if found.st_nlink > 1:
                self._written[key] = shown
        finally:
            os.close(fd)
