"""Inside the storage worker: putting a tree together, making it the root, and giving up every right beyond files.

Owns the mount namespace of the worker, which ends with it. After `confine` nothing of the host can be named: the root is
the tree, and the capabilities that could change that are gone. Source: fsopen(2), open_tree(2), openat2(2), chroot(2),
capabilities(7).
"""

from __future__ import annotations

import errno
import os
import resource
import stat
import struct
from collections.abc import Callable

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
    call(Call.PRCTL, k.PR_SET_DUMPABLE, 0)  # before a container's namespace is entered
    if not tree.pid:
        from runtime.kernel.overlay import mount_overlay  # costs what the other trees need not pay

        return _put_together(tree, lambda: mount_overlay(tree.lower, tree.upper, tree.work)), -1
    root, mounts, user = _of_process(tree.pid, tree.container_id)
    if user >= 0:
        return root, user
    os.close(root)
    return _put_together(tree, lambda: _root_of_namespace(mounts)), -1


def _put_together(tree: Tree, make: Callable[[], int]) -> int:
    """The mount that `make` returns with the binds on it, in a mount namespace of this process's own."""
    call(Call.UNSHARE, k.CLONE_NEWNS)
    call(Call.MOUNT, b"none", b"/", 0, k.MS_REC | k.MS_PRIVATE, 0)
    sources = [(_source(bind), bind.target) for bind in sorted(tree.binds, key=lambda b: b.target.count("/"))]  # before anything is covered
    call(Call.MOVE_MOUNT, make(), b"", k.AT_FDCWD, os.fsencode(tree.mount_point), k.MOVE_MOUNT_F_EMPTY_PATH)
    root = os.open(tree.mount_point, _PATH)
    for source, target in sources:
        try:
            _bind(root, source, target)
        except OSError as error:
            if error.errno != errno.EROFS:  # nothing can be made there, so nothing stands there
                raise
    return root


def _root_of_namespace(mounts: int) -> int:
    """A clone of what a mount namespace has at its root, without what is mounted in it."""
    own, before = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC), os.open("/", _PATH)
    call(Call.SETNS, mounts, k.CLONE_NEWNS)
    root = call(Call.OPEN_TREE, k.AT_FDCWD, b"/", k.OPEN_TREE_CLONE | k.O_CLOEXEC)
    call(Call.SETNS, own, k.CLONE_NEWNS)
    os.fchdir(before)  # a namespace's root need not be that of its processes
    os.chroot(".")
    for descriptor in (own, before):
        os.close(descriptor)
    return root


def _of_process(pid: int, container_id: str) -> tuple[int, int, int]:
    """Its root, its mount and its user namespace (-1: the host's), through its own folder in /proc, which never becomes another process's."""
    try:
        folder = os.open(f"/proc/{pid}", _PATH)
        root = os.open("root", _PATH, dir_fd=folder)
        user = os.open("ns/user", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        mounts = os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        with open(os.open("mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
            if container_id.encode() not in file.read():  # its own layer and files are mounted there, by paths with its id
                raise NotRunning
    except (FileNotFoundError, ProcessLookupError):
        raise NotRunning from None
    os.close(folder)
    if userns.is_own(user):
        os.close(user)
        user = -1
    return root, mounts, user


def _source(bind: Bind) -> int:
    tree = call(Call.OPEN_TREE, k.AT_FDCWD, os.fsencode(bind.source), k.OPEN_TREE_CLONE | k.O_CLOEXEC | k.AT_RECURSIVE)
    if bind.read_only:
        attributes = struct.pack("=4Q", k.MOUNT_ATTR_RDONLY, 0, 0, 0)
        call(Call.MOUNT_SETATTR, tree, b"", k.AT_EMPTY_PATH | k.AT_RECURSIVE, attributes, k.MOUNT_ATTR_SIZE_BYTES)
    return tree


def _bind(root: int, source: int, path: str) -> None:
    target = _target(root, path, folder=stat.S_ISDIR(os.fstat(source).st_mode))
    call(Call.MOVE_MOUNT, source, b"", target, b"", k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH)
    os.close(target)
    os.close(source)


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
