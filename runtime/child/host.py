"""What the compiler of containers has to know about this host and about the descriptors that the supervisor opened.
Values only; nothing is read here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Device(NamedTuple):
    """A device node of the host that the container gets. `path` below /dev; `mode` with the file's type."""

    path: str
    mode: int
    major: int
    minor: int
    uid: int = 0
    gid: int = 0


class Host(NamedTuple):
    """Read once when the supervisor starts. `masked` and `read_only`: those of Docker's paths that exist on this
    kernel, with True for folders."""

    last_capability: int
    masked: tuple[tuple[str, bool], ...]
    read_only: tuple[str, ...]
    held: int = (1 << 64) - 1  # capabilities that the runtime itself has: no other can be given


class CgroupView(NamedTuple):
    """A cgroup to show read-only below the container's /sys/fs/cgroup. `name`: the folder there, empty for cgroup
    v2's single tree; `path`: the container's own group on the host; `link`: other names of the same hierarchy."""

    name: str
    path: str


class Opened(NamedTuple):
    """Descriptors and folders that the supervisor made before the fork; -1 where there is none. They are closed by
    the exec."""

    root: int  # detached overlay mount
    mount_point: str  # an empty folder on the host, where the root is attached for a moment in the private mount namespace
    gate: int  # the child reads one byte here and only then goes on
    cgroups: tuple[int, ...] = ()  # the tasks (v1) and cgroup.procs files that the child writes itself into
    network: int = -1  # a network namespace to join, or the pidfd of a process in it
    ipc: int = -1  # pidfd of a process whose ipc namespace and /dev/shm are joined; or an ipc namespace
    uts: int = -1  # pidfd of a process whose uts namespace is joined; or a uts namespace
    stdin: int = -1  # -1: /dev/null
    stdout: int = -1
    stderr: int = -1
    terminal: int = -1  # pty slave, stands for all three
    devpts: int = -1  # detached devpts mount that the terminal belongs to
    views: tuple[CgroupView, ...] = ()
    devices: tuple[Device, ...] = ()  # of the host, for privileged containers
    folders: frozenset[str] = frozenset()  # those bind sources that are folders
    filter: bytes = b""  # the system call filter (runtime/seccomp), empty for none
    separated: int = 0  # flags of the namespaces that the child has unshared already
    user: int = -1  # a user namespace to end up in; it owns the network, ipc and uts namespaces above

    def numbered(self, number: Callable[[int], int]) -> Opened:
        """The same for a process in which the descriptors have other numbers."""
        return self._replace(
            root=number(self.root), gate=number(self.gate), cgroups=tuple(number(each) for each in self.cgroups),
            network=number(self.network), ipc=number(self.ipc), uts=number(self.uts), user=number(self.user),
            stdin=number(self.stdin), stdout=number(self.stdout), stderr=number(self.stderr),
            terminal=number(self.terminal), devpts=number(self.devpts),
        )  # fmt: skip


class Joined(NamedTuple):
    """Descriptors for a process that joins a running container."""

    init: int  # pidfd of the container's pid 1
    cgroups: tuple[int, ...] = ()
    gate: int = -1
    stdin: int = -1
    stdout: int = -1
    stderr: int = -1
    terminal: int = -1
    filter: bytes = b""  # the container's system call filter

    def numbered(self, number: Callable[[int], int]) -> Joined:
        """The same for a process in which the descriptors have other numbers."""
        return self._replace(
            init=number(self.init), cgroups=tuple(number(each) for each in self.cgroups), gate=number(self.gate),
            stdin=number(self.stdin), stdout=number(self.stdout), stderr=number(self.stderr), terminal=number(self.terminal),
        )  # fmt: skip
