"""The control.* calls: the shell around this room's pure functions. Reads are answered from the store as it is; writes
are judged and proposed one after the other, so that two requests cannot both take one port.

Never decides; what is refused, the pure functions and the store refuse.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from functools import partial
from random import Random
from typing import Any, Final

import trio

from cluster.model.changes import Change, Kind, Op
from cluster.model.errors import ClusterError, Unavailable
from cluster.wire.calls import Ids, Objects, Query, Watched, WatchKinds
from cluster.wire.codec import encode
from cluster.wire.peer import Caller, Handler
from manager.control import cluster, networks, nodes, query, services
from manager.raft.driver import Driver
from manager.store import Event, Store, WatchLagged

QUEUED_WRITES: Final = 256  # requests waiting; further ones wait at their connection

Decision = Callable[[Store, Any, int, Random], tuple[tuple[Change, ...], Ids]]

WRITES: Final[dict[str, Decision]] = {
    "control.service_create": services.create,
    "control.service_update": services.update,
    "control.service_remove": services.remove,
    "control.network_create": networks.create,
    "control.network_remove": networks.remove,
    "control.node_update": nodes.update,
    "control.node_remove": nodes.remove,
    "control.cluster_update": cluster.update,
}

log = logging.getLogger("manager.control")


class _Write:
    __slots__ = ("answer", "decide", "done", "failure", "request")

    def __init__(self, decide: Decision, request: object) -> None:
        self.decide = decide
        self.request = request
        self.done = trio.Event()
        self.answer: Ids | None = None
        self.failure: ClusterError | None = None


class Control:
    """`run` must be running while it serves. `entropy` draws ids and tokens: it must be the system's."""

    def __init__(self, store: Store, driver: Driver, wall_ns: Callable[[], int], entropy: Random) -> None:
        self._store = store
        self._driver = driver
        self._wall_ns = wall_ns
        self._entropy = entropy
        self._send, self._receive = trio.open_memory_channel[_Write](QUEUED_WRITES)

    def handlers(self) -> dict[str, Handler]:
        """Every call that this room serves, by name."""
        writes: dict[str, Handler] = {name: partial(self._write, decide) for name, decide in WRITES.items()}
        return {**writes, "control.query": self._query, "control.watch": self._watch}

    async def run(self) -> None:
        """Judge and propose what is queued, for ever."""
        while True:
            write = await self._receive.receive()
            try:
                changes, answer = write.decide(self._store, write.request, self._wall_ns(), self._entropy)
                await self._driver.propose(changes)
                write.answer = answer
            except ClusterError as error:
                write.failure = error
            write.done.set()

    async def submit(self, decide: Decision, request: object) -> Ids:
        """Run one decision when its turn comes. Raises what refused it; when cancelled it may still happen."""
        write = _Write(decide, request)
        await self._send.send(write)
        await write.done.wait()
        if write.failure is not None:
            raise write.failure
        assert write.answer is not None
        return write.answer

    async def _write(self, decide: Decision, caller: Caller, request: object) -> Ids:
        answer = await self.submit(decide, request)
        log.info("written", extra={"fields": {"what": type(request).__name__, "id": answer.id, "by": caller.node_id}})
        return answer

    async def _query(self, caller: Caller, request: Query) -> Objects:
        return query.query(self._store, request, self.leader())

    def leader(self) -> str:
        """The leader's host:port, empty when there is none."""
        known = (node.manager for node in self._store.all(Kind.NODE) if node.manager is not None)
        return next((manager.address for manager in known if manager.leader), "")

    async def _watch(self, caller: Caller, request: WatchKinds) -> AsyncGenerator[Watched, None]:
        """control.watch: first an empty message with the version from which on nothing is missed, then every commit.

        Raises Unavailable when the reader falls behind; it then reads everything anew.
        """
        watch = self._store.watch()
        try:
            yield Watched(self._store.index, ())
            while True:
                try:
                    batches = await watch.next()
                except WatchLagged as error:
                    raise Unavailable("the watch fell behind the cluster's changes") from error
                for batch in batches:
                    changes = tuple(_told(event) for event in batch.events if event.kind in request.kinds)
                    if changes:
                        yield Watched(batch.index, changes)
        finally:
            watch.close()


def _told(event: Event) -> tuple[int, int, str, bytes]:
    if event.after is None:
        return (Op.DELETE, event.kind, event.id, b"")
    op = Op.CREATE if event.before is None else Op.UPDATE
    return (op, event.kind, event.id, encode(query.without_key(event.after)))
