"""Network namespaces: anonymous and named ones, and a visit to one for the length of a `with` block.

A named namespace is a bind mount of its file on <run>/netns/<name>, as `ip netns` and Docker make them. Who visits
a namespace comes back before the next await: the thread is the process's only one that runs Python code of the
node, and everything else on it would run in the wrong place. Never forks, never starts threads. Sources:
network_namespaces(7), setns(2), ioctl_ns(2).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

from netfabric.netlink import libc

NS_GET_NSTYPE = 0xB703
LOST_NAMESPACE_STATUS = 70
_SELF = "/proc/thread-self/ns/net"


def current() -> int:
    """A new descriptor of the calling thread's network namespace; the caller closes it."""
    return os.open(_SELF, os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def in_namespace(descriptor: int) -> Iterator[None]:
    """Runs a short synchronous block with this thread in another network namespace. There must be no await inside.

    Raises OSError when the namespace can't be entered. When the way back fails, nothing may go on: the process ends
    with status 70.
    """
    home = current()
    try:
        libc.setns(descriptor)
        try:
            yield
        finally:
            try:
                libc.setns(home)
            except OSError:
                os._exit(LOST_NAMESPACE_STATUS)
    finally:
        os.close(home)


@contextlib.contextmanager
def visiting(path: str) -> Iterator[None]:
    """As in_namespace, in the one bound to `path`. Raises FileNotFoundError when there is none."""
    descriptor = open_named(path)
    try:
        with in_namespace(descriptor):
            yield
    finally:
        os.close(descriptor)


def create_anonymous() -> int:
    """A descriptor of a new network namespace without a name; it lives as long as something holds it."""
    home = current()
    try:
        libc.unshare()
        try:
            return current()
        finally:
            try:
                libc.setns(home)
            except OSError:
                os._exit(LOST_NAMESPACE_STATUS)
    finally:
        os.close(home)


def create(path: str, made: int = -1) -> int:
    """Makes a network namespace, binds it to `path` (whose folder exists) and returns a descriptor of it. `made`: a
    descriptor of the one to bind instead, which stays the caller's.

    Raises FileExistsError when the path is taken. A failure leaves no file behind; a crash in the middle may leave
    an empty one, which open_named() does not take for a namespace and remove() removes.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        descriptor = create_anonymous() if made < 0 else os.dup(made)
        try:
            libc.bind_mount(f"/proc/self/fd/{descriptor}", path)
        except OSError:
            os.close(descriptor)
            raise
    except OSError:
        os.unlink(path)
        raise
    return descriptor


def name_of_process(path: str, pid: int) -> None:
    """Binds the network namespace of a process to `path` (whose folder exists); a leftover there goes first. Raises
    OSError.
    """
    remove(path)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        libc.bind_mount(f"/proc/{pid}/ns/net", path)
    except OSError:
        os.unlink(path)
        raise


def open_named(path: str) -> int:
    """A descriptor of the namespace bound to `path`. Raises FileNotFoundError when there is none, also when the
    file is no network namespace.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kind = fcntl.ioctl(descriptor, NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != libc.CLONE_NEWNET:
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "no network namespace is bound to it", path)
    return descriptor


def remove(path: str) -> None:
    """Takes the name away; the namespace itself ends with its last process. A path that does not exist is no error."""
    while True:
        try:
            libc.unmount(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: not, or no longer, a mount point
                raise
            break
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def names(folder: str) -> tuple[str, ...]:
    """The names in a folder of namespaces, sorted, the broken ones too; none when there is no folder."""
    try:
        return tuple(sorted(os.listdir(folder)))
    except FileNotFoundError:
        return ()
