"""Unpacking one layer into a folder, in overlayfs form, without ever leaving it.

Owns what becomes of each entry of a layer's tar. Every step goes from folder descriptor to folder descriptor with
O_NOFOLLOW; a symbolic link on the way is resolved inside the layer's own root. Whiteouts become overlayfs's (character
device 0:0, `trusted.overlay.opaque`). It never decides where layers live: that is store.py. Source: OCI image
specification, layer.md; kernel Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from runtime.errors import BadImage
from runtime.images import compression, entries
from runtime.images.tar import Entry, Kind, Read, TarReader

MAX_LAYER_BYTES = 64 * 1024**3  # content of all files of one layer
MAX_LAYER_ENTRIES = 2_000_000
MAX_PATH_DEPTH = 256  # folders
MAX_LINKS_FOLLOWED = 40  # as the kernel
OPEN_FOLDERS_MAX = 256
DRAIN_BYTES = 1024 * 1024

WHITEOUT_PREFIX = ".wh."
OPAQUE_MARKER = ".wh..wh..opq"
AUFS_PREFIX = ".wh..wh."
OPAQUE_XATTR = "trusted.overlay.opaque"


class Limits(NamedTuple):
    """What one layer may cost."""

    layer_bytes: int = MAX_LAYER_BYTES
    entries: int = MAX_LAYER_ENTRIES


DEFAULT_LIMITS = Limits()


class Unpacked(NamedTuple):
    """`diff_id` is the digest of the whole uncompressed stream; `size_bytes` the content of the regular files and links; `opaque`
    (device, inode) of the folders that hide what is below, which `mark_opaque` is to be told.
    """

    diff_id: str
    size_bytes: int
    entries: int
    opaque: tuple[tuple[int, int], ...] = ()


def unpack(read: Read, folder_fd: int, *, base: bool, limits: Limits = DEFAULT_LIMITS, ahead: bool = False) -> Unpacked:
    """Write the uncompressed tar stream into the empty folder; a `base` layer hides nothing, so its whiteouts are
    dropped. `ahead`: read and hash in a thread of its own, which a failure leaves behind (so in a process that ends).

    Raises BadImage for what a layer may not hold and OSError when the file system refuses. What was written stays: the
    caller throws the folder away.
    """
    digest = hashlib.sha256()

    def hashed(count: int) -> bytes:
        piece = read(count)
        digest.update(piece)
        return piece

    layer = _Layer(folder_fd, base)
    count = size = 0
    source = compression.ahead(hashed) if ahead else hashed
    reader = TarReader(source)
    for entry in reader:
        count += 1
        size += entry.size_bytes or len(entry.target) * (entry.kind is Kind.SYMLINK)
        if count > limits.entries:
            raise BadImage(f"a layer of more than {limits.entries} entries")
        if size > limits.layer_bytes:
            raise BadImage(f"a layer of more than {limits.layer_bytes} bytes")
        layer.add(entry, reader.data())
    layer.finish()
    left = limits.layer_bytes
    while piece := source(DRAIN_BYTES):
        left -= len(piece)
        if left < 0:
            raise BadImage(f"a layer of more than {limits.layer_bytes} bytes")
    return Unpacked(f"sha256:{digest.hexdigest()}", size, count, tuple(sorted(layer.opaque)))


def mark_opaque(folder_fd: int, opaque: tuple[tuple[int, int], ...]) -> None:
    """Set overlayfs's attribute on the folders that `unpack` found to hide what is below: that takes a right which the
    one who unpacks need not have.
    """
    wanted = set(opaque)
    if not wanted:
        return
    for _, _, _, fd in os.fwalk(".", dir_fd=folder_fd, follow_symlinks=False):
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) in wanted:
            os.setxattr(fd, OPAQUE_XATTR, b"y")


def components(name: str) -> tuple[str, ...]:
    """The parts of an entry's name relative to the layer's root. Raises BadImage for `..` and NUL; a leading slash
    means the root, as in Docker.
    """
    parts = tuple(p for p in name.split("/") if p not in ("", "."))
    if ".." in parts or "\0" in name:
        raise BadImage(f"invalid name in layer: {name!r} leaves the layer")
    if len(parts) > MAX_PATH_DEPTH:
        raise BadImage(f"a name of more than {MAX_PATH_DEPTH} folders")
    return parts


class _Layer:
    """The folder being filled. Remembers folders' times, which are set last."""

    def __init__(self, root_fd: int, base: bool) -> None:
        self._root_fd = root_fd
        self._base = base
        self._folder_times: dict[tuple[str, ...], int] = {}
        self._open: dict[tuple[str, ...], int] = {}
        self._stale = False
        self.opaque: set[tuple[int, int]] = set()

    def add(self, entry: Entry, data: Iterator[bytes]) -> None:
        parts = components(entry.name)
        if not parts:
            if entry.kind is not Kind.DIRECTORY:
                raise BadImage(f"invalid name in layer: {entry.name!r} is the root itself")
            self._dress_folder(self._root_fd, parts, entry)
            return
        with self._parent(parts[:-1], entry.name) as parent:
            if parts[-1].startswith(WHITEOUT_PREFIX):
                self._whiteout(parent, parts)
            elif entry.kind is not Kind.FILE or not self._is_made(parent, parts[-1], entry, data):
                self._make_room(parent, parts, entry)
                self._make(parent, parts, entry, data)

    @contextmanager
    def _parent(self, parts: tuple[str, ...], name: str) -> Iterator[int]:
        """As `_folder`, from those that are open already: what lies in one folder comes together in a tar, or in turn with few others."""
        if self._stale or len(self._open) >= OPEN_FOLDERS_MAX:
            self._close_folders()
        found = self._open.get(parts)
        if found is None:
            with self._folder(parts, name) as fd:
                found = self._open[parts] = os.dup(fd)
        yield found

    def _close_folders(self) -> None:
        """Also after a folder or link has gone (`_stale`): another may come in its place."""
        self._stale = False
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def finish(self) -> None:
        """Folders' times, which every entry made in them has changed."""
        self._close_folders()
        for parts, mtime_ns in sorted(self._folder_times.items(), reverse=True):
            try:
                with self._folder(parts, "/".join(parts), create=False) as fd:
                    os.utime(fd, ns=(mtime_ns, mtime_ns))
            except (FileNotFoundError, NotADirectoryError):
                continue  # replaced by a later entry

    @contextmanager
    def _folder(self, parts: tuple[str, ...], name: str, *, create: bool = True) -> Iterator[int]:
        """A descriptor of the folder, made where missing; links are followed inside the root only."""
        stack = [os.dup(self._root_fd)]
        try:
            todo = list(reversed(parts))
            links = 0
            while todo:
                part = todo.pop()
                if part == "..":
                    if len(stack) == 1:
                        raise BadImage(f"invalid name in layer: {name!r} leaves the layer through a link")
                    os.close(stack.pop())
                    continue
                target = _link_target(stack[-1], part)
                if target is None:
                    stack.append(self._open_folder(stack[-1], part, create=create))
                    continue
                links += 1
                if links > MAX_LINKS_FOLLOWED:
                    raise BadImage(f"invalid name in layer: {name!r} follows too many links")
                if target.startswith("/"):
                    while len(stack) > 1:
                        os.close(stack.pop())
                todo.extend(reversed([p for p in target.split("/") if p not in ("", ".")]))
            yield stack[-1]
        finally:
            for fd in stack:
                os.close(fd)

    def _whiteout(self, parent: int, parts: tuple[str, ...]) -> None:
        marker = parts[-1]
        if marker == OPAQUE_MARKER:
            if not self._base:
                self._hide_below(parent)
            return
        if marker.startswith(AUFS_PREFIX):
            return  # aufs's own bookkeeping
        hidden = marker.removeprefix(WHITEOUT_PREFIX)
        if hidden in ("", ".", ".."):
            raise BadImage(f"invalid name in layer: stray whiteout {'/'.join(parts)!r}")
        if self._base:
            return
        found = entries.lstat(parent, hidden)
        if found is None:
            os.mknod(hidden, 0o600 | stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
        elif stat.S_ISDIR(found.st_mode):  # a whiteout hides lower layers only: what this layer brought stays
            self._make_opaque(parent, hidden)

    def _is_made(self, parent: int, name: str, entry: Entry, data: Iterator[bytes]) -> bool:
        """Most files are the first of their name: one that is not is found by making it."""
        try:
            entries.write_file(parent, name, entry, data)
        except FileExistsError:
            return False
        return True

    def _make_room(self, parent: int, parts: tuple[str, ...], entry: Entry) -> None:
        found = entries.lstat(parent, parts[-1])
        if found is None or entry.kind is Kind.DIRECTORY:
            return  # _open_folder keeps a folder and replaces anything else
        if stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode):
            self._stale = True
        entries.remove(parent, parts[-1], found)

    def _make(self, parent: int, parts: tuple[str, ...], entry: Entry, data: Iterator[bytes]) -> None:
        name = parts[-1]
        if entry.kind is Kind.DIRECTORY:
            fd = self._open_folder(parent, name, create=True)
            try:
                self._dress_folder(fd, parts, entry)
            finally:
                os.close(fd)
        elif entry.kind is Kind.FILE:
            entries.write_file(parent, name, entry, data)
        elif entry.kind is Kind.HARDLINK:
            self._hardlink(parent, name, entry)
        else:
            entries.make_other(parent, name, entry)

    def _hardlink(self, parent: int, name: str, entry: Entry) -> None:
        target = components(entry.target)
        if not target:
            raise BadImage(f"invalid hardlink {entry.name!r} -> {entry.target!r}")
        try:
            with self._folder(target[:-1], entry.target, create=False) as source:
                found = entries.lstat(source, target[-1])
                if found is None or stat.S_ISDIR(found.st_mode):
                    raise BadImage(f"invalid hardlink {entry.name!r} -> {entry.target!r}")
                os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            raise BadImage(f"invalid hardlink {entry.name!r} -> {entry.target!r}") from None

    def _dress_folder(self, fd: int, parts: tuple[str, ...], entry: Entry) -> None:
        entries.dress_folder(fd, entry)
        self._folder_times[parts] = entry.mtime_ns

    def _hide_below(self, fd: int) -> None:
        found = os.fstat(fd)
        self.opaque.add((found.st_dev, found.st_ino))

    def _make_opaque(self, parent: int, name: str) -> None:
        fd = os.open(name, entries.FOLDER_FLAGS, dir_fd=parent)
        try:
            self._hide_below(fd)
        finally:
            os.close(fd)

    def _open_folder(self, parent: int, name: str, *, create: bool) -> int:
        try:
            return os.open(name, entries.FOLDER_FLAGS, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
            os.mkdir(name, 0o755, dir_fd=parent)
        except NotADirectoryError:
            if not create:
                raise
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            self._stale = True
            os.unlink(name, dir_fd=parent)  # a file where a later entry needs a folder
            os.mkdir(name, 0o755, dir_fd=parent)
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:  # a whiteout: the new folder must not show what it hid
                self._make_opaque(parent, name)
        return os.open(name, entries.FOLDER_FLAGS, dir_fd=parent)


def _link_target(parent: int, name: str) -> str | None:
    found = entries.lstat(parent, name)
    return os.readlink(name, dir_fd=parent) if found is not None and stat.S_ISLNK(found.st_mode) else None
