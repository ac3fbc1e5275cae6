"""mount(2), which Python lacks: the few kinds of mount that a machine's own view of the host is made of.

Owns the call, by the standard library's ctypes (as netfabric/netlink/libc.py, whose bind mounts it complements). Raises
OSError that names call and operands.
"""

from __future__ import annotations

import ctypes
import os

MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x2, 0x4, 0x8
MS_REC, MS_PRIVATE, MS_BIND = 0x4000, 0x40000, 0x1000


def make_private() -> None:
    """No mount of this namespace is seen in another, nor the other way round."""
    _mount("none", "/", "", MS_REC | MS_PRIVATE)


def new_tmpfs(target: str, options: str) -> None:
    _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, options)


def new_sysfs(target: str) -> None:
    """Shows the network namespace of the caller."""
    _mount("sysfs", target, "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def bind(source: str, target: str) -> None:
    _mount(source, target, "", MS_BIND | MS_REC)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    library = ctypes.CDLL(None, use_errno=True)
    arguments = (os.fsencode(source), os.fsencode(target), kind.encode() or None)
    if library.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None):
        code = ctypes.get_errno()
        raise OSError(code, f"mount({source}, {target}, {kind or 'bind'}, {flags:#x}): {os.strerror(code)}")
