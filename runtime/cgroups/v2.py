"""Groups in the unified hierarchy: controllers enabled from the top, no process in inner groups, kill. Owns the
folders it makes.

Source: admin-guide/cgroup-v2.rst ("No Internal Process Constraint", "Delegation").
"""

from __future__ import annotations

import errno
import os

from runtime.cgroups import files
from runtime.cgroups.detect import LEAF, Hierarchy

WANTED = ("cpu", "cpuset", "io", "memory", "pids")


def make_parent(hierarchy: Hierarchy, parent: str) -> tuple[str, tuple[str, ...]]:
    """The folder for containers and the controllers that they can have. Raises OSError where nothing may be made."""
    folder = os.path.join(hierarchy.own, parent)
    os.makedirs(folder, exist_ok=True)
    level = hierarchy.own
    controllers = _enable(level, _is_root(level))
    for part in parent.split("/"):
        level = os.path.join(level, part)
        controllers = _enable(level, True)
    return folder, controllers


def _is_root(folder: str) -> bool:
    """Whether it is the hierarchy's own root, the one group that may have both processes and controllers for its children. What is mounted need not be it:
    in a cgroup namespace, or where a group is bound there, it only looks so."""
    return not os.path.exists(os.path.join(folder, "cgroup.events"))


def _enable(folder: str, empty: bool) -> tuple[str, ...]:
    """Hands the controllers down to the children; processes of `folder` move to a leaf first, unless it is the root
    or known to be `empty`."""
    available = files.read(os.path.join(folder, "cgroup.controllers")).split()
    control = os.path.join(folder, "cgroup.subtree_control")
    enabled = files.read(control).split()
    missing = [name for name in WANTED if name in available and name not in enabled]
    if missing and not empty:
        _move_to_leaf(folder)
    for name in missing:
        try:
            files.write(control, f"+{name}")
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EACCES, errno.EPERM, errno.EOPNOTSUPP, errno.ENOENT):
                raise  # a controller that may not be handed down is one that containers do not have
    return tuple(files.read(control).split())


def _move_to_leaf(folder: str) -> None:
    leaf = os.path.join(folder, LEAF)
    os.makedirs(leaf, exist_ok=True)
    for pid in files.read(os.path.join(folder, "cgroup.procs")).split():
        try:
            files.write(os.path.join(leaf, "cgroup.procs"), pid)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise


def kill(folder: str) -> bool:
    """Kills every process in the group at once (kernel 5.14); False where the kernel can't."""
    try:
        files.write(os.path.join(folder, "cgroup.kill"), "1")
    except FileNotFoundError:
        return False
    return True
