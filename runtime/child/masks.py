"""Docker's masked and read-only paths below /proc and /sys. Pure: appends operations.

Every path is resolved on the freshly mounted proc or sysfs itself, never through the image's tree, and without links
(CVE-2025-31133).
"""

from __future__ import annotations

import struct

from runtime.child.mounts import attach, mount_new
from runtime.kernel import constants as k
from runtime.kernel.operations import Register, Script
from runtime.kernel.syscalls import Call

MASKED = (
    "proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys", "proc/latency_stats", "proc/sched_debug", "proc/scsi",
    "proc/timer_list", "proc/timer_stats", "sys/devices/virtual/powercap", "sys/firmware",
)  # fmt: skip
READ_ONLY = ("proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger")

RESOLVE = struct.pack("=3Q", k.O_PATH | k.O_CLOEXEC, 0, k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS | k.RESOLVE_NO_MAGICLINKS)
_READ_ONLY = struct.pack("=4Q", k.MOUNT_ATTR_RDONLY, 0, 0, 0)
_HIDDEN = k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC


def mask(script: Script, bases: dict[str, Register], null: Register, paths: tuple[tuple[str, bool], ...]) -> None:
    """Folders get an empty read-only tmpfs, files the container's own null device. `bases`: mounts by first
    component; `null`: descriptor of the node."""
    for path, folder in paths:
        script.step = f"mask /{path}"
        base, _, rest = path.partition("/")
        # what exists on the host may be missing here (a file of another namespace): then the mount is left out
        target = script.keep(Call.OPENAT2, bases[base], rest.encode(), RESOLVE, 24, tolerate=(k.ENOENT,), skip=6 if folder else 4)
        before = len(script.operations)
        if folder:
            mount = mount_new(script, "tmpfs", _HIDDEN, (("size", "0"),))
        else:
            mount = script.keep(Call.OPEN_TREE, null, b"", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | k.O_CLOEXEC)
        attach(script, mount, target)
        script.call(Call.CLOSE, mount)
        script.call(Call.CLOSE, target)
        skip = len(script.operations) - before
        script.operations[before - 1] = script.operations[before - 1]._replace(skip=skip)


def make_read_only(script: Script, bases: dict[str, Register], paths: tuple[str, ...]) -> None:
    """A read-only bind of each path over itself."""
    for path in paths:
        script.step = f"read-only /{path}"
        base, _, rest = path.partition("/")
        target = script.keep(Call.OPENAT2, bases[base], rest.encode(), RESOLVE, 24)
        flags = k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | k.AT_RECURSIVE | k.O_CLOEXEC
        mount = script.keep(Call.OPEN_TREE, target, b"", flags)
        script.call(Call.MOUNT_SETATTR, mount, b"", k.AT_EMPTY_PATH | k.AT_RECURSIVE, _READ_ONLY, k.MOUNT_ATTR_SIZE_BYTES)
        attach(script, mount, target)
        script.call(Call.CLOSE, mount)
        script.call(Call.CLOSE, target)
