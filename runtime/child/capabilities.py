"""Capability names and masks. Pure. Source: include/uapi/linux/capability.h."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from runtime.child.faults import Refused

NAMES: tuple[str, ...] = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
    "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
    "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
"""By number: CHOWN is 0."""


def mask_of(names: Iterable[str], last: int) -> int:
    """The bit mask; ALL stands for every capability up to `last`. Raises Refused on an unknown name."""
    mask = 0
    for name in names:
        plain = name.upper().removeprefix("CAP_")
        if plain == "ALL":
            return (1 << (last + 1)) - 1
        if plain not in NAMES:
            raise Refused(f'invalid capability: "{name}"')
        mask |= 1 << NAMES.index(plain)
    return mask & ((1 << (last + 1)) - 1)


def capset_data(mask: int) -> bytes:
    """Three masks (effective, permitted, inheritable) in two halves; nothing is inheritable (CVE-2022-24769)."""
    low, high = mask & 0xFFFF_FFFF, mask >> 32
    return struct.pack("=6I", low, low, 0, high, high, 0)
