"""Stopping and going on: all processes of a container at once, by cgroup v2's freezer where the host has it, else by v1's.

Frozen processes of v1 survive SIGKILL until they are thawed. Source: admin-guide/cgroup-v2.rst (cgroup.freeze, cgroup.events),
cgroup-v1/freezer-subsystem.rst.
"""

from __future__ import annotations

import os

from runtime.cgroups import files
from runtime.cgroups.groups import Groups


def can_freeze(groups: Groups) -> bool:
    """Whether this host has any freezer for these groups."""
    return bool(_v2(groups) or groups.folder_of("freezer"))


def freeze(groups: Groups) -> None:
    """Asks for it; `is_frozen` says when it has happened. Raises OSError."""
    if path := _v2(groups):
        files.write(path, "1")
    else:
        files.write(_v1(groups), "FROZEN")


def thaw(groups: Groups) -> None:
    """Lets them go on; nothing happens to those that run or to groups that are gone. Raises OSError."""
    try:
        if path := _v2(groups):
            files.write(path, "0")
        elif groups.folder_of("freezer"):
            files.write(_v1(groups), "THAWED")
    except FileNotFoundError:
        return


def is_frozen(groups: Groups) -> bool:
    """Every process has stopped. Groups that are gone are not frozen."""
    if path := _v2(groups):
        return files.counter(os.path.join(os.path.dirname(path), "cgroup.events"), "frozen") == 1
    if not groups.folder_of("freezer"):
        return False
    try:
        return files.read(_v1(groups)) == "FROZEN"
    except FileNotFoundError:
        return False


def _v2(groups: Groups) -> str:
    """The control file; empty where there is none."""
    path = os.path.join(groups.unified, "cgroup.freeze") if groups.unified else ""
    return path if path and os.path.exists(path) else ""


def _v1(groups: Groups) -> str:
    return os.path.join(groups.folder_of("freezer"), "freezer.state")
