"""Entering the namespaces: cgroup first, then the rest; hostname, loopback, sysctls. Pure: appends operations.
Source: namespaces(7).

The pid namespace is not here: it is chosen by the parent, before the fork.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from runtime.child.faults import Refused
from runtime.child.host import Joined, Opened
from runtime.kernel import constants as k
from runtime.kernel.operations import Register, Script
from runtime.kernel.syscalls import Call

if TYPE_CHECKING:
    from runtime.spec import ContainerSpec

HOST_NETWORK = "host"
HOST = "host"
NONE = "none"
OWNED = k.CLONE_NEWNET | k.CLONE_NEWUTS | k.CLONE_NEWIPC
"""Kinds that a container in a user namespace does not make itself."""
NO_OTHER = ("", HOST, NONE)
"""Modes of a namespace that name no other container."""

CONTAINER_PREFIX = "container:"
HOSTNAME_MAX_BYTES = 64
_NAMESPACED_SYSCTLS = (
    "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni",
    "kernel/shm_rmid_forced", "kernel/domainname",
)  # fmt: skip
_SYSCTL_FILE = struct.pack("=3Q", k.O_WRONLY | k.O_CLOEXEC, 0, k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS | k.RESOLVE_NO_MAGICLINKS)


def guard(script: Script) -> None:
    """Before any namespace is entered: nobody in there may trace this process or open its memory."""
    script.step = "namespaces"
    script.call(Call.PRCTL, k.PR_SET_DUMPABLE, 0)


def enter_cgroups(script: Script, procs: tuple[int, ...]) -> None:
    """Writes "0" (myself) to each tasks or cgroup.procs."""
    script.step = "cgroups"
    for descriptor in procs:
        script.call(Call.WRITE, descriptor, b"0", 1)


def separate(script: Script, spec: ContainerSpec, opened: Opened) -> None:
    """A new mount namespace, its mounts still peers of the host's; uts, ipc, cgroup and network namespaces as asked. Those that are to belong to a user
    namespace have been made (runtime/kernel/userns.py) or come when it is entered."""
    script.step = "namespaces"
    fresh = new_namespaces(spec) & ~opened.separated
    script.call(Call.UNSHARE, fresh if opened.user < 0 else fresh & ~(OWNED | k.CLONE_NEWCGROUP))
    if opened.ipc >= 0:
        script.call(Call.SETNS, opened.ipc, k.CLONE_NEWIPC)
    if opened.uts >= 0:
        script.call(Call.SETNS, opened.uts, k.CLONE_NEWUTS)
    if opened.network >= 0:
        script.step = f"join of the network namespace {spec.network_namespace}"
        script.call(Call.SETNS, opened.network, k.CLONE_NEWNET)
    script.step = "namespaces"
    if not spec.network_namespace and not opened.separated & k.CLONE_NEWNET:
        raise_loopback(script)


def hide_mounts(script: Script) -> None:
    """From here on no mount comes back to the host; the host's still come."""
    script.step = "namespaces"
    script.call(Call.MOUNT, 0, b"/", 0, k.MS_SLAVE | k.MS_REC, 0)


def new_namespaces(spec: ContainerSpec) -> int:
    """The flags of those that a container has for itself, the pid namespace left out."""
    flags = k.CLONE_NEWNS
    flags |= 0 if spec.network_namespace else k.CLONE_NEWNET
    flags |= k.CLONE_NEWUTS if owns_uts(spec) else 0
    flags |= k.CLONE_NEWIPC if owns_ipc(spec) else 0
    flags |= 0 if spec.cgroup_mode == HOST else k.CLONE_NEWCGROUP
    return flags


def separate_ahead(script: Script, flags: int, procs: tuple[int, ...]) -> None:
    """What a child can do before it knows its container; `Opened.separated` then leaves it out of the list."""
    guard(script)
    enter_cgroups(script, procs)
    script.step = "namespaces"
    script.call(Call.UNSHARE, flags)
    if flags & k.CLONE_NEWNET:
        raise_loopback(script)


def owns_uts(spec: ContainerSpec) -> bool:
    return not spec.uts_mode


def owns_ipc(spec: ContainerSpec) -> bool:
    return spec.ipc_mode in ("", NONE)


def raise_loopback(script: Script) -> None:
    """A new network namespace's own lo."""
    script.step = "loopback interface"
    socket = script.keep(Call.SOCKET, k.AF_INET, k.SOCK_DGRAM | k.O_CLOEXEC, 0)
    script.call(Call.IOCTL, socket, k.SIOCSIFFLAGS, struct.pack("=16sH22x", b"lo", k.IFF_UP))
    script.call(Call.CLOSE, socket)


def new_session(script: Script) -> None:
    """A session and a session keyring of its own (a kernel without keys, or out of quota, is tolerated)."""
    script.step = "session"
    script.call(Call.SETSID)
    script.call(Call.KEYCTL, k.KEYCTL_JOIN_SESSION_KEYRING, 0, tolerate=(k.ENOSYS, k.EDQUOT, k.EPERM, k.EACCES))


def join(script: Script, spec: ContainerSpec, joined: Joined) -> None:
    """All namespaces of a running container but the pid namespace."""
    script.step = "join of the container's namespaces"
    flags = k.CLONE_NEWNS | k.CLONE_NEWUTS | k.CLONE_NEWIPC | k.CLONE_NEWNET | k.CLONE_NEWCGROUP
    script.call(Call.SETNS, joined.init, flags | (0 if spec.ids is None else k.CLONE_NEWUSER))


def enter_user(script: Script, user: int, fresh: int) -> None:
    """For good: from here on no right over anything of the host is left, whatever the capabilities say. The mounts, made with the host's rights, are
    copied into a namespace of its own, where each is locked: not even SYS_ADMIN takes a mask or a read-only path away. `fresh`: what else is made anew."""
    script.step = "user namespace"
    script.call(Call.SETNS, user, k.CLONE_NEWUSER)
    script.call(Call.UNSHARE, k.CLONE_NEWNS | fresh)


def set_hostname(script: Script, hostname: str) -> None:
    script.step = "hostname"
    name = hostname.encode()
    if len(name) > HOSTNAME_MAX_BYTES:
        raise Refused("error during container init: sethostname: invalid argument")
    script.call(Call.SETHOSTNAME, name, len(name))


def set_sysctls(script: Script, spec: ContainerSpec, proc: Register) -> None:
    """Through the private proc mount's descriptor (CVE-2025-52881); only those that a namespace of the container
    owns."""
    for name, value in spec.sysctls:
        path = name if "/" in name else name.replace(".", "/")
        if path.startswith("net/"):
            if spec.network_namespace == HOST_NETWORK:
                raise Refused(f'sysctl "{name}" not allowed in host network namespace')
        elif path == "kernel/domainname":
            if not owns_uts(spec):
                raise Refused(f'sysctl "{name}" is not allowed in the hosts uts namespace')
        elif (path in _NAMESPACED_SYSCTLS or path.startswith("fs/mqueue/")) and not owns_ipc(spec):
            raise Refused(f'sysctl "{name}" is not allowed in the hosts ipc namespace')
        elif path not in _NAMESPACED_SYSCTLS and not path.startswith("fs/mqueue/"):
            raise Refused(f'sysctl "{name}" is not in a separate kernel namespace')
        script.step = f"sysctl {name}={value}"
        file = script.keep(Call.OPENAT2, proc, f"sys/{path}".encode(), _SYSCTL_FILE, 24)
        data = value.encode()
        script.call(Call.WRITE, file, data, len(data), expect=len(data))
        script.call(Call.CLOSE, file)
