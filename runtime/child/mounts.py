"""Mounts inside the container: new file systems, binds, tmpfs. Pure: appends operations of the new mount API, from
descriptor to descriptor.

Sources of binds are opened before the root changes, targets are made and resolved after it, so nothing outside the
root can be reached through the image's links. Source: fsopen(2), open_tree(2), move_mount(2), mount_setattr(2),
openat2(2).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from runtime.child.execution import BIND_STEP, make_folders
from runtime.child.faults import Refused
from runtime.kernel import constants as k
from runtime.kernel.operations import Argument, Register, Script
from runtime.kernel.syscalls import Call

if TYPE_CHECKING:
    from runtime.spec import Mount  # its values only pass through; msgspec costs a command line 38 ms

FOLDER = struct.pack("=3Q", k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC, 0, k.IN_ROOT)
PLAIN_FOLDER = struct.pack("=3Q", k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC, 0, k.IN_ROOT | k.RESOLVE_NO_SYMLINKS)
_FILE = struct.pack("=3Q", k.O_RDONLY | k.O_CREAT | k.O_NONBLOCK | k.O_NOCTTY | k.O_CLOEXEC, 0o755, k.IN_ROOT)

_PROPAGATIONS = {
    "private": (k.MS_PRIVATE, 0), "slave": (k.MS_SLAVE, 0), "shared": (k.MS_SHARED, 0),
    "rprivate": (k.MS_PRIVATE, 1), "rslave": (k.MS_SLAVE, 1), "rshared": (k.MS_SHARED, 1),
}  # fmt: skip
PROC_FILES = ("proc/cpuinfo", "proc/diskstats", "proc/loadavg", "proc/meminfo", "proc/slabinfo", "proc/stat", "proc/swaps", "proc/uptime")
"""What may be covered below /proc: statistics (as runc allows)."""
_TMPFS_OPTIONS = ("size", "mode", "uid", "gid", "nr_inodes")
_TMPFS_ATTRIBUTES = k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC


def mount_new(script: Script, kind: str, attributes: int, options: tuple[tuple[str, str], ...] = (), source: str = "") -> Register:
    """A new detached file system; an option without value is a flag. The register holds its mount's descriptor. `source`: as
    /proc/mounts shows it, the kind when it is empty."""
    context = script.keep(Call.FSOPEN, kind.encode(), k.FSOPEN_CLOEXEC)
    script.call(Call.FSCONFIG, context, k.FSCONFIG_SET_STRING, b"source", (source or kind).encode(), 0)
    for key, value in options:
        if value:
            script.call(Call.FSCONFIG, context, k.FSCONFIG_SET_STRING, key.encode(), value.encode(), 0)
        else:
            script.call(Call.FSCONFIG, context, k.FSCONFIG_SET_FLAG, key.encode(), 0, 0)
    script.call(Call.FSCONFIG, context, k.FSCONFIG_CMD_CREATE, 0, 0, 0)
    mount = script.keep(Call.FSMOUNT, context, k.FSMOUNT_CLOEXEC, attributes)
    script.call(Call.CLOSE, context)
    return mount


def attach(script: Script, mount: Argument, target: Argument) -> None:
    """From descriptor to descriptor."""
    script.call(Call.MOVE_MOUNT, mount, b"", target, b"", k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH)


def attach_at(script: Script, mount: Argument, base: Argument, path: str, how: bytes = FOLDER) -> None:
    """On a folder below `base`, which acts as the root of the resolution."""
    target = script.keep(Call.OPENAT2, base, path.encode(), how, len(how))
    attach(script, mount, target)
    script.call(Call.CLOSE, target)


def depth_first_order(mounts: tuple[Mount, ...]) -> list[Mount]:
    """Shallow targets first, so that a mount below another one is not hidden by it."""
    return sorted(mounts, key=lambda mount: len([part for part in mount.target.split("/") if part]))


def is_shared(mount: Mount) -> bool:
    """Whether what is mounted below it in the container appears on the host too: its tree is cloned while the host's mounts are still our peers."""
    return mount.kind == "bind" and _propagation(mount)[0] == k.MS_SHARED


def open_bind(script: Script, mount: Mount, user: int = -1) -> Register:
    """Clones the source's tree (host paths are still visible) with its attributes and propagation set. `user`: the user namespace that shifts the
    owners of its files."""
    script.step = f"{BIND_STEP}{mount.source} on {mount.target}"
    propagation, recursive = _propagation(mount)
    flags = k.OPEN_TREE_CLONE | k.O_CLOEXEC | (0 if mount.alone else k.AT_RECURSIVE)
    tree = script.keep(Call.OPEN_TREE, k.AT_FDCWD, mount.source.encode(), flags)
    if user >= 0:
        script.call(Call.MOUNT_SETATTR, tree, b"", k.AT_EMPTY_PATH, struct.pack("=4Q", k.MOUNT_ATTR_IDMAP, 0, 0, user), k.MOUNT_ATTR_SIZE_BYTES)
    attributes = struct.pack("=4Q", k.MOUNT_ATTR_RDONLY if mount.read_only else 0, 0, 0, 0)
    if mount.read_only:
        reach = 0 if mount.writable_below else k.AT_RECURSIVE
        script.call(Call.MOUNT_SETATTR, tree, b"", k.AT_EMPTY_PATH | reach, attributes, k.MOUNT_ATTR_SIZE_BYTES)
    how = k.AT_EMPTY_PATH | (k.AT_RECURSIVE if recursive else 0)
    script.call(Call.MOUNT_SETATTR, tree, b"", how, struct.pack("=4Q", 0, 0, propagation, 0), k.MOUNT_ATTR_SIZE_BYTES)
    return tree


def _propagation(mount: Mount) -> tuple[int, int]:
    for key, value in mount.options:
        if key != "propagation":
            raise Refused(f"invalid option '{key}' of the bind mount on {mount.target}")
        if value not in _PROPAGATIONS:
            raise Refused(f"invalid propagation '{value}' of the mount on {mount.target}: {', '.join(_PROPAGATIONS)} are possible")
        return _PROPAGATIONS[value]
    return _PROPAGATIONS["rprivate"]


def attach_bind(script: Script, mount: Mount, tree: Register, root: Register, folder: bool) -> None:
    """On a target of the same type, which is made (in the upper folder) when it is missing."""
    script.step = f"{BIND_STEP}{mount.source} on {mount.target}"
    parent = mount.target if folder else mount.target.rpartition("/")[0]
    make_folders(script, parent)
    attach_at(script, tree, root, mount.target, FOLDER if folder else _FILE)
    script.call(Call.CLOSE, tree)


def mount_tmpfs(script: Script, mount: Mount, root: Register, first_id: int = 0) -> None:
    """Empty, nosuid, nodev, noexec, mode 1777 unless the options say so. `first_id`: the host's number of the container's user 0."""
    script.step = f"tmpfs on {mount.target}"
    options = dict(mount.options)
    propagation = _PROPAGATIONS.get(options.pop("propagation", ""))
    attributes = _TMPFS_ATTRIBUTES | (k.MOUNT_ATTR_RDONLY if mount.read_only else 0)
    for flag, bit in (("exec", k.MOUNT_ATTR_NOEXEC), ("suid", k.MOUNT_ATTR_NOSUID), ("dev", k.MOUNT_ATTR_NODEV)):
        if flag in options:
            attributes &= ~bit
            del options[flag]
    unknown = [key for key in options if key not in _TMPFS_OPTIONS]
    if unknown:
        raise Refused(f"invalid tmpfs option ['{unknown[0]}'] of the mount on {mount.target}")
    options.setdefault("mode", "1777")
    for key in ("uid", "gid"):
        if first_id and options.get(key, "").isdigit():
            options[key] = str(first_id + int(options[key]))
    make_folders(script, mount.target)
    created = mount_new(script, "tmpfs", attributes, tuple(options.items()))
    if propagation is not None:
        script.call(Call.MOUNT_SETATTR, created, b"", k.AT_EMPTY_PATH, struct.pack("=4Q", 0, 0, propagation[0], 0), k.MOUNT_ATTR_SIZE_BYTES)
    attach_at(script, created, root, mount.target)
    script.call(Call.CLOSE, created)


def check_target(mount: Mount) -> None:
    """Raises Refused: the target is an absolute path other than the root; the kind is known."""
    if mount.kind not in ("bind", "tmpfs"):
        raise Refused(f"invalid mount type '{mount.kind}'")
    if not mount.target.startswith("/"):
        raise Refused(f"invalid mount path: '{mount.target}' mount path must be absolute")
    parts = [part for part in mount.target.split("/") if part not in ("", ".")]
    if parts[:1] == ["proc"] and ".." not in parts and "/".join(parts) not in PROC_FILES:
        raise Refused(f'"{mount.source or mount.kind}" cannot be mounted on {mount.target} because it is inside /proc')
    if not mount.target.strip("/."):
        raise Refused(f"invalid mount target: destination can't be '{mount.target}'")
    if "\0" in mount.target + mount.source:
        raise Refused("a mount contains a NUL byte")
