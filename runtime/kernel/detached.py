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
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call


class Shift(NamedTuple):
    """Files as a user namespace sees them, whatever the disk says: `user` is open, `root` the host's id of its root."""

    user: int
    root: int


LAYERS_MAX = 500  # overlayfs's own limit (OVL_MAX_STACK)
FSCONFIG_STRING_MAX_BYTES = 255
TTY_GID = 5


def mount_overlay(lower: Sequence[str], upper: str = "", work: str = "", shift: Shift | None = None) -> int:
    """A detached overlay of folders, `lower` top first; without `upper` (two lower ones are needed then) nothing can be
    written. Returns its descriptor (close-on-exec). Raises OSError."""
    assert 0 < len(lower) <= LAYERS_MAX
    if shift is not None:
        return _mount_shifted(lower, upper, work, shift)
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


def _mount_shifted(lower: Sequence[str], upper: str, work: str, shift: Shift) -> int:
    """Every layer through an id-mapped clone of its own: on disk the owners stay those that the container sees. `upper` and `work` stand in one
    folder, as overlayfs wants them on one mount. Raises OSError in words where the kernel or a layer's file system can't (5.12, overlay 6.13)."""
    assert os.path.dirname(upper) == os.path.dirname(work)
    with ExitStack() as stack:
        context = call(Call.FSOPEN, b"overlay", k.FSOPEN_CLOEXEC)
        stack.callback(os.close, context)
        _set(context, b"source", b"overlay")
        for layer in lower:
            _set_descriptor(context, b"lowerdir+", id_mapped(layer, shift.user, stack))
        both = id_mapped(os.path.dirname(upper), shift.user, stack)
        for key, path in ((b"upperdir", upper), (b"workdir", work)):
            descriptor = os.open(os.path.basename(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=both)
            stack.callback(os.close, descriptor)
            _set_descriptor(context, key, descriptor)
        with files_made_as(shift.root):  # overlayfs works with its maker's ids, and only the container's are in the map
            call(Call.FSCONFIG, context, k.FSCONFIG_CMD_CREATE, 0, 0, 0)
        return call(Call.FSMOUNT, context, k.FSMOUNT_CLOEXEC, 0)


def id_mapped(path: str, user: int, stack: ExitStack) -> int:
    """A clone of the mount at `path` whose owners are shifted by the user namespace's map. Raises OSError in words."""
    tree = call(Call.OPEN_TREE, k.AT_FDCWD, os.fsencode(path), k.OPEN_TREE_CLONE | k.O_CLOEXEC)
    stack.callback(os.close, tree)
    attributes = struct.pack("=4Q", k.MOUNT_ATTR_IDMAP, 0, 0, user)
    try:
        call(Call.MOUNT_SETATTR, tree, b"", k.AT_EMPTY_PATH, attributes, k.MOUNT_ATTR_SIZE_BYTES)
    except OSError as error:
        raise OSError(error.errno, f"user namespaces need a file system with id-mapped mounts, and that of {path} has none: {error.strerror}") from error
    return tree


def _set_descriptor(context: int, key: bytes, descriptor: int) -> None:
    try:
        call(Call.FSCONFIG, context, k.FSCONFIG_SET_FD, key, 0, descriptor)
    except OSError as error:
        raise OSError(error.errno, f"user namespaces need a kernel whose overlayfs takes id-mapped layers (6.13 or newer): {error.strerror}") from error


@contextmanager
def files_made_as(owner: int) -> Generator[None]:
    """This process makes files as that user and group, with all its capabilities. Raises OSError."""
    call(Call.PRCTL, k.PR_SET_SECUREBITS, k.SECBIT_NO_SETUID_FIXUP)
    try:
        call(Call.SETFSGID, owner)
        call(Call.SETFSUID, owner)
        yield
    finally:
        call(Call.SETFSUID, os.geteuid())
        call(Call.SETFSGID, os.getegid())
        call(Call.PRCTL, k.PR_SET_SECUREBITS, 0)


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


def mount_devpts(group: int = TTY_GID) -> int:
    """A private devpts instance, detached: the descriptor of its mount. `group`: of its terminals."""
    context = call(Call.FSOPEN, b"devpts", k.FSOPEN_CLOEXEC)
    try:
        call(Call.FSCONFIG, context, k.FSCONFIG_SET_FLAG, b"newinstance", 0, 0)
        for key, value in ((b"ptmxmode", b"0666"), (b"mode", b"0620"), (b"gid", b"%d" % group)):
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
