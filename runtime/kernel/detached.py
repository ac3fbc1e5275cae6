"""Mounts made without a place in any tree, by the new mount API: an overlay, a private devpts. Owns nothing after
it returned the descriptor.

Folders whose paths fsconfig can't take (over 255 bytes, commas, colons) are named by descriptor (/proc/self/fd/N).
Source: fsopen(2), Documentation/filesystems/overlayfs.rst, devpts(5).
"""

from __future__ import annotations

import fcntl
import functools
import os
import struct
from collections.abc import Sequence
from contextlib import ExitStack

from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call

LAYERS_MAX = 500  # overlayfs's own limit (OVL_MAX_STACK)
FSCONFIG_STRING_MAX_BYTES = 255


def mount_overlay(lower: Sequence[str], upper: str = "", work: str = "") -> int:
    """A detached overlay of folders, `lower` top first; without `upper` (two lower ones are needed then) nothing can be
    written. Returns its descriptor (close-on-exec). Raises OSError."""
    assert 0 < len(lower) <= LAYERS_MAX
    with ExitStack() as stack:
        context = call(Call.FSOPEN, b"overlay", k.FSOPEN_CLOEXEC)
        stack.callback(os.close, context)
        _set(context, b"source", b"overlay")
        _set_lower(context, lower, stack)
        if upper:
            _set(context, b"upperdir", _named(upper, stack))
            _set(context, b"workdir", _named(work, stack))
        call(Call.FSCONFIG, context, k.FSCONFIG_CMD_CREATE, 0, 0, 0)
        return call(Call.FSMOUNT, context, k.FSMOUNT_CLOEXEC, 0)


def _set(context: int, key: bytes, value: bytes) -> None:
    call(Call.FSCONFIG, context, k.FSCONFIG_SET_STRING, key, value, 0)


def _set_lower(context: int, layers: Sequence[str], stack: ExitStack) -> None:
    """One by one (kernel 6.8). On older kernels joined, by descriptor and relative to /proc/self/fd so as to stay
    under 255 bytes; those kernels look the layers up when the file system is created, so the working folder is put
    back when `stack` closes."""
    if not _judges_late():
        try:
            for layer in layers:
                _set(context, b"lowerdir+", _named(layer, stack))
        except OSError as error:
            if error.errno != k.EINVAL:
                raise
        else:
            return
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, before)
    numbers = [b"%d" % _open_folder(layer, stack) for layer in layers]
    os.chdir("/proc/self/fd")
    stack.callback(os.fchdir, before)
    _set(context, b"lowerdir", b":".join(numbers))


@functools.cache
def _judges_late() -> bool:
    """Before 6.5 overlayfs takes any option at first, the unknown ones as well, and refuses them all together when the
    file system is created."""
    context = call(Call.FSOPEN, b"overlay", k.FSOPEN_CLOEXEC)
    try:
        _set(context, b"festoon-probe", b"1")
    except OSError as error:
        if error.errno != k.EINVAL:
            raise
        return False
    finally:
        os.close(context)
    return True


def _named(path: str, stack: ExitStack) -> bytes:
    if len(os.fsencode(path)) <= FSCONFIG_STRING_MAX_BYTES and not set(path) & set(":,\\"):
        return os.fsencode(path)
    return b"/proc/self/fd/%d" % _open_folder(path, stack)


def _open_folder(path: str, stack: ExitStack) -> int:
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


def mount_devpts() -> int:
    """A private devpts instance, detached: the descriptor of its mount."""
    context = call(Call.FSOPEN, b"devpts", k.FSOPEN_CLOEXEC)
    try:
        call(Call.FSCONFIG, context, k.FSCONFIG_SET_FLAG, b"newinstance", 0, 0)
        for key, value in ((b"ptmxmode", b"0666"), (b"mode", b"0620"), (b"gid", b"5")):
            _set(context, key, value)
        call(Call.FSCONFIG, context, k.FSCONFIG_CMD_CREATE, 0, 0, 0)
        return call(Call.FSMOUNT, context, k.FSMOUNT_CLOEXEC, k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NOEXEC)
    finally:
        os.close(context)


def open_terminal(ptmx: int) -> int:
    """The slave of an open ptmx, found through the descriptor alone (no path that a container could bend)."""
    fcntl.ioctl(ptmx, k.TIOCSPTLCK, struct.pack("=i", 0))
    return fcntl.ioctl(ptmx, k.TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def resize_terminal(master: int, rows: int, columns: int) -> None:
    """Sets the window's size; the foreground group gets SIGWINCH."""
    fcntl.ioctl(master, k.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))


def open_container_ptmx(pid: int) -> int:
    """A new pseudo terminal of the devpts mounted in a container, as descriptor of the master. Raises OSError;
    FileNotFoundError when what stands at /dev/pts/ptmx there is not a devpts's (CVE-2025-52565)."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS | k.RESOLVE_NO_SYMLINKS
        path = call(Call.OPENAT2, root, b"dev/pts/ptmx", struct.pack("=3Q", k.O_PATH | k.O_CLOEXEC, 0, flags), 24)
    finally:
        os.close(root)
    try:
        found = os.fstat(path)
        if (os.major(found.st_rdev), os.minor(found.st_rdev)) != (5, 2) or not _on_devpts(path):
            raise FileNotFoundError(k.ENOENT, "the container's /dev/pts/ptmx is not a devpts")
        return os.open(f"/proc/self/fd/{path}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(path)


def _on_devpts(path: int) -> bool:
    """fstatfs's f_type, the first long of struct statfs."""
    facts = bytearray(120)
    call(Call.FSTATFS, path, facts)
    return bool(struct.unpack_from("=q", facts, 0)[0] == k.DEVPTS_SUPER_MAGIC)
