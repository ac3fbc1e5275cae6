"""What the storage worker is asked to do, and what it says: values that cross to a process of its own, as JSON.

Owns shapes only, and how the worker reads and writes them (answers.py reads what it says). `Tree` says what becomes the worker's
root folder before it touches anything a user gave. Plain tuples: msgspec would cost each worker 40 ms.
"""

from __future__ import annotations

import json
from typing import NamedTuple


class Bind(NamedTuple):
    """A folder or file of the node at a place of the tree."""

    source: str
    target: str
    read_only: bool = False


class Tree(NamedTuple):
    """One of: `folder`, a plain folder; `pid`, the running container's own root (what the process has mounted must name
    `container_id`); else an overlay of `lower` (top first) and, where it may be written, `upper` and `work`. The last two are put together
    with `binds` at `mount_point` in a mount namespace of the worker's own: what else a container has mounted (/proc, /dev, a tmpfs) is not
    seen, as in Docker. In a user namespace of its own the container's tree is taken as it is. `read_only`: the user wants its root so.
    """

    folder: str = ""
    pid: int = 0
    container_id: str = ""
    lower: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    binds: tuple[Bind, ...] = ()
    mount_point: str = ""
    read_only: bool = False


class Stat(NamedTuple):
    """What stands at a path."""

    tree: Tree
    path: str


class Pack(NamedTuple):
    """A tar of a path, on standard output; with an empty path of the whole tree, its entries without a folder above."""

    tree: Tree
    path: str


class Extract(NamedTuple):
    """Unpack the tar on standard input into the folder at `path`. `owner`: (uid, gid) of everything, instead of the tar's."""

    tree: Tree
    path: str
    keep_kinds: bool = False  # refuse a folder over a file and a file over a folder
    owner: tuple[int, int] | None = None


class Populate(NamedTuple):
    """Copy what the tree has at `path` into the empty folder of a volume, its owner and mode too."""

    tree: Tree
    path: str
    folder: str


class Unpack(NamedTuple):
    """Unpack the layer on standard input (compressed or not) into the tree, an empty folder."""

    tree: Tree
    base: bool
    layer_bytes: int
    entries: int


Request = Stat | Pack | Extract | Populate | Unpack


class PathStat(NamedTuple):
    """`mode` as the kernel has it; `link_target` where a symbolic link leads to in the end."""

    name: str
    size_bytes: int
    mode: int
    mtime_ns: int
    link_target: str = ""


class Failed(NamedTuple):
    """`kind`: not-found, not-a-folder, read-only, no-place (where an archive can't go), stopped (the container, meanwhile), bad (the archive's fault) or
    failed (the system's)."""

    kind: str
    message: str


class Done(NamedTuple):
    """The end. A layer's: its digest, its size, its entries, and the folders (device, inode) that hide what is below."""

    diff_id: str = ""
    size_bytes: int = 0
    entries: int = 0
    opaque: tuple[tuple[int, int], ...] = ()


Answer = PathStat | Failed | Done
_REQUESTS = {kind.__name__: kind for kind in (Stat, Pack, Extract, Populate, Unpack)}


def written(value: Request | Answer) -> str:
    """One line."""
    return json.dumps([type(value).__name__, value])


def read_request(line: str) -> Request:
    """What `written` wrote, by our own process."""
    kind, (fields, *rest) = json.loads(line)
    tree = Tree(*fields)
    request: Request = _REQUESTS[kind](tree._replace(lower=tuple(tree.lower), binds=tuple(Bind(*bind) for bind in tree.binds)), *rest)
    return request
