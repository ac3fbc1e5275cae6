"""What stands at a path of the tree that the storage worker is confined to. Paths are read as Docker reads them: links on the way are followed, one at
the end is not, a trailing slash or dot means the folder itself, and `..` takes away what is written before it.
"""

from __future__ import annotations

import os
import posixpath
import stat

from runtime.kernel import constants as k
from runtime.storage.requests import Failed, PathStat
from runtime.storage.tree import open_in_root


class Problem(Exception):
    """Ends the request; `failed` is the answer."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.failed = Failed(kind, message)


def absolute(path: str) -> str:
    """From the root on, without `..`."""
    plain = posixpath.normpath("/" + path.lstrip("/"))
    if posixpath.basename(path) == ".":
        return plain.rstrip("/") + "/."
    return plain + "/" if path.endswith("/") and plain != "/" else plain


def _split(path: str) -> tuple[str, str]:
    """(the folder with its links followed, the last component as it was written)."""
    folder, last = posixpath.split(absolute(path))
    return os.path.realpath(folder), last


def located(root: int, path: str) -> tuple[int, str, os.stat_result]:
    """(descriptor of the folder, name, what is there); the name of a folder itself is a dot."""
    folder, last = _split(path)
    name = last or "."
    try:
        parent = open_in_root(root, folder, k.O_RDONLY | k.O_DIRECTORY, k.IN_ROOT | k.RESOLVE_NO_SYMLINKS)
        return parent, name, os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        raise Problem("not-found", path) from None
    except NotADirectoryError:
        raise Problem("not-a-folder", path) from None


def described(root: int, path: str) -> PathStat:
    """Raises Problem."""
    _, _, found = located(root, path)
    whole = absolute(path)
    target = os.path.realpath(whole) if stat.S_ISLNK(found.st_mode) else ""
    name = posixpath.basename(whole.rstrip("/")) or "/"
    return PathStat(name, found.st_size, found.st_mode, found.st_mtime_ns, target)
