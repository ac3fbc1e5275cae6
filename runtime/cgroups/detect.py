"""Which cgroup hierarchies this process sees, and where in them it stands. Pure over the text of /proc/self/cgroup
and /proc/self/mountinfo.

Source: cgroups(7), proc(5).
"""

from __future__ import annotations

from typing import NamedTuple

V1_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
LEAF = "festoon.self"
"""On cgroup v2, processes that stood in the node's own group move to this leaf, so that the group can have children
with controllers."""
CONTROL = ".control"
"""Where systemd puts the commands of a unit's reload and stop, below a group that it has delegated."""


class Hierarchy(NamedTuple):
    """`mount`: the folder it is mounted on. `own`: the folder of this process's group. `controllers`: v1's, as
    mounted together; none for v2."""

    mount: str
    own: str
    controllers: tuple[str, ...] = ()


class Layout(NamedTuple):
    """v1 hierarchies with controllers that we use, and the unified one when it is mounted. On a hybrid host there
    are both."""

    v1: tuple[Hierarchy, ...]
    v2: Hierarchy | None

    @property
    def unified(self) -> bool:
        """Limits go to v2: no v1 controller is mounted."""
        return not self.v1 and self.v2 is not None


def detect(cgroup_text: str, mountinfo_text: str) -> Layout:
    """A hierarchy that is not mounted, or whose mount does not contain our own group, is left out."""
    paths = dict(_own_paths(cgroup_text))
    v1: list[Hierarchy] = []
    v2: Hierarchy | None = None
    seen: set[tuple[str, ...]] = set()
    for root, mount, kind, options in _mounts(mountinfo_text):
        if kind == "cgroup2" and v2 is None and "" in paths:
            own = _below(mount, root, paths[""].removesuffix(f"/{LEAF}").removesuffix(f"/{CONTROL}") or "/")
            v2 = Hierarchy(mount, own) if own else None
        elif kind == "cgroup":
            controllers = tuple(name for name in V1_CONTROLLERS if name in options)
            own = _below(mount, root, paths.get(controllers[0], "").removesuffix(f"/{CONTROL}")) if controllers else ""
            if own and controllers not in seen:
                seen.add(controllers)
                v1.append(Hierarchy(mount, own, controllers))
    return Layout(tuple(v1), v2)


def _own_paths(text: str) -> list[tuple[str, str]]:
    """(controller, path) pairs; the unified hierarchy has the empty name."""
    pairs: list[tuple[str, str]] = []
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        pairs.extend((name, path) for name in names.split(","))
    return pairs


def _mounts(text: str) -> list[tuple[str, str, str, frozenset[str]]]:
    """(root, mount point, type, super options) of the cgroup mounts."""
    found: list[tuple[str, str, str, frozenset[str]]] = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            fields = left.split(" ")
            found.append((fields[3], _unescaped(fields[4]), kind, frozenset(options.split(","))))
    return found


def _unescaped(path: str) -> str:
    return path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def _below(mount: str, root: str, path: str) -> str:
    """The folder of group `path` in a mount that shows the hierarchy from `root` on; empty when it is not visible
    there."""
    if not path or path.startswith("/.."):
        return ""
    if root not in ("/", path) and not path.startswith(root.rstrip("/") + "/"):
        return ""
    inner = path if root == "/" else path[len(root) :]
    return (mount + inner).rstrip("/")
