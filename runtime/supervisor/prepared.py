"""A child that was forked before anybody asked for a container: it waits, already separated, for its list. Owns the
hand-over of descriptors and list.

The list is compiled as ever; what such a child has done already is left out of it (child.host.Opened.separated), and
its descriptors are numbered as they will arrive. Its strings lie in memory that both share, so that addresses hold on
both sides. When the supervisor dies the channel closes, and the child ends.
"""

from __future__ import annotations

import gc
import marshal
import mmap
import os
import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from runtime.cgroups.groups import Groups
from runtime.child.compile import Compiled
from runtime.child.host import Opened
from runtime.child.namespaces import separate_ahead
from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.operations import Script
from runtime.kernel.processes import children_in, children_in_new_pid_namespace, fork
from runtime.kernel.program import Program
from runtime.kernel.syscalls import Call
from runtime.spec import Exited
from runtime.supervisor import datagrams
from runtime.supervisor.reaper import Process
from runtime.supervisor.spawn import REPORT, become

CHANNEL = 3
FIRST = CHANNEL + 1
"""The number of the first descriptor that is handed over; the others follow."""
DESCRIPTORS_MAX = 64
ROOM_BYTES = 256 * 1024
"""For a list's strings; a larger list goes to a child that is forked for it. Untouched pages cost nothing."""
LIST_MAX_BYTES = 128 * 1024
_EBADF = 9
_ANCILLARY_BYTES = socket.CMSG_SPACE(DESCRIPTORS_MAX * struct.calcsize("i"))


@dataclass(slots=True)
class Prepared:
    """`flags`: the namespaces that it has unshared already; `group`: the name of the `groups` that it is in. `on_exit`
    is called at its end, whenever that is."""

    flags: int
    group: str
    groups: Groups
    process: Process
    channel: socket.socket
    room: mmap.mmap
    on_exit: Callable[[Exited], None]
    used: bool = False

    def hand_over(self, compiled: Compiled, descriptors: tuple[int, ...]) -> bool:
        """Sends the list and its descriptors, the error pipe last; the child runs it at once. False when the list is
        too large, or the child has ended."""
        try:
            program = Program(compiled.operations, self.room)
        except ValueError:
            return False
        data = marshal.dumps((program.steps, program.new_registers(), compiled.fork_at))
        if len(data) > LIST_MAX_BYTES or len(descriptors) > DESCRIPTORS_MAX:
            return False
        try:
            self.channel.sendmsg([data], datagrams.ancillary(descriptors))
        except (BrokenPipeError, ConnectionResetError):
            return False
        self.close()
        self.used = True
        return True

    def close(self) -> None:
        """A child that has no list yet ends."""
        self.channel.close()
        self.room.close()


def fork_ahead(flags: int, procs: tuple[int, ...], group: int, home: int) -> tuple[int, socket.socket, mmap.mmap]:
    """Forks pid 1 of a new pid namespace, which is born in the unified `group`, enters the groups of `procs`,
    unshares `flags` and waits: (pid, channel, shared room). `home`: this process's own pid namespace. Raises OSError."""
    script = Script()
    separate_ahead(script, flags, procs)
    first = Program(script.operations)
    room = mmap.mmap(-1, ROOM_BYTES)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        children_in_new_pid_namespace()
        try:
            pid = fork(group)
            if pid == 0:
                _wait(first, theirs.fileno())
        finally:
            children_in(home)
    except OSError:
        ours.close()
        room.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return pid, ours, room


def _wait(first: Program, channel: int) -> NoReturn:
    """Lets go of everything that the supervisor has open, separates, and runs what comes."""
    try:
        gc.disable()
        if first.run(0, len(first), first.new_registers()) is not None:
            os._exit(1)
        os.dup2(channel, CHANNEL)
        call(Call.CLOSE_RANGE, FIRST, 0xFFFF_FFFF, 0)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, CHANNEL)
        data, control, _, _ = receiver.recvmsg(LIST_MAX_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        if not data:
            os._exit(0)
        descriptors = datagrams.received(control)
        if descriptors != list(range(FIRST, FIRST + len(descriptors))):
            os.write(descriptors[-1], REPORT.pack(0, _EBADF))
            os._exit(1)
        steps, registers, fork_at = marshal.loads(data)  # noqa: S302  (from the supervisor, over a socket that only it has)
        become(Program.received(steps), registers, fork_at, descriptors[-1])
    finally:
        os._exit(1)


def numbered(opened: Opened) -> tuple[Opened, tuple[int, ...]]:
    """The same with the numbers that the descriptors will have over there, and the descriptors in that order."""
    descriptors: list[int] = []

    def number(descriptor: int) -> int:
        if descriptor < 0:
            return -1
        descriptors.append(descriptor)
        return FIRST + len(descriptors) - 1

    there = opened._replace(
        root=number(opened.root), gate=number(opened.gate), cgroups=tuple(number(each) for each in opened.cgroups),
        network=number(opened.network), ipc=number(opened.ipc), uts=number(opened.uts),
        stdin=number(opened.stdin), stdout=number(opened.stdout), stderr=number(opened.stderr),
        terminal=number(opened.terminal), devpts=number(opened.devpts),
    )  # fmt: skip
    return there, tuple(descriptors)


def namespaces_ahead(flags: int) -> int:
    """Those of `flags` that a child can unshare before its container is known. The mount namespace is a copy of the
    host's at its moment: it waits."""
    return flags & ~k.CLONE_NEWNS
