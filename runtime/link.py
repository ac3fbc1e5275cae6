"""One connection to the supervisor: requests by number, answers, events, and what becomes of them when the supervisor dies. Owns the socket.

Knows no call by its meaning; runtime/client.py does. Starts the stem when nobody listens. Requests that may safely be repeated wait for the next
supervisor; the others end with SupervisorGone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import trio

from runtime.errors import NoSuchContainer, NotPaused, RuntimeFault, StartFailed, SupervisorGone
from runtime.supervisor import datagrams, messages
from runtime.supervisor.messages import Event
from runtime.supervisor.places import Places

STEM_START_TIMEOUT_S = 60.0
HELLO_TIMEOUT_S = 60.0
"""A supervisor that is being restarted listens already; its answer comes when it has adopted what runs."""
CONNECT_TRIES_MAX = 3
"""Supervisors in a row that may die while they are being greeted."""


@dataclass(slots=True)
class Pending:
    call: messages.Call
    repeatable: bool
    along: tuple[int, ...] = ()  # descriptors sent with it; they stay the caller's
    done: trio.Event = field(default_factory=trio.Event)
    answer: messages.Answer | None = None
    descriptors: list[int] = field(default_factory=list)
    gone: str = ""


class Link:
    """Used by one trio run. `run` must be running for answers to come."""

    def __init__(self, places: Places, starts: Sequence[Sequence[str]]) -> None:
        """`starts`: commands that start the stem, tried in turn."""
        self.processes: tuple[int, ...] = ()  # pids of supervisor and stem
        self.ending = False  # after a shutdown nothing is started again
        self.readers: set[trio.MemorySendChannel[Event]] = set()
        self._places = places
        self._starts = starts
        self._socket: trio.socket.SocketType | None = None
        self._pending: dict[int, Pending] = {}
        self._number = 0
        self._wake = trio.Event()

    async def ask(self, call: messages.Call, *, repeatable: bool, along: tuple[int, ...] = ()) -> messages.Answer:
        pending = await self.send(call, repeatable=repeatable, along=along)
        for descriptor in pending.descriptors:
            os.close(descriptor)
        assert pending.answer is not None
        return pending.answer

    async def send(self, call: messages.Call, *, repeatable: bool, along: tuple[int, ...] = ()) -> Pending:
        """Sends one request, with duplicates of the descriptors `along`, and waits for its answer. Raises what the answer says."""
        self._number += 1
        number = self._number
        pending = self._pending[number] = Pending(call, repeatable, along)
        received = False
        try:
            await self._put(number, pending)
            await pending.done.wait()
            received = True
        finally:
            del self._pending[number]
            if not received:
                for descriptor in pending.descriptors:
                    os.close(descriptor)
        if pending.gone:
            raise SupervisorGone(pending.gone)
        if isinstance(pending.answer, messages.Failed):
            raise _fault(pending.answer)
        return pending

    async def _put(self, number: int, pending: Pending) -> None:
        """To the supervisor that there is, or to the next one."""
        while (socket := self._socket) is not None:
            if await self._transmit(socket, number, pending.call, pending.along):
                return
            pending.repeatable = True  # it has reached nobody
            if pending.gone and not self.ending:
                pending.gone, pending.done = "", trio.Event()
            if self._socket is socket:
                return  # the reader notices next, and everything that waits goes to the next supervisor
        self._wake.set()

    async def _transmit(self, socket: trio.socket.SocketType, number: int, call: messages.Call, along: tuple[int, ...] = ()) -> bool:
        """False when the connection is lost and the request has not gone out: the reader sees that too and connects again."""
        datagram, memfd = datagrams.pack(msgspec.msgpack.encode(messages.Request(number, call)))
        try:
            await socket.sendmsg([datagram], datagrams.ancillary([memfd, *along] if memfd >= 0 else along))
        except (BrokenPipeError, ConnectionResetError, trio.ClosedResourceError):
            return False
        finally:
            if memfd >= 0:
                os.close(memfd)
        return True

    async def connect(self) -> None:
        """Connects, starting the stem when nobody listens. Raises SupervisorGone."""
        for remaining in reversed(range(CONNECT_TRIES_MAX)):
            socket = await _open_socket(self._places)
            if socket is None and (self.ending or not self._starts):
                raise SupervisorGone("the container supervisor does not run")
            for command in self._starts if socket is None else ():
                await _start_stem(command)
                socket = await _open_socket(self._places)
                if socket is not None:
                    break
            if socket is None:
                raise SupervisorGone("the container supervisor does not answer")
            welcomed = False
            try:
                welcomed = await self._greet(socket)
            finally:
                if not welcomed:
                    socket.close()
            if welcomed:
                self._socket = socket
                return
            if not remaining:
                raise SupervisorGone("the container supervisor ends again and again")

    async def _greet(self, socket: trio.socket.SocketType) -> bool:
        """False when the supervisor died meanwhile. Raises SupervisorGone when it is of another version, or silent."""
        with trio.move_on_after(HELLO_TIMEOUT_S):
            await self._transmit(socket, 0, messages.Hello())
            received = await _receive(socket)
            if received is None:
                return False
            answer = received[0].answer
            if isinstance(answer, messages.Failed):
                raise SupervisorGone(answer.text)
            assert isinstance(answer, messages.Welcome)
            self.processes = (answer.pid, answer.stem)
            return True
        raise SupervisorGone(f"the container supervisor did not answer within {HELLO_TIMEOUT_S:.0f} s")

    async def run(self) -> None:
        """Reads answers until cancelled; connects again when the supervisor dies."""
        while True:
            assert self._socket is not None
            try:
                await self._read_all(self._socket)
            finally:
                self._socket.close()
                self._socket = None
            self._drop("the container supervisor ended in the middle of a request", everything=False)
            await self._reconnect()

    async def _reconnect(self) -> None:
        while self._socket is None:
            if not (self._pending or self.readers):
                await self._wake.wait()
            self._wake = trio.Event()
            try:
                await self.connect()
            except SupervisorGone as error:
                self._drop(str(error), everything=True)
        for number, pending in list(self._pending.items()):
            if not pending.done.is_set():
                await self._transmit(self._socket, number, pending.call, pending.along)
        if self.readers:
            await self._transmit(self._socket, 0, messages.Subscribe())

    def _drop(self, text: str, *, everything: bool) -> None:
        for pending in self._pending.values():
            if not pending.done.is_set() and (everything or not pending.repeatable):
                pending.gone = text
                pending.done.set()
        if everything:
            for reader in self.readers:
                reader.close()
            self.readers.clear()

    async def _read_all(self, socket: trio.socket.SocketType) -> None:
        """Until the connection ends."""
        while True:
            received = await _receive(socket)
            if received is None:
                return
            reply, descriptors = received
            if isinstance(reply.answer, Event):
                self._publish(reply.answer)
            self._settle(reply, descriptors)

    def _settle(self, reply: messages.Reply, descriptors: Sequence[int]) -> None:
        pending = self._pending.get(reply.number)
        if pending is None or pending.done.is_set():
            for descriptor in descriptors:
                os.close(descriptor)
            return
        if isinstance(reply.answer, messages.Again):
            pending.repeatable = True  # this supervisor's end is next
            return
        pending.answer = reply.answer
        pending.descriptors = list(descriptors)
        pending.done.set()

    def _publish(self, event: Event) -> None:
        for reader in list(self.readers):
            try:
                reader.send_nowait(event)
            except trio.WouldBlock:  # nobody reads: better an end that is noticed than a queue without bound
                reader.close()
                self.readers.discard(reader)


async def _open_socket(places: Places) -> trio.socket.SocketType | None:
    """None when nobody listens. The path goes through a descriptor: it may be longer than a socket's address."""
    try:
        folder = os.open(places.folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_SEQPACKET)
    connected = False
    try:
        await socket.connect(f"/proc/self/fd/{folder}/{os.path.basename(places.socket)}")
        connected = True
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    finally:
        os.close(folder)
        if not connected:
            socket.close()
    return socket


async def _receive(socket: trio.socket.SocketType) -> tuple[messages.Reply, list[int]] | None:
    """One reply with its descriptors; None at the end of the connection."""
    try:
        data, control, flags, _ = await socket.recvmsg(datagrams.RECEIVE_BYTES, datagrams.ANCILLARY_BYTES, datagrams.RECEIVE_FLAGS)
    except ConnectionResetError:
        return None
    if not data:
        return None
    message, descriptors = datagrams.unpack(data, control, flags)
    return msgspec.msgpack.decode(message, type=messages.Reply), descriptors


async def _start_stem(command: Sequence[str]) -> None:
    """Returns once a supervisor listens, or nothing was to be started. Raises SupervisorGone with what the command said."""
    with trio.move_on_after(STEM_START_TIMEOUT_S) as scope:
        finished = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        if finished.returncode != 0:
            reason = finished.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise SupervisorGone(f"the container supervisor could not be started: {reason}")
    if scope.cancelled_caught:
        raise SupervisorGone(f"the container supervisor did not start within {STEM_START_TIMEOUT_S:.0f} s")


def _fault(failed: messages.Failed) -> RuntimeFault:
    if failed.kind == "start-failed":
        return StartFailed(failed.text, failed.exit_status)
    if failed.kind == "no-such-container":
        return NoSuchContainer(failed.text)
    if failed.kind == "not-paused":
        return NotPaused(failed.text)
    return RuntimeFault(failed.text)
