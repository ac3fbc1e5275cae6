"""Where a bundle's container stands in the cgroup hierarchies, and its limits. Owns the folders from `make` until they are removed by `delete`.

An absolute cgroupsPath counts from each hierarchy's mount, a relative one from the group of the command's own process, as runc does; a bundle without
one gets a group below `festoon-oci`. Source: the OCI runtime specification, config-linux.md ("Cgroups Path").
"""

from __future__ import annotations

import errno
import os

from runtime.cgroups import device_filter, files, v1, v2
from runtime.cgroups.detect import Hierarchy, Layout
from runtime.cgroups.groups import Groups, apply_limits, remove
from runtime.cgroups.members import pids
from runtime.child.faults import Refused
from runtime.errors import RuntimeFault, StartFailed
from runtime.oci import resources
from runtime.oci.values import Json

DEFAULT_PARENT = "festoon-oci"
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)


def make(layout: Layout, cgroups_path: str, container_id: str, limits: Json) -> Groups:
    """The container's groups with their limits and device rules. Raises Refused, StartFailed, OSError; leaves nothing then."""
    path = _path_of(cgroups_path, container_id)
    settings = resources.settings(limits, unified=layout.unified)
    rules = resources.device_rules(limits)
    groups = _make_folders(layout, path, from_mount=cgroups_path.startswith("/"))
    if pids(groups):
        raise RuntimeFault(f"the cgroup {cgroups_path} is not empty: another container's processes are in it")
    try:
        apply_limits(groups, settings)
        restrict_devices(groups, rules)
        if rules and layout.unified and groups.unified:
            device_filter.attach(groups.unified, resources.allowed_devices(rules))
    except (OSError, StartFailed, Refused):
        remove(groups)
        raise
    return groups


def _path_of(cgroups_path: str, container_id: str) -> str:
    if ":" in cgroups_path and "/" not in cgroups_path:
        raise Refused(f"cgroupsPath {cgroups_path} is systemd's form (slice:prefix:name), which needs --systemd-cgroup")
    parts = [part for part in cgroups_path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"config.json: linux.cgroupsPath {cgroups_path} leads outside")
    return "/".join(parts) or f"{DEFAULT_PARENT}/{container_id}"


def _make_folders(layout: Layout, path: str, *, from_mount: bool) -> Groups:
    """A hierarchy that may not be written is left out."""
    made: list[tuple[str, tuple[str, ...]]] = []
    unified = ""
    for hierarchy in (*layout.v1, *((layout.v2,) if layout.v2 else ())):
        top = Hierarchy(hierarchy.mount, hierarchy.mount, hierarchy.controllers) if from_mount else hierarchy
        try:
            if hierarchy.controllers:
                made.append((v1.make_parent(top, path), hierarchy.controllers))
            else:
                parent, _, name = path.rpartition("/")
                folder, controllers = v2.make_parent(top, parent)
                unified = os.path.join(folder.rstrip("/"), name)
                os.makedirs(unified, exist_ok=True)
                made.append((unified, controllers))
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
    pairs = tuple((controller, folder) for folder, controllers in made for controller in controllers)
    return Groups(tuple(folder for folder, _ in made), pairs, unified)


def restrict_devices(groups: Groups, rules: tuple[tuple[bool, str], ...]) -> None:
    """Writes each rule; a host without the devices controller has none."""
    folder = groups.folder_of("devices")
    for allow, rule in rules if folder else ():
        try:
            files.write(os.path.join(folder, "devices.allow" if allow else "devices.deny"), rule)
        except PermissionError:
            return  # a nested cgroup that may not be changed keeps its parent's rules


def remove_default_parents(groups: Groups) -> None:
    """The parents that `make` made of its own accord, once they are empty."""
    for folder in groups.folders:
        parent = os.path.dirname(folder)
        if os.path.basename(parent) == DEFAULT_PARENT:
            try:
                os.rmdir(parent)
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY, errno.ENOENT):
                    raise
