"""The node's door to the supervisor: a trio client of its socket. Owns the connection, numbers requests, starts the stem, reconnects.

Decides nothing about containers. One connection carries any number of requests at once. When the supervisor dies, requests that may safely be
repeated wait for its successor; the others end with SupervisorGone.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import trio

from runtime.errors import NoSuchContainer, RuntimeFault, StartFailed, SupervisorGone
from runtime.spec import ContainerSpec, ContainerState, ExecSpec, Exited
from runtime.supervisor import datagrams, messages
from runtime.supervisor.messages import Event
from runtime.supervisor.places import Places

__all__ = ["Attached", "Event", "ExecStarted", "Supervisor", "open_supervisor"]

EVENTS_MAX = 10_000
"""Events that one reader may leave unread; beyond that its channel ends."""
STEM_START_TIMEOUT_S = 20.0
HELLO_TIMEOUT_S = 20.0
"""A supervisor that is being restarted listens already; its answer comes when it has adopted what runs."""


@dataclass(frozen=True, slots=True)
class ExecStarted:
    """A running exec. The descriptors are the caller's to close; -1 where there is none. With a terminal only `tty` is set (read and write)."""

    pid: int
    stdin: int = -1
    stdout: int = -1
    stderr: int = -1
    tty: int = -1


@dataclass(frozen=True, slots=True)
class Attached:
    """A container's live streams, from now on. Descriptors are the caller's to close; -1 where there is none. `stdin` is for writing only
    (with a terminal it is the terminal's master: never read it); with a terminal all output comes on `stdout`."""

    stdin: int = -1
    stdout: int = -1
    stderr: int = -1


@dataclass(slots=True)
class _Pending:
    call: messages.Call
    repeatable: bool
    done: trio.Event = field(default_factory=trio.Event)
    answer: messages.Answer | None = None
    descriptors: list[int] = field(default_factory=list)
    gone: str = ""


class Supervisor:
    """Made by `open_supervisor`. Every call may be cancelled: then its answer is dropped (with its descriptors), what it asked for still happens."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._socket: trio.socket.SocketType | None = None
        self._pending: dict[int, _Pending] = {}
        self._number = 0
        self._readers: set[trio.MemorySendChannel[Event]] = set()
        self._wake = trio.Event()
        self._ending = False
        self._processes: tuple[int, ...] = ()

    async def create(self, spec: ContainerSpec) -> None:
        """Makes the container known, with its state on disk. The same specification again is no error; another one under the same id raises RuntimeFault."""
        await self._ask(messages.Create(spec), repeatable=True)

    async def start(self, container_id: str) -> int:
        """The pid, once the program has been executed. Raises StartFailed (the container is then `created` again), NoSuchContainer."""
        answer = await self._ask(messages.Start(container_id, secrets.token_hex(8)), repeatable=True)
        assert isinstance(answer, messages.Started)
        return answer.pid

    async def signal(self, container_id: str, number: int) -> None:
        """Sends a signal to pid 1. Nothing happens to a container that is not running."""
        await self._ask(messages.Signal(container_id, number), repeatable=number in (9, 15))

    async def wait(self, container_id: str) -> Exited:
        """Until the container has ended and its output is in its log; at once when it has."""
        answer = await self._ask(messages.Wait(container_id), repeatable=True)
        assert isinstance(answer, messages.Ended)
        return answer.exited

    async def remove(self, container_id: str) -> None:
        """Kills what is left and removes every trace but the log. An unknown id is no error."""
        await self._ask(messages.Remove(container_id), repeatable=True)

    async def list(self) -> tuple[ContainerState, ...]:
        """All containers, whatever their phase."""
        answer = await self._ask(messages.List(), repeatable=True)
        assert isinstance(answer, messages.Listed)
        return answer.containers

    async def exec(self, spec: ExecSpec) -> ExecStarted:
        """Starts a process in a running container. Raises StartFailed with Docker's words and status, NoSuchContainer, SupervisorGone."""
        pending = await self._send(messages.Exec(spec), repeatable=False)
        answer = pending.answer
        assert isinstance(answer, messages.Streams)
        streams = dict(zip(answer.names, pending.descriptors, strict=True))
        return ExecStarted(
            answer.pid, streams.get("stdin", -1), streams.get("stdout", -1), streams.get("stderr", -1), streams.get("tty", -1)
        )

    async def exec_wait(self, container_id: str, exec_id: str) -> Exited:
        """Until the process has ended. Raises NoSuchContainer for an exec that is not known (records last as long as the container)."""
        answer = await self._ask(messages.ExecWait(container_id, exec_id), repeatable=True)
        assert isinstance(answer, messages.Ended)
        return answer.exited

    async def exec_signal(self, container_id: str, exec_id: str, number: int) -> None:
        await self._ask(messages.ExecSignal(container_id, exec_id, number), repeatable=number in (9, 15))

    async def exec_resize(self, container_id: str, exec_id: str, rows: int, columns: int) -> None:
        await self._ask(messages.ExecResize(container_id, exec_id, rows, columns), repeatable=True)

    async def attach(self, container_id: str) -> Attached:
        """Live streams of a container, also of one that has not been started yet. Output ends when the container does."""
        pending = await self._send(messages.Attach(container_id), repeatable=True)
        assert isinstance(pending.answer, messages.Streams)
        streams = dict(zip(pending.answer.names, pending.descriptors, strict=True))
        return Attached(streams.get("stdin", -1), streams.get("stdout", -1), streams.get("stderr", -1))

    async def close_stdin(self, container_id: str) -> None:
        """Standard input ends once those who are attached have closed theirs (docker run -i, StdinOnce)."""
        await self._ask(messages.CloseStdin(container_id), repeatable=True)

    async def resize(self, container_id: str, rows: int, columns: int) -> None:
        """Sets the terminal's size; nothing happens to a container without one."""
        await self._ask(messages.Resize(container_id, rows, columns), repeatable=True)

    @asynccontextmanager
    async def subscribed(self) -> AsyncGenerator[trio.MemoryReceiveChannel[Event]]:
        """Events while the block lasts: first the exits of containers that still exist, then what happens. After a restart of the
        supervisor known exits may come again. The channel ends when the supervisor is gone for good."""
        send, receive = trio.open_memory_channel[Event](EVENTS_MAX)
        self._readers.add(send)
        try:
            await self._ask(messages.Subscribe(), repeatable=True)
            yield receive
        finally:
            self._readers.discard(send)
            send.close()
            receive.close()

    async def events(self) -> AsyncIterator[Event]:
        """`subscribed` as one iterator, for a task that does nothing else. Raises SupervisorGone when the supervisor can't be started again."""
        async with self.subscribed() as channel:
            async for event in channel:
                yield event
        raise SupervisorGone("the container supervisor is gone")

    async def shutdown(self) -> None:
        """Kills and removes all containers; returns when supervisor and stem have ended. Later calls raise SupervisorGone."""
        self._ending = True
        pidfds = [pidfd for pid in self._processes if (pidfd := _pidfd(pid)) >= 0]
        try:
            try:
                await self._ask(messages.Shutdown(), repeatable=False)
            except SupervisorGone:
                pass  # it ended before its answer was read
            for pidfd in pidfds:
                await trio.lowlevel.wait_readable(pidfd)
        finally:
            for pidfd in pidfds:
                os.close(pidfd)

    async def _ask(self, call: messages.Call, *, repeatable: bool) -> messages.Answer:
        pending = await self._send(call, repeatable=repeatable)
        for descriptor in pending.descriptors:
            os.close(descriptor)
        assert pending.answer is not None
        return pending.answer

    async def _send(self, call: messages.Call, *, repeatable: bool) -> _Pending:
        """Sends one request and waits for its answer. Raises what the answer says."""
        self._number += 1
        number = self._number
        pending = self._pending[number] = _Pending(call, repeatable)
        received = False
        try:
            if self._socket is not None:
                await self._transmit(self._socket, number, call)
            else:
                self._wake.set()
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

    async def _transmit(self, socket: trio.socket.SocketType, number: int, call: messages.Call) -> None:
        """A lost connection is no error here: the reader sees it too and decides what becomes of the request."""
        datagram, memfd = datagrams.pack(msgspec.msgpack.encode(messages.Request(number, call)))
        try:
            await socket.sendmsg([datagram], datagrams.ancillary([memfd] if memfd >= 0 else []))
        except (BrokenPipeError, ConnectionResetError, trio.ClosedResourceError):
            return
        finally:
            if memfd >= 0:
                os.close(memfd)

    async def _connect(self) -> None:
        """Connects, starting the stem when nobody listens. Raises SupervisorGone."""
        socket = await _open_socket(self._places)
        if socket is None:
            await _start_stem(self._places)
            socket = await _open_socket(self._places)
        if socket is None:
            raise SupervisorGone("the container supervisor does not answer")
        welcomed = False
        try:
            await self._greet(socket)
            welcomed = True
        finally:
            if not welcomed:
                socket.close()
        self._socket = socket

    async def _greet(self, socket: trio.socket.SocketType) -> None:
        """Raises SupervisorGone when the other end is of another version, or silent."""
        with trio.move_on_after(HELLO_TIMEOUT_S):
            await self._transmit(socket, 0, messages.Hello())
            reply = await _receive(socket)
            if reply is None:
                raise SupervisorGone("the container supervisor closed the connection")
            if isinstance(reply[0].answer, messages.Failed):
                raise SupervisorGone(reply[0].answer.text)
            if isinstance(reply[0].answer, messages.Welcome):
                self._processes = (reply[0].answer.pid, reply[0].answer.stem)
            return
        raise SupervisorGone(f"the container supervisor did not answer within {HELLO_TIMEOUT_S:.0f} s")

    async def _run(self) -> None:
        """Reads answers until cancelled; connects again when the supervisor dies."""
        while True:
            assert self._socket is not None
            try:
                await self._read_all(self._socket)
            finally:
                self._socket.close()
                self._socket = None
            self._drop("the container supervisor ended in the middle of a request", everything=self._ending)
            await self._reconnect()

    async def _reconnect(self) -> None:
        while self._socket is None:
            if self._ending or not (self._pending or self._readers):
                await self._wake.wait()
            self._wake = trio.Event()
            if self._ending:
                self._drop("the container supervisor was shut down", everything=True)
                continue
            try:
                await self._connect()
            except SupervisorGone as error:
                self._drop(str(error), everything=True)
        for number, pending in list(self._pending.items()):
            await self._transmit(self._socket, number, pending.call)
        if self._readers:
            await self._transmit(self._socket, 0, messages.Subscribe())

    def _drop(self, text: str, *, everything: bool) -> None:
        for pending in self._pending.values():
            if everything or not pending.repeatable:
                pending.gone = text
                pending.done.set()
        if everything:
            for reader in self._readers:
                reader.close()
            self._readers.clear()

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
        pending.answer = reply.answer
        pending.descriptors = list(descriptors)
        pending.done.set()

    def _publish(self, event: Event) -> None:
        for reader in list(self._readers):
            try:
                reader.send_nowait(event)
            except trio.WouldBlock:  # nobody reads: better an end that is noticed than a queue without bound
                reader.close()
                self._readers.discard(reader)


@asynccontextmanager
async def open_supervisor(run_dir: str | os.PathLike[str], state_dir: str | os.PathLike[str]) -> AsyncGenerator[Supervisor]:
    """The supervisor of these two folders, started (with its stem) when there is none. Leaving the block leaves it running.

    Raises SupervisorGone when it can't be started. An exception of the body passes through unchanged.
    """
    places = _absolute(run_dir, state_dir)
    supervisor = Supervisor(places)
    await supervisor._connect()
    manager = trio.open_nursery()
    nursery = await manager.__aenter__()
    try:
        nursery.start_soon(supervisor._run)
        yield supervisor
    finally:
        nursery.cancel_scope.cancel()
        await manager.__aexit__(None, None, None)


def _pidfd(pid: int) -> int:
    """-1 when there is no such process (any more)."""
    try:
        return os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        return -1


def _absolute(run_dir: str | os.PathLike[str], state_dir: str | os.PathLike[str]) -> Places:
    """The stem has another working folder."""
    return Places(os.path.abspath(run_dir), os.path.abspath(state_dir))


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
        data, control, flags, _ = await socket.recvmsg(
            datagrams.RECEIVE_BYTES, datagrams.ANCILLARY_BYTES, datagrams.RECEIVE_FLAGS
        )
    except ConnectionResetError:
        return None
    if not data:
        return None
    message, descriptors = datagrams.unpack(data, control, flags)
    return msgspec.msgpack.decode(message, type=messages.Reply), descriptors


async def _start_stem(places: Places) -> None:
    """Returns once a supervisor listens. Raises SupervisorGone with what the stem said."""
    command = [sys.executable, "-I", "-m", "runtime.stem", "--run", places.run, "--state", places.state]
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
    return RuntimeFault(failed.text)
