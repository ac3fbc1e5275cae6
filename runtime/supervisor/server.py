"""Requests to answers: the supervisor's socket and one table of calls. Owns the connections; what a call does is in
the other files."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from runtime.errors import NoSuchContainer, NotPaused, RuntimeFault, StartFailed
from runtime.kernel.detached import resize_terminal
from runtime.kernel.processes import send_signal
from runtime.spec import Exited
from runtime.supervisor import control, ending, execs, halting, journal, messages, shelf, spaces, starter, streams
from runtime.supervisor.connection import Connection, peer_uid
from runtime.supervisor.context import Context
from runtime.supervisor.messages import Answer, Done, Ended, Event, Failed, Request, Started
from runtime.supervisor.states import Container, Phase

CONNECTIONS_MAX = 256
UNFINISHED = (messages.Start, messages.Exec, messages.Pause, messages.Unpause, messages.Update, messages.Shutdown, messages.Halt)
"""What is brought to its end before this supervisor makes way for another: it could not be repeated, or at a price."""
GOING_DOWN = "this node is going down: nothing is started any more"
ENDING = (messages.Shutdown, messages.Halt)
ID_LENGTH = 64


class Server:
    """Accepts, dispatches, publishes."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._connections: set[Connection] = set()
        self._context: Context | None = None
        self._unfinished = 0
        self._successor: Callable[[], None] | None = None

    def open(self, context: Context) -> None:
        """Begins to accept."""
        self._context = context
        self._listener.setblocking(False)
        context.loop.watch(self._listener.fileno(), self._accept)

    def publish(self, event: Event) -> None:
        """To all who subscribed."""
        for connection in list(self._connections):
            if connection.subscribed:
                connection.send(0, event)

    def retire(self, then: Callable[[], None]) -> None:
        """Begins nothing any more; calls `then` when what is under way has been answered and nobody is connected."""
        assert self._context is not None
        self._successor = then
        self._context.loop.forget(self._listener.fileno())
        self._make_way()

    def _make_way(self) -> None:
        if self._successor is None or self._unfinished:
            return
        for connection in list(self._connections):
            connection.retire()
        if not self._unfinished:  # nobody has asked for the end of everything at the last moment
            self._successor()

    def finished(self) -> None:
        """One of those that had to be brought to their end. The answer goes out first."""
        assert self._context is not None
        self._unfinished -= 1
        self._context.loop.when_idle(self._make_way)

    def _accept(self, _events: int) -> None:
        assert self._context is not None
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        if peer_uid(sock) not in (0, os.geteuid()) or len(self._connections) >= CONNECTIONS_MAX:
            sock.close()
            return
        self._connections.add(Connection(self._context.loop, sock, self._request, self._connections.discard))

    def _request(self, connection: Connection, request: Request, descriptors: list[int]) -> None:
        assert self._context is not None
        if self._successor is not None and not isinstance(request.call, ENDING):
            _close(descriptors)
            connection.send(request.number, messages.Again())
            return
        ask = Ask(self._context, connection, request.number, descriptors, self.finished if isinstance(request.call, UNFINISHED) else None)
        self._unfinished += isinstance(request.call, UNFINISHED)
        try:
            CALLS[type(request.call)](ask, request.call)
        except RuntimeFault as fault:
            ask.fail(fault)
        except OSError as error:
            ask.fail(RuntimeFault(str(error)))
        except Exception as bug:  # noqa: BLE001  the boundary: repeated, the request would end one supervisor after the other
            sys.excepthook(type(bug), bug, bug.__traceback__)  # prints it without the import of traceback
            ask.fail(RuntimeFault(f"internal error: {bug!r}"))
        finally:
            _close(ask.descriptors)  # those that nobody has taken over
            ask.descriptors = []


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class Ask:
    """One request under way: how its call answers, now or later."""

    def __init__(self, context: Context, connection: Connection, number: int, descriptors: list[int], finished: Callable[[], None] | None) -> None:
        """`descriptors` came with the request; who takes them over empties the list."""
        self.context = context
        self.connection = connection
        self.descriptors = descriptors
        self._number = number
        self._finished = finished

    def answer(self, answer: Answer, descriptors: tuple[int, ...] = ()) -> None:
        self.connection.send(self._number, answer, descriptors)
        finished, self._finished = self._finished, None
        if finished is not None:
            finished()

    def streams(self, opened: dict[str, int], pid: int = 0) -> None:
        """Descriptors by name, handed over."""
        self.answer(messages.Streams(tuple(opened), pid), tuple(opened.values()))

    def fail(self, fault: RuntimeFault) -> None:
        if isinstance(fault, StartFailed):
            self.answer(Failed("start-failed", str(fault), fault.exit_status))
        else:
            kind = "no-such-container" if isinstance(fault, NoSuchContainer) else "not-paused" if isinstance(fault, NotPaused) else "fault"
            self.answer(Failed(kind, str(fault)))


def hello(ask: Ask, call: messages.Hello) -> None:
    if call.version != messages.VERSION:
        raise RuntimeFault(f"the container supervisor speaks version {messages.VERSION}, not {call.version}")
    stem = ask.context.stem if os.getppid() == ask.context.stem else 0
    ask.answer(messages.Welcome(messages.VERSION, os.getpid(), stem))


def create(ask: Ask, call: messages.Create) -> None:
    spec, context = call.spec, ask.context
    if len(spec.id) != ID_LENGTH or not set(spec.id) <= set("0123456789abcdef"):
        raise RuntimeFault(f"invalid container id: {spec.id}")
    known = context.containers.get(spec.id)
    if known is not None and known.spec != spec and known.phase is Phase.CREATED and streams.same_shape(known.spec, spec):
        journal.append(known.file, journal.SpecRecord(spec))
        known.spec = spec
    if known is not None and (known.spec != spec or known.phase is Phase.REMOVING):
        raise RuntimeFault(f"Conflict. The container id {spec.id} is already in use")
    if known is None:
        file = context.places.container(spec.id)
        journal.create(file, spec)
        context.containers[spec.id] = Container(spec, file)
    ask.answer(Done())


def start(ask: Ask, call: messages.Start) -> None:
    container = ask.context.container(call.container_id)

    def outcome(fault: RuntimeFault | None) -> None:
        if fault is not None:
            ask.fail(fault)
        else:
            ask.answer(Started(container.process.pid if container.process is not None else 0))

    if ask.context.halting:
        raise RuntimeFault(GOING_DOWN)
    if container.phase is Phase.REMOVING:
        raise RuntimeFault(f"container {call.container_id} is marked for removal and cannot be started")
    if container.phase is Phase.RUNNING or (container.phase is Phase.EXITED and container.start_key == call.key):
        outcome(None)
    elif container.phase is Phase.STARTING:
        container.when_started.append(outcome)
    else:
        starter.start(ask.context, container, call.key, outcome)


def signal(ask: Ask, call: messages.Signal) -> None:
    container = ask.context.container(call.container_id)
    if container.process is not None:
        send_signal(container.process.pidfd, call.number)
    ask.answer(Done())


def wait(ask: Ask, call: messages.Wait) -> None:
    container = ask.context.container(call.container_id)
    if container.phase is Phase.EXITED and container.exited is not None:
        ask.answer(Ended(container.exited))
    else:
        container.waiters.append(lambda exited: ask.answer(Ended(exited)))


def remove(ask: Ask, call: messages.Remove) -> None:
    container = ask.context.containers.get(call.container_id)
    if container is None:
        ask.answer(Done())
    else:
        ending.remove(ask.context, container, lambda: ask.answer(Done()))


def list_(ask: Ask, _call: messages.List) -> None:
    ask.answer(messages.Listed(tuple(container.state() for container in ask.context.containers.values())))


def attach(ask: Ask, call: messages.Attach) -> None:
    ask.streams(streams.attach(ask.context, ask.context.container(call.container_id)))


def close_stdin(ask: Ask, call: messages.CloseStdin) -> None:
    container = ask.context.container(call.container_id)
    streams.end_stdin(ask.context, container, started=container.phase is Phase.RUNNING)
    ask.answer(Done())


def resize(ask: Ask, call: messages.Resize) -> None:
    container = ask.context.container(call.container_id)
    if container.master >= 0:
        resize_terminal(container.master, call.rows, call.columns)
    ask.answer(Done())


def pause(ask: Ask, call: messages.Pause) -> None:
    def outcome(fault: RuntimeFault | None) -> None:
        if fault is not None:
            ask.fail(fault)
        else:
            ask.answer(Done())

    control.pause(ask.context, ask.context.container(call.container_id), outcome)


def unpause(ask: Ask, call: messages.Unpause) -> None:
    control.unpause(ask.context.container(call.container_id))
    ask.answer(Done())


def update(ask: Ask, call: messages.Update) -> None:
    control.update(ask.context, ask.context.container(call.container_id), call.limits)
    ask.answer(Done())


def where(ask: Ask, call: messages.Where) -> None:
    found = ask.context.container(call.container_id).groups
    ask.answer(messages.Cgroups(*found) if found is not None else messages.Cgroups())


def new_network(ask: Ask, call: messages.NewNetwork) -> None:
    ask.streams({"network": spaces.new_network(call.ids)})


def exec_(ask: Ask, call: messages.Exec) -> None:
    if ask.context.halting:
        raise RuntimeFault(GOING_DOWN)

    def outcome(fault: RuntimeFault | None, pid: int, opened: dict[str, int]) -> None:
        if fault is not None:
            ask.fail(fault)
        else:
            ask.streams(opened, pid)

    execs.start(ask.context, ask.context.container(call.spec.container_id), call.spec, outcome)


def exec_wait(ask: Ask, call: messages.ExecWait) -> None:
    running = execs.find(ask.context.container(call.container_id), call.exec_id)
    if running.exited is not None:
        ask.answer(Ended(running.exited))
    else:
        running.waiters.append(lambda exited: ask.answer(Ended(exited)))


def exec_signal(ask: Ask, call: messages.ExecSignal) -> None:
    running = execs.find(ask.context.container(call.container_id), call.exec_id)
    if running.process is not None:
        send_signal(running.process.pidfd, call.number)
    ask.answer(Done())


def exec_resize(ask: Ask, call: messages.ExecResize) -> None:
    running = execs.find(ask.context.container(call.container_id), call.exec_id)
    if running.terminal >= 0:
        resize_terminal(running.terminal, call.rows, call.columns)
    ask.answer(Done())


def keep(ask: Ask, call: messages.Keep) -> None:
    taken, ask.descriptors = ask.descriptors, []
    shelf.keep(ask.context, call.name, taken)
    ask.answer(Done())


def kept(ask: Ask, _call: messages.Kept) -> None:
    ask.answer(messages.Names(tuple(ask.context.kept)))


def take(ask: Ask, call: messages.Take) -> None:
    duplicates = [os.dup(descriptor) for descriptor in ask.context.kept.get(call.name, ())]
    ask.streams({str(number): descriptor for number, descriptor in enumerate(duplicates)})


def drop(ask: Ask, call: messages.Drop) -> None:
    shelf.drop(ask.context, call.name)
    ask.answer(Done())


def subscribe(ask: Ask, _call: messages.Subscribe) -> None:
    """Known exits first, so that a client that was away misses none."""
    ask.connection.subscribed = True
    for container in ask.context.containers.values():
        if container.phase is Phase.EXITED and isinstance(container.exited, Exited):
            ask.connection.send(0, Event("exited", container.spec.id, container.exited))
    ask.answer(Done())


def shutdown(ask: Ask, _call: messages.Shutdown) -> None:
    """Ends the loop once the last container has gone."""
    context = ask.context
    left = set(context.containers)

    def gone(container_id: str) -> None:
        left.discard(container_id)
        finish()

    def finish() -> None:
        if not left:
            ask.answer(Done())
            context.loop.stop()

    for container_id in tuple(left):
        ending.remove(context, context.containers[container_id], partial(gone, container_id))
    finish()


def halt(ask: Ask, call: messages.Halt) -> None:
    """Ends the loop once no container runs."""

    def halted() -> None:
        ask.answer(Done())
        ask.context.loop.stop()

    halting.halt(ask.context, call.grace_s, halted)


CALLS: dict[type, Callable[[Ask, Any], None]] = {
    messages.Hello: hello,
    messages.Create: create,
    messages.Start: start,
    messages.Signal: signal,
    messages.Wait: wait,
    messages.Remove: remove,
    messages.List: list_,
    messages.Attach: attach,
    messages.CloseStdin: close_stdin,
    messages.Resize: resize,
    messages.Pause: pause,
    messages.Unpause: unpause,
    messages.Update: update,
    messages.Where: where,
    messages.NewNetwork: new_network,
    messages.Exec: exec_,
    messages.ExecWait: exec_wait,
    messages.ExecSignal: exec_signal,
    messages.ExecResize: exec_resize,
    messages.Keep: keep,
    messages.Kept: kept,
    messages.Take: take,
    messages.Drop: drop,
    messages.Subscribe: subscribe,
    messages.Shutdown: shutdown,
    messages.Halt: halt,
}
