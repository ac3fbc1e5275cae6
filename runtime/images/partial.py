"""Blobs that are being downloaded: files that survive an interruption, so that the next attempt goes on from there.

Owns one folder beside the store's. A file is locked by who fills it; its name is the digest that it shall have, which
is checked when it is whole. Files that nobody has touched for a day are swept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

from runtime.errors import BadImage

MAX_AGE_S = 24 * 3600
READ_BYTES = 1024 * 1024


class Partial:
    """The file of one blob, open and locked; `close()` it, which keeps what has come. Not safe for several threads at
    once.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self._path, self._fd = path, fd
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        while piece := os.read(fd, READ_BYTES):
            self._hash.update(piece)
            self.size_bytes += len(piece)

    def append(self, data: bytes | bytearray) -> None:
        self._hash.update(data)
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            self.size_bytes += written
            view = view[written:]

    def clear(self) -> None:
        """Begin again."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def finish(self, digest: str, target: Path) -> None:
        """Make the whole blob the file `target`. Raises BadImage when its digest is another; then nothing is kept."""
        if f"sha256:{self._hash.hexdigest()}" != digest:
            self.clear()
            raise BadImage(f"filesystem layer verification failed for digest {digest}")
        os.rename(self._path, target)

    def close(self) -> None:
        """What is empty is not kept."""
        if self.size_bytes == 0:
            self._path.unlink(missing_ok=True)
        os.close(self._fd)


def claim(folder: Path, digest: str, fallback: Path) -> Partial:
    """The blob's partial file; where another pull is filling it, a new one at `fallback`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (folder / digest.removeprefix("sha256:"), fallback):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.stat(path), os.fstat(fd)):  # else it was finished just now
                return Partial(path, fd)
        except BlockingIOError:
            pass
        os.close(fd)
    raise BadImage(f"blob {digest} is being downloaded already")


def sweep(folder: Path, now_s: float) -> None:
    """Remove what an interrupted pull left and nobody came back for."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if now_s - os.fstat(fd).st_mtime > MAX_AGE_S:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(fd)
