"""Logs of services: asks the agents that run their tasks, each over the session that it opened, and merges what comes.

Keeps no line. Lines of one container stay in order; between containers they come as they arrive. What a node that has
no session would have said is named in the error that ends the stream, as Docker does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final

import msgspec
import trio

from cluster.model.changes import Kind
from cluster.model.errors import ClusterError, NotFound, Unavailable
from cluster.model.ids import NodeId
from cluster.model.objects import Service, Task
from cluster.model.task_state import TaskState
from cluster.wire.calls import LogLine, LogsOf
from cluster.wire.peer import Caller
from manager.dispatcher.sessions import Session
from manager.store import Event, Store, WatchLagged

QUEUED_LINES: Final = 256  # per request, between agents and the reader
INCOMPLETE: Final = "warning: incomplete log stream. some logs could not be retrieved for the following reasons: "


class LogBroker:
    """`run` must be running while `logs` is called."""

    def __init__(self, store: Store, session_of: Callable[[NodeId], Session | None]) -> None:
        self._store = store
        self._session_of = session_of
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the tasks that gather, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    async def logs(self, caller: Caller, request: LogsOf) -> AsyncGenerator[LogLine, None]:
        """control.logs. Ends when every container's log has ended (follow: and the services are gone). Raises NotFound
        for a service or task, Unavailable at the end when some nodes could not be asked."""
        for service_id in request.services:
            if self._store.get(Kind.SERVICE, service_id) is None:
                raise NotFound(f"service {service_id} not found")
        for task_id in request.tasks:
            if self._store.get(Kind.TASK, task_id) is None:
                raise NotFound(f"task {task_id} not found")
        assert self._nursery is not None
        send, receive = trio.open_memory_channel[LogLine](QUEUED_LINES)
        gathering = _Gathering(self._store, self._session_of, request)
        scope = trio.CancelScope()
        self._nursery.start_soon(gathering.run, scope, send)
        try:
            async for line in receive:
                yield line
        finally:
            scope.cancel()
            receive.close()
        if gathering.missing:
            raise Unavailable(INCOMPLETE + ", ".join(gathering.missing.values()))


class _Gathering:
    """One request under way. `missing`: node -> why its lines are not here."""

    def __init__(self, store: Store, session_of: Callable[[NodeId], Session | None], request: LogsOf) -> None:
        self._store = store
        self._session_of = session_of
        self._request = request
        self._asked: set[str] = set()
        self.missing: dict[NodeId, str] = {}

    async def run(self, scope: trio.CancelScope, lines: trio.MemorySendChannel[LogLine]) -> None:
        with scope, lines:
            async with trio.open_nursery() as nursery:
                watch = self._store.watch()
                try:
                    self._ask(nursery, lines, self._wanted())
                    while self._request.follow and self._goes_on():
                        try:
                            batches = await watch.next()
                        except WatchLagged:
                            self._ask(nursery, lines, self._wanted())
                            continue
                        self._ask(nursery, lines, self._new(e for b in batches for e in b.events))
                finally:
                    watch.close()

    def _wanted(self) -> list[Task]:
        tasks = [t for service_id in self._request.services for t in self._store.tasks_of_service(service_id)]
        tasks += [t for t in (self._store.get(Kind.TASK, task_id) for task_id in self._request.tasks) if t is not None]
        return tasks

    def _new(self, events: Iterable[Event]) -> list[Task]:
        found = (e.after for e in events if isinstance(e.after, Task))
        return [t for t in found if t.service_id in self._request.services or t.id in self._request.tasks]

    def _goes_on(self) -> bool:
        """Whether more tasks may come: a service that is followed still exists, or a task has not started yet."""
        if any(isinstance(self._store.get(Kind.SERVICE, i), Service) for i in self._request.services):
            return True
        return any(self._store.get(Kind.TASK, i) is not None and i not in self._asked for i in self._request.tasks)

    def _ask(self, nursery: trio.Nursery, lines: trio.MemorySendChannel[LogLine], tasks: Iterable[Task]) -> None:
        """Ask for tasks that have a container and have not been asked for, one stream per node."""
        by_node: dict[NodeId, list[str]] = {}
        for task in tasks:
            if task.id not in self._asked and task.node_id and task.status.state >= TaskState.STARTING:
                self._asked.add(task.id)
                by_node.setdefault(task.node_id, []).append(task.id)
        for node_id, ids in by_node.items():
            nursery.start_soon(self._read, node_id, tuple(ids), lines)

    async def _read(self, node_id: NodeId, ids: tuple[str, ...], lines: trio.MemorySendChannel[LogLine]) -> None:
        session = self._session_of(node_id)
        if session is None:
            self.missing[node_id] = f"node {node_id} is not available"
            return
        request = msgspec.structs.replace(self._request, services=(), tasks=ids)
        try:
            async with session.peer.stream("node.logs", request) as answered:
                async for line in answered:
                    await lines.send(line)
        except ClusterError as error:
            self.missing[node_id] = f"node {node_id}: {error.message}"
        except trio.BrokenResourceError:
            return  # the reader has gone; the request is being cancelled
