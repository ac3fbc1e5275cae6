"""The cgroups of one container, in whatever hierarchies this host has. Owns their folders from `make` to `remove`.

A hierarchy that can't be written is left out: containers start without it, and only a limit that needs it is an error.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from runtime.cgroups import device_filter, files, v1, v2
from runtime.cgroups.detect import Layout, detect
from runtime.cgroups.limits import DEFAULT_DEVICES, Setting, settings_v1, settings_v2
from runtime.child.host import CgroupView
from runtime.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.cgroups.detect import Hierarchy
    from runtime.spec import Limits

DEFAULT_PARENT = "festoon"
ABANDONED_AFTER_S = 60.0
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)

T = TypeVar("T")
TRIES: Final = 10
"""Of making the groups above the containers'."""


def _until_made(make: Callable[[Hierarchy, str], T], hierarchy: Hierarchy, parent: str) -> T:
    """Another node of this machine may take the parent away, empty as it is, between two of the calls that make it. Raises as `make`."""
    for _ in range(TRIES - 1):
        try:
            return make(hierarchy, parent)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
    return make(hierarchy, parent)


class Groups(NamedTuple):
    """`folders`: one per hierarchy. `by_controller`: the folder that holds a controller's files. `unified`: the v2
    folder, empty when none."""

    folders: tuple[str, ...]
    by_controller: tuple[tuple[str, str], ...]
    unified: str

    def folder_of(self, controller: str) -> str:
        """Empty when the container has no such controller."""
        return dict(self.by_controller).get(controller, "")


def read_layout() -> Layout:
    """This process's place in the cgroup hierarchies."""
    with open("/proc/self/cgroup", encoding="utf-8") as own, open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return detect(own.read(), mounts.read())


class Parents:
    """The groups that hold containers, made once for each parent's name and kept until `remove_all`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._made: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {}

    def make(self, parent: str, name: str, limits: Limits, privileged: bool, device_rules: tuple[str, ...] = ()) -> Groups:
        """A container's groups with their limits. Raises StartFailed for a limit that this host can't keep; leaves
        nothing then."""
        groups = self.find(parent, name)
        try:
            try:
                _make_folders(groups)
            except FileNotFoundError:  # another node of this machine has removed the parent that both use
                self._made.clear()
                groups = self.find(parent, name)
                _make_folders(groups)
            self.limit(groups, limits)
            devices = groups.folder_of("devices")
            if not privileged and devices:
                _restrict(devices, device_rules)
            elif not privileged and groups.unified:
                device_filter.attach(groups.unified, (*DEFAULT_DEVICES, *device_rules))
        except (OSError, StartFailed):
            remove(groups)
            raise
        return groups

    def limit(self, groups: Groups, limits: Limits) -> None:
        """Sets what is limited. Raises StartFailed with one sentence."""
        apply_limits(groups, settings_v2(limits) if self._layout.unified else settings_v1(limits))

    def sweep(self, prefix: str) -> None:
        """Removes the empty groups of the default parent whose names begin so, and those that supervisors left which were killed and never started
        again (of tests, of nodes whose state is gone)."""
        for folder, _ in self._parents(DEFAULT_PARENT):
            for entry in list(os.scandir(folder)):
                if entry.is_dir(follow_symlinks=False) and (entry.name.startswith(prefix) or _is_abandoned(entry.path)):
                    remove_folder(entry.path)

    def find(self, parent: str, name: str) -> Groups:
        """The folders that `make` would use; they need not exist."""
        parents = self._parents(parent or DEFAULT_PARENT)
        folders = tuple(os.path.join(folder, name) for folder, _ in parents)
        pairs = tuple((controller, path) for path, (_, names) in zip(folders, parents, strict=True) for controller in names)
        unified = self._layout.v2.mount if self._layout.v2 else ""
        in_v2 = next((path for path in folders if unified and _inside(path, unified)), "")
        return Groups(folders, pairs, in_v2)

    def _parents(self, parent: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        if parent not in self._made:
            found: list[tuple[str, tuple[str, ...]]] = []
            for hierarchy in self._layout.v1:
                try:
                    found.append((_until_made(v1.make_parent, hierarchy, parent), hierarchy.controllers))
                except OSError as error:
                    if error.errno not in _NOT_OURS:
                        raise
            if self._layout.v2 is not None:
                try:
                    found.append(_until_made(v2.make_parent, self._layout.v2, parent))
                except OSError as error:
                    if error.errno not in _NOT_OURS:
                        raise
            self._made[parent] = tuple(found)
        return self._made[parent]

    def remove_all(self) -> None:
        """Removes the parents that have become empty; one that another node uses stays."""
        for name, parents in self._made.items():
            for folder, _ in parents:
                _remove_levels(folder, name.count("/") + 1)
        self._made.clear()


def _is_abandoned(folder: str) -> bool:
    """Without a process in it or below, and not made just now: another supervisor's child may be on its way into it."""
    try:
        if time.time() - os.stat(folder).st_mtime < ABANDONED_AFTER_S:
            return False
        for inner, _, _ in os.walk(folder):
            if files.read(os.path.join(inner, "cgroup.procs")):
                return False
    except FileNotFoundError:
        return False
    return True


def _remove_levels(folder: str, levels: int) -> None:
    """The group and those above it, as many as there are empty ones."""
    for _ in range(levels):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
            return
        folder = os.path.dirname(folder)


def _make_folders(groups: Groups) -> None:
    for folder in groups.folders:
        try:
            os.mkdir(folder)
        except FileExistsError:
            continue


def _inside(path: str, mount: str) -> bool:
    return path.startswith(mount.rstrip("/") + "/")


def _restrict(folder: str, rules: tuple[str, ...]) -> None:
    try:
        v1.restrict_devices(folder, rules)
    except PermissionError:
        return  # a nested cgroup that may not be changed keeps its parent's rules


def apply_limits(groups: Groups, settings: tuple[Setting, ...]) -> None:
    """Writes each setting. Raises StartFailed with one sentence."""
    for setting in settings:
        folder = groups.folder_of(setting.controller)
        if not folder:
            raise StartFailed(f"the {setting.what} can't be kept: the {setting.controller} cgroup is not available on this node")
        path = os.path.join(folder, setting.file)
        if setting.optional and not os.path.exists(path):
            continue
        try:
            files.write(path, setting.value)
        except OSError as error:
            raise StartFailed(f"the {setting.what} of {setting.value} is refused by the kernel: {error.strerror}") from error


def open_procs(groups: Groups, *, born: bool = False) -> list[int]:
    """The files that a child of one thread writes itself into. The caller closes them. `born`: it comes to life in the
    unified group already (`open_unified`). Raises OSError when a group is gone.

    On cgroup v1 that is `tasks`: a thread that moves itself takes no lock, where the first move of a process after a
    pause, by cgroup.procs, waits 6 to 15 ms for an RCU grace period. Source: cgroup_procs_write_start in the kernel's
    kernel/cgroup/cgroup.c (5.19)."""
    opened: list[int] = []
    try:
        for path in groups.folders:
            if path != groups.unified:
                opened.append(os.open(os.path.join(path, "tasks"), os.O_WRONLY | os.O_CLOEXEC))
            elif not born:
                opened.append(os.open(os.path.join(path, "cgroup.procs"), os.O_WRONLY | os.O_CLOEXEC))
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    return opened


def open_unified(groups: Groups) -> int:
    """The unified group's folder, for a child to be born in (kernel.processes.fork): nothing waits then. -1 when there
    is none. The caller closes it. Raises OSError when the group is gone."""
    return os.open(groups.unified, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if groups.unified else -1


def views_of(groups: Groups, layout: Layout) -> tuple[CgroupView, ...]:
    """What the container sees below /sys/fs/cgroup: the v2 group itself, or one folder for each v1 hierarchy."""
    if layout.unified:
        return (CgroupView("", groups.unified),) if groups.unified else ()
    mounts = {hierarchy.mount: hierarchy for hierarchy in layout.v1}
    views: list[CgroupView] = []
    for folder in groups.folders:
        mount = next((mount for mount in mounts if _inside(folder, mount)), "")
        if mount:
            views.append(CgroupView(os.path.basename(mount), folder))
    return tuple(views)


def oom_kills(groups: Groups) -> int:
    """How often the kernel has killed in this group for want of memory."""
    folder = groups.folder_of("memory")
    if not folder:
        return 0
    if groups.unified == folder:
        return files.counter(os.path.join(folder, "memory.events"), "oom_kill")
    return files.counter(os.path.join(folder, "memory.oom_control"), "oom_kill")


def notify_oom(groups: Groups, eventfd: int) -> None:
    """cgroup v1: the eventfd counts the times that the group has been out of memory. Raises OSError."""
    folder = groups.folder_of("memory")
    control = os.open(os.path.join(folder, "memory.oom_control"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        files.write(os.path.join(folder, "cgroup.event_control"), f"{eventfd} {control}")
    finally:
        os.close(control)


def remove(groups: Groups) -> bool:
    """True when nothing is left; False when a group is still populated (its last process is on its way out)."""
    left = [folder for folder in groups.folders if not remove_folder(folder)]
    return not left


def remove_folder(folder: str) -> bool:
    """Removes a group without processes, with the groups that were made in it. False when it is in use."""
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    else:
        return True
    return _remove_nested(folder)


def _remove_nested(folder: str) -> bool:
    """Bottom up; only groups are folders here."""
    for inner, _, _ in os.walk(folder, topdown=False):
        try:
            os.rmdir(inner)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
                return False
            raise
    return True
