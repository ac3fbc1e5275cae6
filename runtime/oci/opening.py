"""What a bundle's list of operations refers to by number, found out and opened in the command's own process.

The descriptors belong to the ExitStack that the caller brings; nothing else is changed here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

from runtime.cgroups.detect import Layout
from runtime.cgroups.groups import Groups, open_procs, views_of
from runtime.child.capabilities import NAMES
from runtime.child.faults import Refused
from runtime.errors import StartFailed
from runtime.kernel import userns
from runtime.oci import console, filling, filters
from runtime.oci.compile import FLAGS, OWNED, Opened, Seccomp
from runtime.oci.values import Bundle, Json, Process

EVERY_CAPABILITY = (1 << 64) - 1
"""In a user namespace, where they are worth little."""

_KINDS = {"user": "user", "pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup"}
_FILTER_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # there is one thread
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}


def keep(stack: ExitStack, descriptor: int) -> int:
    """Closed with the stack."""
    if descriptor >= 0:
        stack.callback(os.close, descriptor)
    return descriptor


def open_bundle(bundle: Bundle, groups: Groups, layout: Layout, kept: str, stack: ExitStack) -> tuple[Opened, int]:
    """And the terminal's master, -1 without. `kept`: as for compile_filter. Raises OSError, StartFailed, Refused."""
    devpts = master = slave = -1
    joined = {namespace.kind: keep(stack, open_namespace(namespace.kind, namespace.path)) for namespace in bundle.namespaces if namespace.path}
    bundle = _with_user_namespace(bundle, joined, stack)
    if bundle.process.terminal:
        devpts, master, slave = (keep(stack, descriptor) for descriptor in console.make(bundle))
    opened = Opened(
        last_capability=last_capability(),
        held=held_capabilities() if bundle.namespace("user") is None else EVERY_CAPABILITY,
        cgroups=tuple(keep(stack, descriptor) for descriptor in open_procs(groups)),
        joined=tuple(joined.items()),
        terminal=slave,
        devpts=devpts,
        views=views_of(groups, layout),
        folders=frozenset(mount.source for mount in bundle.mounts if mount.kind == "bind" and _is_folder(mount.source, mount.destination)),
        hidden_folders=frozenset(path for path in bundle.masked if _hides_folder(path, bundle.root)),
        seccomp=compile_filter(bundle.seccomp, bundle.process, kept),
        apparmor=check_profile(bundle.process.apparmor_profile),
        uids=bundle.uids,
        gids=bundle.gids,
        filled=tuple((index, keep(stack, filling.fill(bundle, mount))) for index, mount in enumerate(bundle.mounts) if mount.options.copy_up),
        shifting=tuple(_shifting(bundle, joined.get("user", -1), stack)),
    )
    return opened, master


def _shifting(bundle: Bundle, user: int, stack: ExitStack) -> Iterator[tuple[int, int]]:
    """User namespaces for id-mapped binds: one for maps of the mount's own, the container's for others. Raises OSError, Refused."""
    for index, mount in enumerate(bundle.mounts):
        if mount.uids:
            yield index, keep(stack, userns.new_user_namespace(mount.uids, mount.gids)[FLAGS["user"]])
        elif mount.options.id_mapped:
            if user < 0:
                raise Refused(f"config.json: the mount on {mount.destination} is to be id-mapped, and neither it nor the container has maps")
            yield index, user


def _with_user_namespace(bundle: Bundle, joined: dict[str, int], stack: ExitStack) -> Bundle:
    """A new user namespace, or the one that is joined, with the new namespaces that are to belong to it: all of them go to `joined`. The bundle with its
    maps. Raises OSError, Refused."""
    user = bundle.namespace("user")
    if user is None:
        return bundle
    fresh = {FLAGS[namespace.kind]: namespace.kind for namespace in bundle.namespaces if not namespace.path and namespace.kind in OWNED}
    if user.path:
        uids, gids = userns.maps_of(joined["user"])
        made = userns.new_namespaces_in(joined["user"], sum(fresh))
    else:
        uids, gids = bundle.uids, bundle.gids
        made = userns.new_user_namespace(uids, gids, sum(fresh))
    for flag, descriptor in made.items():
        joined[fresh.get(flag, "user")] = keep(stack, descriptor)
    if userns.outside(uids, 0) < 0 or userns.outside(gids, 0) < 0:
        raise Refused("config.json: the container's user and group 0 are not mapped to any of the host's")
    return bundle._replace(uids=uids, gids=gids)


def last_capability() -> int:
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())


def held_capabilities() -> int:
    """The mask of this process's permitted set."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))


def open_namespace(kind: str, path: str) -> int:
    """Raises Refused for a path that is no such namespace, or that would give the host's mounts away."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"the {kind} namespace {path} can't be opened: {error.strerror}") from error
    try:
        link = os.readlink(f"/proc/self/fd/{descriptor}")
        own = os.stat(f"/proc/self/ns/{_KINDS[kind]}")
        found = os.fstat(descriptor)
        if found.st_dev != own.st_dev:
            raise Refused(f"{path} is no namespace but {link}")
        if kind == "mount" and found.st_ino == own.st_ino:
            raise Refused("a container in the host's mount namespace is refused: its mounts would be the host's")
    except Refused:
        os.close(descriptor)
        raise
    return descriptor


def _is_folder(source: str, destination: str) -> bool:
    try:
        os.stat(source)
    except OSError as error:
        raise StartFailed(f"error mounting {source!r} to rootfs at {destination!r}: {error.strerror}") from error
    return os.path.isdir(source)


def _hides_folder(path: str, root: str) -> bool:
    """Below /proc and /sys every mount of this kernel looks alike."""
    return os.path.isdir(path if path.startswith(("/proc/", "/sys/")) else root + path)


def compile_filter(seccomp: Json, process: Process, kept: str) -> Seccomp | None:
    """The bundle's policy as BPF, compiled once for all bundles of the state folder (`kept`: where programs are kept). Raises Refused."""
    if not seccomp:
        return None
    if seccomp.get("listenerPath"):
        raise Refused("config.json: linux.seccomp.listenerPath is not supported by this runtime")
    words = seccomp.get("flags") or []
    flags = 0
    for word in words if isinstance(words, list) else [words]:
        if word not in _FILTER_FLAGS:
            raise Refused(f"config.json: linux.seccomp.flags: {word} is not supported by this runtime")
        flags |= _FILTER_FLAGS[word]
    held = frozenset(name.removeprefix("CAP_") for name in process.capabilities.bounding) & frozenset(NAMES)
    machine = os.uname().machine
    key = filters.key_of(seccomp, held, machine)
    program = filters.find(kept, key)
    if program is None:
        program = _assemble(seccomp, held, machine)
        filters.keep(kept, key, program)
    return Seccomp(program, flags)


def _assemble(seccomp: Json, held: frozenset[str], machine: str) -> bytes:
    from runtime.seccomp.bpf import assemble
    from runtime.seccomp.document import policy_of
    from runtime.seccomp.numbers import NATIVE

    native = NATIVE.get(machine, ())
    if not native:
        raise Refused(f"config.json: linux.seccomp: there is no table of system calls for {machine}")
    return assemble(policy_of(seccomp, held, native))


def check_profile(profile: str) -> str:
    """Raises Refused where the kernel could not keep it."""
    if profile in ("", "unconfined"):
        return ""
    try:
        with open("/sys/module/apparmor/parameters/enabled", encoding="ascii") as file:
            enabled = file.read().strip() == "Y"
    except FileNotFoundError:
        enabled = False
    if not enabled:
        raise Refused(f"config.json: process.apparmorProfile {profile}: AppArmor is not enabled on this host")
    return profile
