"""What this host has, read once when the supervisor starts; and what a privileged container gets of its devices.
Owns nothing."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator

from runtime.child.devices import LINKS, NODES
from runtime.child.host import Device, Host
from runtime.child.masks import MASKED, READ_ONLY
from runtime.errors import StartFailed
from runtime.spec import DeviceNode

DEVICES_MAX = 4096
_OWN_MOUNTS = ("pts", "shm", "mqueue", "console")
_OCCUPIED = (*_OWN_MOUNTS, *(name for name, _ in LINKS))
_NODES = tuple(name for name, _, _ in NODES)  # another node may take their place


def probe_host() -> Host:
    """Reads /proc and /sys."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        last = int(file.read())
    masked = tuple((path, os.path.isdir(f"/{path}")) for path in MASKED if os.path.lexists(f"/{path}"))
    read_only = tuple(path for path in READ_ONLY if os.path.lexists(f"/{path}"))
    with open("/proc/self/status", encoding="ascii") as file:
        held = next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))
    return Host(last, masked, read_only, held)


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
            if _is_device(facts) and path not in _OWN_MOUNTS:
                found.append(_device(path, facts))
    return tuple(found[:DEVICES_MAX])


def privileged_devices(nodes: Iterable[DeviceNode]) -> tuple[Device, ...]:
    """All of the host's, and those that are wanted in another place too. Raises StartFailed."""
    return (*host_devices(), *devices_of(n for n in nodes if (n.target or n.path) != n.path)[0])


def devices_of(nodes: Iterable[DeviceNode]) -> tuple[tuple[Device, ...], tuple[str, ...]]:
    """The nodes that a container was given, a folder's one by one, and the rules (cgroup v1's form) that let it use
    them. Raises StartFailed in Docker's words."""
    found: list[Device] = []
    rules: list[str] = []
    for node in nodes:
        files = tuple(_device_files(node.path))
        target = _below_dev(node.target or node.path)
        for inner, facts in files:
            device = _device(os.path.join(target, inner) if inner else target, facts)
            found.append(device)
            kind = "c" if stat.S_ISCHR(facts.st_mode) else "b"
            rules.append(f"{kind} {device.major}:{device.minor} {node.permissions or 'rwm'}")
        if len(found) > DEVICES_MAX:
            raise StartFailed(f"more than {DEVICES_MAX} devices")
    return tuple(found), tuple(rules)


def _device(path: str, facts: os.stat_result) -> Device:
    return Device(path, facts.st_mode, os.major(facts.st_rdev), os.minor(facts.st_rdev), facts.st_uid, facts.st_gid)


def _below_dev(target: str) -> str:
    """Raises StartFailed for a place that is not below /dev, or that a link or mount of the container's /dev stands for."""
    parts = [part for part in target.split("/") if part]
    if len(parts) < 2 or parts[0] != "dev" or ".." in parts or parts[1] in _OCCUPIED or (parts[1] in _NODES and len(parts) > 2):
        raise StartFailed(f"a device can't be placed on {target}: only below /dev, and not where the container has its own")
    return "/".join(parts[1:])


def _device_files(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """(path below the folder that was asked for, what it is) of the devices there; a device is its own only one. Raises StartFailed where there is none."""
    try:
        facts = os.stat(path)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise StartFailed(f'error gathering device information while adding custom device "{path}": {reason}') from error
    if _is_device(facts):
        yield "", facts
        return
    found = False
    for folder, _, names in os.walk(path):  # nothing, where it is no folder
        for name in sorted(names):
            full = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                if _is_device(facts := os.lstat(full)):
                    found = True
                    yield os.path.relpath(full, path), facts
    if not found:
        raise StartFailed(f'error gathering device information while adding custom device "{path}": not a device node')


def _is_device(facts: os.stat_result) -> bool:
    return stat.S_ISCHR(facts.st_mode) or stat.S_ISBLK(facts.st_mode)
