"""User namespaces: a new one with its map of ids, and further namespaces that belong to it. Owns the process that holds them until they are open.

What belongs to a user namespace gives its root rights over it, and over nothing else; a process can make such things only inside, and can't write its
own map: hence a child that makes them while its parent looks on. Descriptors keep them afterwards. Source: user_namespaces(7), ioctl_ns(2).
"""

from __future__ import annotations

import fcntl
import os
import signal
from typing import NamedTuple, NoReturn

from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call

FILES = {k.CLONE_NEWUSER: "user", k.CLONE_NEWNET: "net", k.CLONE_NEWUTS: "uts", k.CLONE_NEWIPC: "ipc"}
NS_GET_USERNS = 0xB701
_FAILED = 1


class Mapping(NamedTuple):
    """`size` ids from `inside` on are those from `outside` on of the namespace above."""

    inside: int
    outside: int
    size: int


Mappings = tuple[Mapping, ...]


def new_user_namespace(uids: Mappings, gids: Mappings, flags: int = 0) -> dict[int, int]:
    """A user namespace and new namespaces of the kinds in `flags` that it owns: descriptors (close-on-exec) by their CLONE_ flags. Raises OSError."""
    return _held(-1, uids, gids, flags)


def new_namespaces_in(user: int, flags: int) -> dict[int, int]:
    """New namespaces of the kinds in `flags` that belong to an open user namespace. Raises OSError."""
    return _held(user, (), (), flags)


def owner_of(namespace: int) -> int:
    """A descriptor of the user namespace that an open namespace belongs to. Raises OSError."""
    return fcntl.ioctl(namespace, NS_GET_USERNS)


def is_own(user: int) -> bool:
    """Whether an open user namespace is this process's."""
    ours, other = os.stat("/proc/self/ns/user"), os.fstat(user)
    return (ours.st_dev, ours.st_ino) == (other.st_dev, other.st_ino)


def maps_of(user: int) -> tuple[Mappings, Mappings]:
    """Users and groups of an open user namespace, as this process sees them. Raises OSError."""
    found: list[Mappings] = []
    made = _held(user, (), (), 0, found)
    assert not made
    return found[0], found[1]


def outside(mappings: Mappings, inside: int) -> int:
    """The id above of one inside; -1 for one that is not mapped. Pure."""
    return next((each.outside + inside - each.inside for each in mappings if each.inside <= inside < each.inside + each.size), -1)


def _held(user: int, uids: Mappings, gids: Mappings, flags: int, seen: list[Mappings] | None = None) -> dict[int, int]:
    reader, report = os.pipe2(os.O_CLOEXEC)
    proceed, gate = os.pipe2(os.O_CLOEXEC)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            os.close(gate)
            _hold(user, flags, report, proceed)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(report)
        os.close(proceed)
    try:
        _hear(reader, "a user namespace can't be made")
        if user < 0:
            _write_map(pid, "uid_map", uids)
            _write_map(pid, "gid_map", gids)
        os.write(gate, b"\1")
        _hear(reader, "namespaces can't be made in the user namespace")
        if seen is not None:
            seen += (read_map(pid, "uid_map"), read_map(pid, "gid_map"))
        return _open_all(pid, flags if user >= 0 else flags | k.CLONE_NEWUSER)
    finally:
        os.close(gate)
        os.close(reader)
        os.waitpid(pid, 0)


def _hear(reader: int, what: str) -> None:
    said = os.read(reader, 1)
    if said != b"\0":
        error = said[0] if said else k.EPERM
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _write_map(pid: int, name: str, mappings: Mappings) -> None:
    """In one write, which is all that the kernel takes."""
    text = "".join(f"{mapping.inside} {mapping.outside} {mapping.size}\n" for mapping in mappings)
    descriptor = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise OSError(error.errno, f"{name} {text.strip()!r}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def read_map(pid: int, name: str) -> Mappings:
    """`uid_map` or `gid_map` of a process, as this one sees it. Raises OSError."""
    with open(f"/proc/{pid}/{name}", encoding="ascii") as file:
        return tuple(Mapping(*(int(word) for word in line.split())) for line in file)


def _open_all(pid: int, flags: int) -> dict[int, int]:
    opened: dict[int, int] = {}
    try:
        for flag, name in FILES.items():
            if flags & flag:
                opened[flag] = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        for descriptor in opened.values():
            os.close(descriptor)
        raise
    return opened


def _hold(user: int, flags: int, report: int, proceed: int) -> NoReturn:
    """The child: says a zero byte for each step that it has made, or the error's number; ends when its parent lets go."""
    try:
        call(Call.PRCTL, k.PR_SET_DUMPABLE, 0)
        if user >= 0:
            call(Call.SETNS, user, k.CLONE_NEWUSER)
        else:
            call(Call.UNSHARE, k.CLONE_NEWUSER)
        os.write(report, b"\0")
        if os.read(proceed, 1):
            if flags:
                call(Call.UNSHARE, flags)
            os.write(report, b"\0")
            os.read(proceed, 1)
    except OSError as error:
        os.write(report, bytes((error.errno or k.EPERM,)))
    finally:
        os._exit(_FAILED)
