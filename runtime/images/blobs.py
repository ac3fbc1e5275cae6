"""Files by their digest, and staging folders whose content appears in the store by one rename, or never.

Owns the three folders `blobs/sha256`, `layers` and `tmp`. A writer holds flock on its staging folder, so that what a
killed writer left can be told from what a living one is filling. What is renamed is on disk before (`settle`), the renames
before anybody is told of them (`sync_placed`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.durable import sync_folder
from runtime.errors import BadImage
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call

MAX_BLOB_BYTES = 64 * 1024**3
CHUNK_BYTES = 1024 * 1024


class Folders:
    """The store's folders. `root` is 0700: nobody reaches the set-user-id files of an image through it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"
        self.layers = root / "layers"
        self.tmp = root / "tmp"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.blobs, self.layers, self.tmp):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[bool]:
        """Hold the store against other processes and threads; False when `wait` is off and somebody else holds it."""
        fd = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(fd)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder of the caller's own, removed at the end whatever happens. Takes the store's lock for a moment."""
        folder = self.tmp / secrets.token_hex(8)
        with self.locked():
            folder.mkdir(mode=0o700)
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)
            os.close(fd)

    def blob(self, digest: str) -> Path:
        return self.blobs / _hex(digest)

    def layer(self, chain_id: str) -> Path:
        """The folder that is an overlay's lower one."""
        return self.layers / _hex(chain_id) / "diff"

    def settle(self) -> None:
        """All that has been staged so far is on disk: asked once for an image, before its parts are placed. A sync of each of its files and folders
        would wait for the disk dozens of times. Source: syncfs(2)."""
        fd = os.open(self.tmp, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            call(Call.SYNCFS, fd)
        finally:
            os.close(fd)

    def sync_placed(self) -> None:
        """All that has been placed so far is on disk."""
        sync_folder(self.blobs)
        sync_folder(self.layers)

    def place_blob(self, staged: Path, digest: str) -> None:
        """Make a staged file (settled) the blob of that digest."""
        os.replace(staged, self.blob(digest))

    def place_layer(self, staged: Path, chain_id: str) -> None:
        """Make a staged folder (settled), which holds `diff`, the layer of that chain."""
        target = self.layers / _hex(chain_id)
        if target.exists():  # renamed by one that was killed before it could record it
            self.discard(target)
        os.rename(staged, target)

    def discard(self, path: Path) -> None:
        """Remove a blob or layer folder: out of sight at once, then for good. Needs the store's lock."""
        doomed = self.tmp / secrets.token_hex(8)
        os.rename(path, doomed)
        sync_folder(path.parent)
        _remove(doomed)

    def sweep(self, known_blobs: set[str], known_layers: set[str]) -> None:
        """Remove what killed processes left: unlocked staging folders, blobs and layers that no record names. Needs the
        store's lock.
        """
        for folder in self.tmp.iterdir():
            if not _in_use(folder):
                _remove(folder)
        for blob in self.blobs.iterdir():
            if f"sha256:{blob.name}" not in known_blobs:
                self.discard(blob)
        for layer in self.layers.iterdir():
            if f"sha256:{layer.name}" not in known_layers:
                self.discard(layer)


def write_file(path: Path, pieces: Iterator[bytes], *, limit_bytes: int = MAX_BLOB_BYTES) -> str:
    """Write a new file; returns its digest (sha256:…). Raises BadImage over the limit."""
    digest = hashlib.sha256()
    size = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb", buffering=0) as file:
        for piece in pieces:
            size += len(piece)
            if size > limit_bytes:
                raise BadImage(f"a file of more than {limit_bytes} bytes in the archive")
            digest.update(piece)
            view = memoryview(piece)
            while view:
                view = view[file.write(view) :]
    return f"sha256:{digest.hexdigest()}"


def chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """What is left of a stream, in pieces."""
    while piece := read(CHUNK_BYTES):
        yield piece


def _hex(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise BadImage(f"invalid digest {digest!r}: sha256 and 64 hexadecimal digits are needed")
    return value


def _in_use(folder: Path) -> bool:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)  # a writer's own folder, which it has just taken away itself
