"""Mounts made without a place in any tree, by the new mount API: id-mapped clones, a private devpts and its terminals. Owns nothing after
it returned the descriptor.

Source: fsopen(2), mount_setattr(2), devpts(5).
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import ExitStack

from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call

TTY_GID = 5
WINDOW_MASK = 0xFFFF


def set_option(context: int, key: bytes, value: bytes) -> None:
    """An option of a file system that is being configured. Raises OSError."""
    call(Call.FSCONFIG, context, k.FSCONFIG_SET_STRING, key, value, 0)


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


def mount_devpts(group: int = TTY_GID) -> int:
    """A private devpts instance, detached: the descriptor of its mount. `group`: of its terminals."""
    context = call(Call.FSOPEN, b"devpts", k.FSOPEN_CLOEXEC)
    try:
        call(Call.FSCONFIG, context, k.FSCONFIG_SET_FLAG, b"newinstance", 0, 0)
        for key, value in ((b"ptmxmode", b"0666"), (b"mode", b"0620"), (b"gid", b"%d" % group)):
            set_option(context, key, value)
        call(Call.FSCONFIG, context, k.FSCONFIG_CMD_CREATE, 0, 0, 0)
        return call(Call.FSMOUNT, context, k.FSMOUNT_CLOEXEC, k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NOEXEC)
    finally:
        os.close(context)


def open_terminal(ptmx: int) -> int:
    """The slave of an open ptmx, found through the descriptor alone (no path that a container could bend)."""
    fcntl.ioctl(ptmx, k.TIOCSPTLCK, struct.pack("=i", 0))
    return fcntl.ioctl(ptmx, k.TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def resize_terminal(master: int, rows: int, columns: int) -> None:
    """Sets the window's size; the foreground group gets SIGWINCH. Of larger numbers the kernel's struct has room for the lower bits, as with Docker."""
    fcntl.ioctl(master, k.TIOCSWINSZ, struct.pack("=4H", rows & WINDOW_MASK, columns & WINDOW_MASK, 0, 0))


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
