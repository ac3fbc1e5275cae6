"""The node's door to the supervisor: its calls as async functions. Owns nothing but the connection (runtime/link.py). Decides nothing about containers."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from runtime.cgroups.groups import Groups
from runtime.errors import SupervisorGone
from runtime.link import Link
from runtime.spec import ContainerSpec, ContainerState, ExecSpec, Exited, IdRange, Limits
from runtime.supervisor import messages
from runtime.supervisor.messages import Event
from runtime.supervisor.places import Places

__all__ = ["Attached", "Event", "ExecStarted", "Supervisor", "open_supervisor"]

EVENTS_MAX = 10_000
"""Events that one reader may leave unread; beyond that its channel ends."""


@dataclass(frozen=True, slots=True)
class ExecStarted:
    """A running exec. The descriptors are the caller's to close; -1 where there is none. With a terminal only `tty`
    is set (read and write)."""

    pid: int
    stdin: int = -1
    stdout: int = -1
    stderr: int = -1
    tty: int = -1


@dataclass(frozen=True, slots=True)
class Attached:
    """A container's live streams, from now on. Descriptors are the caller's to close; -1 where there is none.
    `stdin` is for writing only (with a terminal it is the terminal's master: never read it); with a terminal all
    output comes on `stdout`."""

    stdin: int = -1
    stdout: int = -1
    stderr: int = -1


class Supervisor:
    """Made by `open_supervisor`. Every call may be cancelled: then its answer is dropped (with its descriptors),
    what it asked for still happens."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def create(self, spec: ContainerSpec) -> None:
        """Makes the container known, with its state on disk. The same specification again is no error; another one
        under the same id raises RuntimeFault."""
        await self._link.ask(messages.Create(spec), repeatable=True)

    async def start(self, container_id: str) -> int:
        """The pid, once the program has been executed. Raises StartFailed (the container is then `created` again),
        NoSuchContainer."""
        answer = await self._link.ask(messages.Start(container_id, secrets.token_hex(8)), repeatable=True)
        assert isinstance(answer, messages.Started)
        return answer.pid

    async def signal(self, container_id: str, number: int) -> None:
        """Sends a signal to pid 1. Nothing happens to a container that is not running."""
        await self._link.ask(messages.Signal(container_id, number), repeatable=number in (9, 15))

    async def wait(self, container_id: str) -> Exited:
        """Until the container has ended and its output is in its log; at once when it has."""
        answer = await self._link.ask(messages.Wait(container_id), repeatable=True)
        assert isinstance(answer, messages.Ended)
        return answer.exited

    async def remove(self, container_id: str) -> None:
        """Kills what is left and removes every trace but the log. An unknown id is no error."""
        await self._link.ask(messages.Remove(container_id), repeatable=True)

    async def list(self) -> tuple[ContainerState, ...]:
        """All containers, whatever their phase."""
        answer = await self._link.ask(messages.List(), repeatable=True)
        assert isinstance(answer, messages.Listed)
        return answer.containers

    async def exec(self, spec: ExecSpec) -> ExecStarted:
        """Starts a process in a running container. Raises StartFailed with Docker's words and status,
        NoSuchContainer, SupervisorGone."""
        pending = await self._link.send(messages.Exec(spec), repeatable=False)
        answer = pending.answer
        assert isinstance(answer, messages.Streams)
        streams = dict(zip(answer.names, pending.descriptors, strict=True))
        return ExecStarted(answer.pid, streams.get("stdin", -1), streams.get("stdout", -1), streams.get("stderr", -1), streams.get("tty", -1))

    async def exec_wait(self, container_id: str, exec_id: str) -> Exited:
        """Until the process has ended. Raises NoSuchContainer for an exec that is not known (records last as long
        as the container)."""
        answer = await self._link.ask(messages.ExecWait(container_id, exec_id), repeatable=True)
        assert isinstance(answer, messages.Ended)
        return answer.exited

    async def exec_signal(self, container_id: str, exec_id: str, number: int) -> None:
        await self._link.ask(messages.ExecSignal(container_id, exec_id, number), repeatable=number in (9, 15))

    async def exec_resize(self, container_id: str, exec_id: str, rows: int, columns: int) -> None:
        await self._link.ask(messages.ExecResize(container_id, exec_id, rows, columns), repeatable=True)

    async def attach(self, container_id: str) -> Attached:
        """Live streams of a container, also of one that has not been started yet. Output ends when the container
        does."""
        pending = await self._link.send(messages.Attach(container_id), repeatable=True)
        assert isinstance(pending.answer, messages.Streams)
        streams = dict(zip(pending.answer.names, pending.descriptors, strict=True))
        return Attached(streams.get("stdin", -1), streams.get("stdout", -1), streams.get("stderr", -1))

    async def close_stdin(self, container_id: str) -> None:
        """Standard input ends once those who are attached have closed theirs (docker run -i, StdinOnce)."""
        await self._link.ask(messages.CloseStdin(container_id), repeatable=True)

    async def pause(self, container_id: str) -> None:
        """Returns when every process of it has stopped. Raises RuntimeFault."""
        await self._link.ask(messages.Pause(container_id), repeatable=False)

    async def unpause(self, container_id: str) -> None:
        """Raises NotPaused, RuntimeFault."""
        await self._link.ask(messages.Unpause(container_id), repeatable=False)

    async def update(self, container_id: str, limits: Limits) -> None:
        """Other limits from now on. Raises StartFailed with the kernel's refusal; then those before are in force."""
        await self._link.ask(messages.Update(container_id, limits), repeatable=True)

    async def groups(self, container_id: str) -> Groups:
        """The cgroups it runs in; without folders when it does not run."""
        answer = await self._link.ask(messages.Where(container_id), repeatable=True)
        assert isinstance(answer, messages.Cgroups)
        return Groups(answer.folders, answer.by_controller, answer.unified)

    async def new_network(self, ids: IdRange) -> int:
        """A descriptor, the caller's, of a network namespace that belongs to a new user namespace with these ids: a container that is started in it
        gets that user namespace. Raises RuntimeFault."""
        pending = await self._link.send(messages.NewNetwork(ids), repeatable=True)
        return pending.descriptors[0]

    async def keep(self, name: str, descriptors: tuple[int, ...]) -> None:
        """Duplicates of the descriptors live on with supervisor and stem under `name`, also when this process ends. Raises RuntimeFault."""
        await self._link.ask(messages.Keep(name), repeatable=True, along=descriptors)

    async def kept(self) -> tuple[str, ...]:
        """The names under which descriptors are kept."""
        answer = await self._link.ask(messages.Kept(), repeatable=True)
        assert isinstance(answer, messages.Names)
        return answer.names

    async def take(self, name: str) -> tuple[int, ...]:
        """Duplicates of what is kept under a name, the caller's to close; they stay kept. Empty when there is nothing."""
        return tuple((await self._link.send(messages.Take(name), repeatable=True)).descriptors)

    async def drop(self, name: str) -> None:
        """No longer kept. A name that is not known is no error."""
        await self._link.ask(messages.Drop(name), repeatable=True)

    async def resize(self, container_id: str, rows: int, columns: int) -> None:
        """Sets the terminal's size; nothing happens to a container without one."""
        await self._link.ask(messages.Resize(container_id, rows, columns), repeatable=True)

    @asynccontextmanager
    async def subscribed(self) -> AsyncGenerator[trio.MemoryReceiveChannel[Event]]:
        """Events while the block lasts: first the exits of containers that still exist, then what happens. After a
        restart of the supervisor known exits may come again. The channel ends when the supervisor is gone for good."""
        send, receive = trio.open_memory_channel[Event](EVENTS_MAX)
        self._link.readers.add(send)
        try:
            await self._link.ask(messages.Subscribe(), repeatable=True)
            yield receive
        finally:
            self._link.readers.discard(send)
            send.close()
            receive.close()

    async def events(self) -> AsyncIterator[Event]:
        """`subscribed` as one iterator, for a task that does nothing else. Raises SupervisorGone when the
        supervisor can't be started again."""
        async with self.subscribed() as channel:
            async for event in channel:
                yield event
        raise SupervisorGone("the container supervisor is gone")

    async def shutdown(self) -> None:
        """Kills and removes all containers; returns when supervisor and stem have ended. Later calls raise
        SupervisorGone."""
        await self._end(messages.Shutdown())

    async def halt(self, grace_s: float) -> None:
        """Stops all containers with their stop signals, SIGKILL after the grace period, and keeps what is known of them; returns
        when supervisor and stem have ended. Later calls raise SupervisorGone."""
        await self._end(messages.Halt(grace_s))

    async def _end(self, call: messages.Call) -> None:
        self._link.ending = True
        pidfds = [pidfd for pid in self._link.processes if (pidfd := _pidfd(pid)) >= 0]
        try:
            try:
                await self._link.ask(call, repeatable=True)
            except SupervisorGone:
                pass  # it ended before its answer was read
            for pidfd in pidfds:
                await trio.lowlevel.wait_readable(pidfd)
        finally:
            for pidfd in pidfds:
                os.close(pidfd)


@asynccontextmanager
async def open_supervisor(run_dir: str | os.PathLike[str], state_dir: str | os.PathLike[str], *, unit: str = "",
                          start: bool = True) -> AsyncGenerator[Supervisor]:  # fmt: skip
    """The supervisor of these two folders, started (with its stem) when there is none: by `unit` of systemd where one is named.
    Leaving the block leaves it running.

    Raises SupervisorGone when it can't be started, or there is none and `start` is false. An exception of the body passes through unchanged.
    """
    places = _absolute(run_dir, state_dir)
    link = Link(places, starts=_starts(places, unit) if start else ())
    await link.connect()
    manager = trio.open_nursery()
    nursery = await manager.__aenter__()
    try:
        nursery.start_soon(link.run)
        yield Supervisor(link)
    finally:
        nursery.cancel_scope.cancel()
        await manager.__aexit__(None, None, None)


def _starts(places: Places, unit: str) -> tuple[tuple[str, ...], ...]:
    """Commands that start the stem, until somebody listens. A unit whose stem and supervisor were killed while containers run still
    counts as started for systemd: its reload starts the stem again, among its own processes."""
    if unit:
        return ("systemctl", "start", unit), ("systemctl", "reload", unit)
    return ((sys.executable, "-I", "-m", "runtime.stem", "--run", places.run, "--state", places.state),)


def _pidfd(pid: int) -> int:
    """-1 when there is no such process (any more)."""
    try:
        return os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        return -1


def _absolute(run_dir: str | os.PathLike[str], state_dir: str | os.PathLike[str]) -> Places:
    """The stem has another working folder."""
    return Places(os.path.abspath(run_dir), os.path.abspath(state_dir))
