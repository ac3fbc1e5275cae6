"""An overlay made without a place in any tree, by the new mount API, with its files' owners as they are or shifted for a user namespace. Owns
nothing after it returned the descriptor.

Folders whose paths fsconfig can't take (over 255 bytes, commas, colons) are named by descriptor (/proc/self/fd/N).
Source: fsopen(2), mount_setattr(2), Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, NoReturn

from runtime.kernel import constants as k
from runtime.kernel.detached import id_mapped, set_option
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call


class Shift(NamedTuple):
    """Files as a user namespace sees them, whatever the disk says: `user` is open, `root` the host's id of its root."""

    user: int
    root: int


LAYERS_MAX = 500  # overlayfs's own limit (OVL_MAX_STACK)
FSCONFIG_STRING_MAX_BYTES = 255
_WORDS_MAX_BYTES = 4096
"""Of a child's error."""


def mount_overlay(lower: Sequence[str], upper: str = "", work: str = "", shift: Shift | None = None) -> int:
    """A detached overlay of folders, `lower` top first; without `upper` (two lower ones are needed then) nothing can be
    written. Returns its descriptor (close-on-exec). Raises OSError."""
    assert 0 < len(lower) <= LAYERS_MAX
    if shift is not None:
        return _mount_shifted(lower, upper, work, shift)
    with ExitStack() as stack:
        context = call(Call.FSOPEN, b"overlay", k.FSOPEN_CLOEXEC)
        stack.callback(os.close, context)
        set_option(context, b"source", b"overlay")
        _set_lower(context, lower, stack)
        if upper:
            set_option(context, b"upperdir", _named(upper, stack))
            set_option(context, b"workdir", _named(work, stack))
        call(Call.FSCONFIG, context, k.FSCONFIG_CMD_CREATE, 0, 0, 0)
        return call(Call.FSMOUNT, context, k.FSMOUNT_CLOEXEC, 0)


def _mount_shifted(lower: Sequence[str], upper: str, work: str, shift: Shift) -> int:
    """Every layer through an id-mapped clone of its own: on disk the owners stay those that the container sees. `upper` and `work` stand in one
    folder, as overlayfs wants them on one mount. Raises OSError in words where the kernel or a layer's file system can't (5.12, overlay 5.19)."""
    assert os.path.dirname(upper) == os.path.dirname(work)
    with ExitStack() as stack:
        clones = [(path, id_mapped(path, shift.user, stack)) for path in (*lower, os.path.dirname(upper))]
        if not _takes_descriptors():
            return _in_a_child(lambda: _mount_covered(clones, lower, upper, work, shift.root))
        context = call(Call.FSOPEN, b"overlay", k.FSOPEN_CLOEXEC)
        stack.callback(os.close, context)
        set_option(context, b"source", b"overlay")
        for _, layer in clones[:-1]:
            call(Call.FSCONFIG, context, k.FSCONFIG_SET_FD, b"lowerdir+", 0, layer)
        for key, path in ((b"upperdir", upper), (b"workdir", work)):
            descriptor = os.open(os.path.basename(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=clones[-1][1])
            stack.callback(os.close, descriptor)
            call(Call.FSCONFIG, context, k.FSCONFIG_SET_FD, key, 0, descriptor)
        with files_made_as(shift.root):  # overlayfs works with its maker's ids, and only the container's are in the map
            call(Call.FSCONFIG, context, k.FSCONFIG_CMD_CREATE, 0, 0, 0)
        return call(Call.FSMOUNT, context, k.FSMOUNT_CLOEXEC, 0)


@functools.cache
def _takes_descriptors() -> bool:
    """Whether overlayfs takes layers by descriptor (6.13), which is the only way to name a mount that stands in no tree."""
    context = call(Call.FSOPEN, b"overlay", k.FSOPEN_CLOEXEC)
    folder = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call(Call.FSCONFIG, context, k.FSCONFIG_SET_FD, b"lowerdir+", 0, folder)
    except OSError as error:
        if error.errno not in (k.EINVAL, k.EOPNOTSUPP):  # the second: overlayfs has no options of the new mount API's at all (before 6.5)
            raise
        return False
    finally:
        os.close(folder)
        os.close(context)
    return True


def _mount_covered(clones: Sequence[tuple[str, int]], lower: Sequence[str], upper: str, work: str, owner: int) -> int:
    """The same on older kernels, in a process of its own: each clone covers its layer in a private mount namespace, so that the layer's path leads
    to it. Overlayfs keeps clones of its own, which outlive that namespace."""
    call(Call.UNSHARE, k.CLONE_NEWNS)
    call(Call.MOUNT, 0, b"/", 0, k.MS_REC | k.MS_PRIVATE, 0)
    for path, clone in clones:
        call(Call.MOVE_MOUNT, clone, b"", k.AT_FDCWD, os.fsencode(path), k.MOVE_MOUNT_F_EMPTY_PATH)
    with files_made_as(owner):
        try:
            return mount_overlay(lower, upper, work)
        except OSError as error:
            if error.errno != k.EINVAL:
                raise
            raise OSError(k.EINVAL, f"user namespaces need a kernel whose overlayfs takes id-mapped layers (5.19 or newer): {os.strerror(k.EINVAL)}") from error


def _in_a_child(make: Callable[[], int]) -> int:
    """The descriptor that `make` returns in a forked process; it may change what it likes of itself. Raises OSError, that of `make` too."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                _send_made(there, make)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            there.close()
        try:
            said, descriptors, _, _ = socket.recv_fds(here, _WORDS_MAX_BYTES, 1)
        finally:
            os.waitpid(pid, 0)
    if descriptors:
        os.set_inheritable(descriptors[0], False)
        return descriptors[0]
    number, _, words = said.decode(errors="replace").partition(" ")
    raise OSError(int(number) if number else k.EPERM, words or "the process that was to mount an overlay ended")


def _send_made(to: socket.socket, make: Callable[[], int]) -> NoReturn:
    try:
        socket.send_fds(to, [b"made"], [make()])
    except OSError as error:
        to.send(f"{error.errno or k.EPERM} {error.strerror}".encode()[:_WORDS_MAX_BYTES])
    finally:
        os._exit(0)


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


def _set_lower(context: int, layers: Sequence[str], stack: ExitStack) -> None:
    """One by one (kernel 6.8). On older kernels joined, by descriptor and relative to /proc/self/fd so as to stay
    under 255 bytes; those kernels look the layers up when the file system is created, so the working folder is put
    back when `stack` closes."""
    if not _judges_late():
        try:
            for layer in layers:
                set_option(context, b"lowerdir+", _named(layer, stack))
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
    set_option(context, b"lowerdir", b":".join(numbers))


@functools.cache
def _judges_late() -> bool:
    """Before 6.5 overlayfs takes any option at first, the unknown ones as well, and refuses them all together when the
    file system is created."""
    context = call(Call.FSOPEN, b"overlay", k.FSOPEN_CLOEXEC)
    try:
        set_option(context, b"festoon-probe", b"1")
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
