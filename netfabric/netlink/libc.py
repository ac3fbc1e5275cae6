"""The few C library calls that the standard library of Python 3.11 lacks: setns, unshare, mount, umount2.

Owns their ctypes signatures and nothing else; runtime/kernel has its own door (cffi) to more of them. Sources:
setns(2), unshare(2), mount(2). Every function raises OSError that names the call and its operands.
"""

from __future__ import annotations

import ctypes
import functools
import os

CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MNT_DETACH = 0x2


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def setns(descriptor: int, kind: int = CLONE_NEWNET) -> None:
    """Moves the calling thread into the namespace behind `descriptor`."""
    _check(_library().setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), f"setns({descriptor}, {kind:#x})")


def unshare(kind: int = CLONE_NEWNET) -> None:
    """Moves the calling thread into a new namespace of that kind."""
    _check(_library().unshare(ctypes.c_int(kind)), f"unshare({kind:#x})")


def bind_mount(source: str, target: str) -> None:
    result = _library().mount(os.fsencode(source), os.fsencode(target), b"none", ctypes.c_ulong(MS_BIND), None)
    _check(result, f"mount({source}, {target}, MS_BIND)")


def unmount(target: str) -> None:
    """Detaches the topmost mount at `target`, also while it is in use."""
    _check(_library().umount2(os.fsencode(target), ctypes.c_int(MNT_DETACH)), f"umount2({target}, MNT_DETACH)")
