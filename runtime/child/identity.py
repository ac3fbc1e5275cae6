"""Who the program is: capabilities, user, groups, resource limits, signals. Pure: appends operations. Source:
capabilities(7), credentials(7)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from runtime.child.capabilities import capset_data, mask_of
from runtime.child.faults import Refused
from runtime.kernel import constants as k
from runtime.kernel.operations import Script
from runtime.kernel.syscalls import Call

if TYPE_CHECKING:
    from runtime.child.host import Host
    from runtime.spec import Rlimit, User

RLIMITS = {
    "cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7, "memlock": 8, "as": 9, "locks": 10,
    "sigpending": 11, "msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15,
}  # fmt: skip
"""include/uapi/asm-generic/resource.h"""

SIGNAL_SET_BYTES = 8


def limit_resources(script: Script, rlimits: tuple[Rlimit, ...]) -> None:
    """-1 is unlimited."""
    for limit in rlimits:
        number = RLIMITS.get(limit.name.lower().removeprefix("rlimit_"))
        if number is None:
            raise Refused(f"invalid ulimit type: {limit.name}")
        script.step = f"ulimit {limit.name}={limit.soft}:{limit.hard}"
        pair = struct.pack("=2Q", limit.soft & (2**64 - 1), limit.hard & (2**64 - 1))
        script.call(Call.PRLIMIT64, 0, number, pair, 0)


def drop_bounding_set(script: Script, capabilities: int, last: int) -> None:
    """Needs SETPCAP, so it comes before the user changes."""
    script.step = "capabilities"
    for number in range(last + 1):
        if not capabilities >> number & 1:
            script.call(Call.PRCTL, k.PR_CAPBSET_DROP, number)


def become(script: Script, user: User, capabilities: int) -> None:
    """Groups, then the group, then the user; root keeps `capabilities`, others none, as after an exec."""
    script.step = "user"
    groups = struct.pack(f"={len(user.groups)}I", *user.groups)
    script.call(Call.SETGROUPS, len(user.groups), groups)
    script.call(Call.SETRESGID, user.gid, user.gid, user.gid)
    script.call(Call.SETRESUID, user.uid, user.uid, user.uid)
    script.step = "capabilities"
    script.call(Call.PRCTL, k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", k.LINUX_CAPABILITY_VERSION_3, 0)
    script.call(Call.CAPSET, header, capset_data(capabilities if user.uid == 0 else 0))


def make_files_as(script: Script, uid: int, gid: int) -> None:
    """Files, nodes and mounts belong to that user and group of the host from now on; no capability is given up. What is made in an id-mapped root
    must belong to one of the container's ids."""
    script.step = "owner of the container's files"
    script.call(Call.PRCTL, k.PR_SET_SECUREBITS, k.SECBIT_NO_SETUID_FIXUP)
    script.call(Call.SETFSGID, gid)
    script.call(Call.SETFSUID, uid)


def allow_no_new_privileges(script: Script) -> None:
    """Set-user-id programs and file capabilities no longer raise anybody."""
    script.step = "no new privileges"
    script.call(Call.PRCTL, k.PR_SET_NO_NEW_PRIVS, 1)


def reset_signals(script: Script) -> None:
    """Default dispositions where Python ignores, and nothing blocked (the supervisor blocks all around the fork)."""
    script.step = "signals"
    for number in k.SIGNALS_IGNORED_BY_PYTHON:
        script.call(Call.RT_SIGACTION, number, bytes(32), 0, SIGNAL_SET_BYTES)
    script.call(Call.RT_SIGPROCMASK, 2, bytes(SIGNAL_SET_BYTES), 0, SIGNAL_SET_BYTES)


def capabilities_of(names: tuple[str, ...], privileged: bool, host: Host) -> int:
    """The mask that a process gets; a privileged one gets all that there are."""
    return mask_of(("ALL",) if privileged else names, host.last_capability) & host.held
