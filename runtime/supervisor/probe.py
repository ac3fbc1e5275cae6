"""What this host has, read once when the supervisor starts; and what a privileged container gets of its devices.
Owns nothing."""

from __future__ import annotations

import os
import stat

from runtime.child.host import Device, Host
from runtime.child.masks import MASKED, READ_ONLY

DEVICES_MAX = 4096
_OWN_MOUNTS = ("pts", "shm", "mqueue", "console")


def probe_host() -> Host:
    """Reads /proc and /sys."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        last = int(file.read())
    masked = tuple((path, os.path.isdir(f"/{path}")) for path in MASKED if os.path.lexists(f"/{path}"))
    read_only = tuple(path for path in READ_ONLY if os.path.lexists(f"/{path}"))
    return Host(last, masked, read_only)


def host_devices() -> tuple[Device, ...]:
    """Every device node below /dev but those of mounts that a container has itself; at most DEVICES_MAX."""
    found: list[Device] = []
    for folder, folders, names in os.walk("/dev"):
        inner = os.path.relpath(folder, "/dev")
        if inner == ".":
            folders[:] = [name for name in folders if name not in _OWN_MOUNTS]
        for name in names:
            facts = os.lstat(os.path.join(folder, name))
            path = name if inner == "." else os.path.join(inner, name)
            if (stat.S_ISCHR(facts.st_mode) or stat.S_ISBLK(facts.st_mode)) and path not in _OWN_MOUNTS:
                found.append(Device(path, facts.st_mode, os.major(facts.st_rdev), os.minor(facts.st_rdev)))
    return tuple(found[:DEVICES_MAX])
