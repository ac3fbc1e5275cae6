"""The container's root: attached, pivoted to, with fresh proc and sysfs and a view of its cgroup, read-only unless privileged.
Pure: appends operations."""

from __future__ import annotations

import struct

from runtime.child.host import CgroupView, Opened
from runtime.child.mounts import FOLDER, PLAIN_FOLDER, attach_at, mount_new
from runtime.kernel import constants as k
from runtime.kernel.operations import Register, Script
from runtime.kernel.syscalls import Call

_PRIVATE = k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC


def _view_attributes(writable: bool) -> bytes:
    return struct.pack("=4Q", _PRIVATE if writable else _PRIVATE | k.MOUNT_ATTR_RDONLY, 0, 0, 0)


def open_views(script: Script, views: tuple[CgroupView, ...], writable: bool) -> list[tuple[CgroupView, Register]]:
    """Clones of the container's own groups, taken while the host's tree is visible. Writable for a privileged container, which may make
    groups for containers of its own, as in Docker."""
    script.step = "view of the cgroups"
    opened: list[tuple[CgroupView, Register]] = []
    for view in views:
        tree = script.keep(Call.OPEN_TREE, k.AT_FDCWD, view.path.encode(), k.OPEN_TREE_CLONE | k.O_CLOEXEC)
        script.call(Call.MOUNT_SETATTR, tree, b"", k.AT_EMPTY_PATH, _view_attributes(writable), k.MOUNT_ATTR_SIZE_BYTES)
        opened.append((view, tree))
    return opened


def pivot(script: Script, opened: Opened) -> Register:
    """The detached overlay becomes the root; the host's tree is let go. The register is an open descriptor of the
    new root."""
    script.step = "root file system"
    script.call(Call.MOVE_MOUNT, opened.root, b"", k.AT_FDCWD, opened.mount_point.encode(), k.MOVE_MOUNT_F_EMPTY_PATH)
    script.call(Call.CHDIR, opened.mount_point.encode())
    script.call(Call.PIVOT_ROOT, b".", b".")
    script.call(Call.UMOUNT2, b".", k.MNT_DETACH)
    script.call(Call.CHDIR, b"/")
    for name in (b"/proc", b"/sys", b"/dev"):
        script.call(Call.MKDIRAT, k.AT_FDCWD, name, 0o755, tolerate=(k.EEXIST,))
    return script.keep(Call.OPENAT, k.AT_FDCWD, b"/", k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC)


def mount_proc(script: Script, root: Register) -> Register:
    """A new procfs of this pid namespace; its mount's descriptor stays open. An image whose /proc is a link is
    refused."""
    script.step = "mount of /proc"
    proc = mount_new(script, "proc", _PRIVATE)
    attach_at(script, proc, root, "proc", PLAIN_FOLDER)
    return proc


def mount_sys(script: Script, root: Register, views: list[tuple[CgroupView, Register]], writable: bool) -> Register:
    """A new sysfs of this network namespace, read-only unless privileged, with the cgroup views."""
    script.step = "mount of /sys"
    sysfs = mount_new(script, "sysfs", _PRIVATE if writable else _PRIVATE | k.MOUNT_ATTR_RDONLY)
    attach_at(script, sysfs, root, "sys", PLAIN_FOLDER)
    script.step = "view of the cgroups"
    if len(views) == 1 and not views[0][0].name:
        attach_at(script, views[0][1], sysfs, "fs/cgroup", FOLDER)
    elif views:
        _mount_v1_views(script, sysfs, views, writable)
    for _, tree in views:
        script.call(Call.CLOSE, tree)
    return sysfs


def _mount_v1_views(script: Script, sysfs: Register, views: list[tuple[CgroupView, Register]], writable: bool) -> None:
    folder = mount_new(script, "tmpfs", _PRIVATE, (("mode", "755"), ("size", "64k")))
    attach_at(script, folder, sysfs, "fs/cgroup", FOLDER)
    for view, tree in views:
        script.call(Call.MKDIRAT, folder, view.name.encode(), 0o755)
        attach_at(script, tree, folder, view.name, FOLDER)
    script.call(Call.MOUNT_SETATTR, folder, b"", k.AT_EMPTY_PATH, _view_attributes(writable), k.MOUNT_ATTR_SIZE_BYTES)
    script.call(Call.CLOSE, folder)


def make_root_read_only(script: Script) -> None:
    """Last of all mounts: targets had to be made before."""
    script.step = "read-only root"
    attributes = struct.pack("=4Q", k.MOUNT_ATTR_RDONLY, 0, 0, 0)
    script.call(Call.MOUNT_SETATTR, k.AT_FDCWD, b"/", 0, attributes, k.MOUNT_ATTR_SIZE_BYTES)
