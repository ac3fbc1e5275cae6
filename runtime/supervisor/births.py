"""The supervisor's end of the nursery: wishes for children out, births in. Owns the nursery process and the wishes that
are under way.

A nursery that dies is replaced, and what it had not answered is wished again.
"""

from __future__ import annotations

import marshal
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runtime.errors import StartFailed
from runtime.kernel.interpreter import execute_sealed
from runtime.kernel.operations import Operation
from runtime.kernel.program import Program
from runtime.spec import Exited
from runtime.supervisor import datagrams
from runtime.supervisor.loop import Loop
from runtime.supervisor.nursery import BIRTH, DESCRIPTORS_MAX, FIRST, HELLO, LIST_MAX_BYTES, TAIL, WISH
from runtime.supervisor.reaper import Process, Reaper
from runtime.supervisor.spawn import close_all

FAILURES_MAX = 5
"""Nurseries in a row that bore nobody; then what is wished for fails."""

OnBirth = Callable[[int | StartFailed], None]
"""The pid of a child of this process, or why there is none."""


class TooLarge(Exception):
    """A list that the nursery's children have no room for."""


@dataclass(slots=True)
class _Wish:
    number: int
    theirs: int
    group: int
    enter: int
    born: OnBirth

    def close(self) -> None:
        close_all((self.theirs, self.group, self.enter))


class Births:
    """`wish` for children; each has a channel of its own, to which `send_list` writes."""

    def __init__(self, loop: Loop, reaper: Reaper, run: str) -> None:
        """`run`: shown in the nursery's command line, so that people see whose it is."""
        self._run = run
        self._loop = loop
        self._reaper = reaper
        self._channel: socket.socket | None = None
        self._nursery: Process | None = None
        self._room = 0
        self._number = 0
        self._failures = 0
        self._wishes: dict[int, _Wish] = {}

    def open(self) -> None:
        """Starts the nursery; returns at once, `room` waits for it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            try:
                os.set_inheritable(theirs.fileno(), True)
                execute_sealed(["-I", "-m", "runtime.supervisor.nursery", "--run", self._run, "--channel", str(theirs.fileno())])
            finally:
                os._exit(127)
        theirs.close()
        self._room, self._channel = 0, ours
        self._nursery = self._reaper.watch_child(pid, self._died)
        self._loop.watch(ours.fileno(), self._heard)

    @property
    def room(self) -> int:
        """Where a child's strings will lie, as soon as there is a nursery. Raises StartFailed when there is none."""
        if self._channel is None and self._nursery is None:
            self.open()
        if not self._room and self._channel is not None:
            self._greet(self._channel.recv(HELLO.size))
        if not self._room:
            raise StartFailed("the process that forks containers can't be started")
        return self._room

    def _greet(self, data: bytes) -> None:
        if data:
            (self._room,) = HELLO.unpack(data)
        else:
            self._hang_up()

    def wish(self, theirs: socket.socket, group: int, enter: int, born: OnBirth) -> None:
        """A child that reads lists from `theirs`, in the cgroup v2 folder `group` (-1: in the nursery's), in the pid
        namespace of the pidfd `enter` (-1: the first of a new one). Duplicates what it takes. `born` is called later."""
        self._number += 1
        wish = _Wish(self._number, os.dup(theirs.fileno()), os.dup(group) if group >= 0 else -1, os.dup(enter) if enter >= 0 else -1, born)
        self._wishes[wish.number] = wish
        self._send(wish)

    def _send(self, wish: _Wish) -> None:
        if self._channel is None:
            self._loop.when_idle(lambda: self._settle(wish.number, StartFailed("the process that forks containers can't be started")))
            return
        descriptors = [descriptor for descriptor in (wish.theirs, wish.group, wish.enter) if descriptor >= 0]
        try:
            self._channel.sendmsg([WISH.pack(wish.number, wish.group >= 0, wish.enter >= 0)], datagrams.ancillary(descriptors))
        except (BrokenPipeError, ConnectionResetError):
            return  # wished again as soon as its end is heard

    def _heard(self, _events: int) -> None:
        if self._channel is None:
            return
        try:
            data = self._channel.recv(BIRTH.size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self._hear(data)

    def _hear(self, data: bytes) -> None:
        if not self._room or not data:
            self._greet(data)
            return
        self._failures = 0
        number, pid = BIRTH.unpack(data)
        self._settle(number, pid if pid > 0 else StartFailed(f"fork: {os.strerror(-pid).lower()}"))

    def _settle(self, number: int, outcome: int | StartFailed) -> None:
        wish = self._wishes.pop(number)
        wish.close()
        wish.born(outcome)

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._loop.forget(self._channel.fileno())
            self._channel.close()
            self._channel = None

    def _died(self, exited: Exited) -> None:
        """Another one, unless it is of no use."""
        self._hang_up()
        self._nursery = None
        self._failures += 1
        os.write(2, f"the nursery ended with status {exited.status}\n".encode())
        if self._failures < FAILURES_MAX:
            self.open()
        for wish in list(self._wishes.values()):
            self._send(wish)

    def close(self) -> None:
        """The end of the nursery and its reaping; what was wished for is born first."""
        if self._channel is not None:
            self._channel.shutdown(socket.SHUT_WR)
            while self._channel is not None:
                self._hear(self._channel.recv(BIRTH.size))
        for number in list(self._wishes):
            self._settle(number, StartFailed("the container supervisor is shutting down"))
        if self._nursery is not None:
            os.waitid(os.P_PIDFD, self._nursery.pidfd, os.WEXITED)


def pack_list(operations: Sequence[Operation], base: int, *, fork_at: int = -1, title: bytes = b"", last: bool = True) -> bytes:
    """A list as a child reads it, whose room is at `base`. Raises TooLarge."""
    program = Program(operations, base)
    steps = marshal.dumps((program.steps, program.new_registers(), fork_at, title))
    data = b"".join((program.memory, steps, TAIL.pack(base, len(program.memory), len(steps), last)))
    if len(data) > LIST_MAX_BYTES:
        raise TooLarge(f"a list of {len(data)} bytes")
    return data


def send_list(channel: socket.socket, data: bytes, descriptors: tuple[int, ...]) -> bool:
    """The child runs it at once; the last one's last descriptor is the error pipe. False when the child has ended."""
    assert len(descriptors) <= DESCRIPTORS_MAX
    try:
        channel.sendmsg([data], datagrams.ancillary(descriptors))
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


class Numbering:
    """Which number each descriptor will have at the child; those that are not open stay as they are."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    def __call__(self, descriptor: int) -> int:
        if descriptor < 0:
            return -1
        self.descriptors.append(descriptor)
        return FIRST + len(self.descriptors) - 1
