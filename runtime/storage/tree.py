"""Inside the storage worker: putting a tree together, making it the root, and giving up every right beyond files.

Owns the mount namespace of the worker, which ends with it. After `confine` nothing of the host can be named: the root is
the tree, and the capabilities that could change that are gone. Source: fsopen(2), open_tree(2), openat2(2), chroot(2),
capabilities(7).
"""

from __future__ import annotations

import os
import resource
import stat
import struct

from runtime.child.capabilities import capset_data, mask_of
from runtime.kernel import constants as k
from runtime.kernel import userns
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call
from runtime.storage.requests import Bind, Tree

KEPT = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP")
"""What files with owners, devices and file capabilities take."""

LAST_CAPABILITY = 63
_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class NotRunning(Exception):
    """The process is not the container's (any more)."""


def open_tree(tree: Tree) -> tuple[int, int]:
    """Descriptors of the tree's root, and of the user namespace in which its owners are meant (-1: the host's). Raises OSError, NotRunning."""
    if tree.folder:
        return os.open(tree.folder, _PATH | os.O_NOFOLLOW), -1
    if tree.pid:
        return _root_of_process(tree.pid, tree.container_id)
    return _put_together(tree), -1


def _put_together(tree: Tree) -> int:
    from runtime.kernel.overlay import mount_overlay  # costs what the other trees need not pay

    call(Call.UNSHARE, k.CLONE_NEWNS)
    call(Call.MOUNT, b"none", b"/", 0, k.MS_REC | k.MS_PRIVATE, 0)
    mount = mount_overlay(tree.lower, tree.upper, tree.work)
    call(Call.MOVE_MOUNT, mount, b"", k.AT_FDCWD, os.fsencode(tree.mount_point), k.MOVE_MOUNT_F_EMPTY_PATH)
    root = os.open(tree.mount_point, _PATH)
    for bind in sorted(tree.binds, key=lambda b: b.target.count("/")):
        _bind(root, bind)
    return root


def _root_of_process(pid: int, container_id: str) -> tuple[int, int]:
    """And its user namespace, through the process's own folder in /proc, which never becomes another process's."""
    try:
        folder = os.open(f"/proc/{pid}", _PATH)
        root = os.open("root", _PATH, dir_fd=folder)
        user = os.open("ns/user", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        mounts = os.open("mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        with open(mounts, "rb") as file:
            if container_id.encode() not in file.read():  # its own layer and files are mounted there, by paths with its id
                raise NotRunning
    except (FileNotFoundError, ProcessLookupError):
        raise NotRunning from None
    os.close(folder)
    if userns.is_own(user):
        os.close(user)
        user = -1
    return root, user


def _bind(root: int, bind: Bind) -> None:
    tree = call(Call.OPEN_TREE, k.AT_FDCWD, os.fsencode(bind.source), k.OPEN_TREE_CLONE | k.O_CLOEXEC | k.AT_RECURSIVE)
    if bind.read_only:
        attributes = struct.pack("=4Q", k.MOUNT_ATTR_RDONLY, 0, 0, 0)
        call(Call.MOUNT_SETATTR, tree, b"", k.AT_EMPTY_PATH | k.AT_RECURSIVE, attributes, k.MOUNT_ATTR_SIZE_BYTES)
    folder = stat.S_ISDIR(os.fstat(tree).st_mode)
    target = _target(root, bind.target, folder=folder)
    call(Call.MOVE_MOUNT, tree, b"", target, b"", k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH)
    os.close(target)
    os.close(tree)


def _target(root: int, path: str, *, folder: bool) -> int:
    """Where something is to be mounted; made when it is missing."""
    parts = [part for part in path.split("/") if part]
    for depth in range(1, len(parts) + (1 if folder else 0)):
        try:
            os.close(open_in_root(root, "/".join(parts[:depth]), k.O_PATH | k.O_DIRECTORY))
        except FileNotFoundError:
            parent = open_in_root(root, "/".join(parts[: depth - 1]) or ".", k.O_PATH | k.O_DIRECTORY)
            os.mkdir(parts[depth - 1], 0o755, dir_fd=parent)
            os.close(parent)
    if folder:
        return open_in_root(root, path, k.O_PATH | k.O_DIRECTORY)
    try:
        return open_in_root(root, path, k.O_PATH)
    except FileNotFoundError:
        parent = open_in_root(root, "/".join(parts[:-1]) or ".", k.O_PATH | k.O_DIRECTORY)
        os.close(os.open(parts[-1], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o755, dir_fd=parent))
        os.close(parent)
        return open_in_root(root, path, k.O_PATH)


def open_in_root(root: int, path: str, flags: int, resolve: int = k.IN_ROOT) -> int:
    """A descriptor of a path that can't leave the root, whatever links it meets; links of /proc are refused."""
    how = struct.pack("=3Q", flags | k.O_CLOEXEC, 0, resolve)
    return call(Call.OPENAT2, root, os.fsencode(path), how, len(how))


def confine(root: int, user: int) -> None:
    """Make the tree the root of this process, for good, and keep only the rights that files need; in the user namespace, where there is one, as its
    root: owners are then those that the container sees."""
    os.fchdir(root)
    os.chroot(".")
    if user >= 0:
        call(Call.SETNS, user, k.CLONE_NEWUSER)
        os.setgroups(())
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    os.umask(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    call(Call.PRCTL, k.PR_SET_DUMPABLE, 0)
    call(Call.PRCTL, k.PR_SET_NO_NEW_PRIVS, 1)
    header = struct.pack("=Ii", k.LINUX_CAPABILITY_VERSION_3, 0)
    call(Call.CAPSET, header, capset_data(mask_of(KEPT, LAST_CAPABILITY)))
