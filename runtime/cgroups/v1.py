"""Groups in the v1 hierarchies: parents, cpuset inheritance, device rules. Owns the folders it makes. Source:
admin-guide/cgroup-v1."""

from __future__ import annotations

import os

from runtime.cgroups import files
from runtime.cgroups.detect import Hierarchy
from runtime.cgroups.limits import DEFAULT_DEVICES


def make_parent(hierarchy: Hierarchy, parent: str) -> str:
    """The folder below our own group that holds containers. Raises OSError where this hierarchy may not be changed."""
    folder = os.path.join(hierarchy.own, parent)
    os.makedirs(folder, exist_ok=True)
    if "cpuset" in hierarchy.controllers:
        _inherit_cpuset(hierarchy.mount, folder)
        files.write(os.path.join(folder, "cgroup.clone_children"), "1")
    return folder


def _inherit_cpuset(mount: str, folder: str) -> None:
    """A new cpuset is empty and holds no process: fill every level from the top. Levels that have values keep them."""
    level = mount
    for part in os.path.relpath(folder, mount).split("/"):
        above, level = level, os.path.join(level, part)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not files.read(os.path.join(level, name)):
                files.write(os.path.join(level, name), files.read(os.path.join(above, name)))


def restrict_devices(folder: str, further: tuple[str, ...] = ()) -> None:
    """Docker's default rules and those of the container. Where the group may not be restricted (a nested cgroup without the right), the call
    raises PermissionError."""
    files.write(os.path.join(folder, "devices.deny"), "a")
    files.write(os.path.join(folder, "devices.allow"), *DEFAULT_DEVICES, *further)
