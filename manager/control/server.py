"""The control.* calls: the shell around this room's pure functions. Reads are answered from the store as it is; writes
are judged and proposed one after the other, so that two requests cannot both take one port.

Never decides; what is refused, the pure functions and the store refuse.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from random import Random
from typing import Any, Final

import trio

from cluster.model.changes import Change, Kind, Op
from cluster.model.errors import ClusterError, NotLeader, Unavailable
from cluster.wire.calls import Ids, NodeWrite, Objects, Query, Watched, WatchKinds
from cluster.wire.codec import encode
from cluster.wire.peer import Caller, Handler
from manager.control import cluster, dependencies, networks, nodes, query, services
from manager.raft.driver import Driver
from manager.raft.member import LOST
from manager.store import Batch, Event, Store, WatchLagged

QUEUED_WRITES: Final = 256  # requests waiting; further ones wait at their connection

Decision = Callable[[Store, Any, int, Random], tuple[tuple[Change, ...], Ids]]

WRITES: Final[dict[str, Decision]] = {
    "control.service_create": services.create,
    "control.service_update": services.update,
    "control.service_remove": services.remove,
    "control.network_create": networks.create,
    "control.network_remove": networks.remove,
    "control.node_remove": nodes.remove,
    "control.secret_create": dependencies.create_secret,
    "control.secret_update": dependencies.update_secret,
    "control.secret_remove": dependencies.remove_secret,
    "control.config_create": dependencies.create_config,
    "control.config_update": dependencies.update_config,
    "control.config_remove": dependencies.remove_config,
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
    """`run` must be running while it serves. `entropy` draws ids and tokens: it must be the system's. `managers`: what is known of them now."""

    def __init__(self, store: Store, driver: Driver, wall_ns: Callable[[], int], entropy: Random, managers: Callable[[], query.Managers]) -> None:
        self._store = store
        self._driver = driver
        self._wall_ns = wall_ns
        self._entropy = entropy
        self._managers = managers
        self._send, self._receive = trio.open_memory_channel[_Write](QUEUED_WRITES)

    def handlers(self) -> dict[str, Handler]:
        """Every call that this room serves, by name."""
        writes: dict[str, Handler] = {name: partial(self._write, decide) for name, decide in WRITES.items()}
        writes["control.node_update"] = partial(self._write, self._node_update)
        return {**writes, "control.query": self._query, "control.list": self._list, "control.watch": self._watch}

    async def run(self) -> None:
        """Judge and propose what is queued, until cancelled; what waits then was not done, and whoever leads next may be asked."""
        try:
            while True:
                write = await self._receive.receive()
                write.failure = Unavailable(LOST)  # unless it turns out otherwise
                try:
                    changes, answer = write.decide(self._store, write.request, self._wall_ns(), self._entropy)
                    await self._driver.propose(changes)
                    write.answer, write.failure = answer, None
                except ClusterError as error:
                    write.failure = error
                finally:
                    write.done.set()
        finally:
            self._refuse_queued()

    def _refuse_queued(self) -> None:
        while True:
            try:
                write = self._receive.receive_nowait()
            except trio.WouldBlock:
                return
            write.failure = NotLeader(self._driver.leader_address)
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
        """control.query: nothing that was acknowledged before the call is missing. Raises NotLeader."""
        await self._driver.wait_read()
        return query.query(self._store, request, self._managers())

    async def _list(self, caller: Caller, request: Query) -> AsyncGenerator[Objects, None]:
        """control.list: the same, however much it is."""
        await self._driver.wait_read()
        for piece in query.pieces(self._store, request, self._managers()):
            yield piece

    def _node_update(self, store: Store, request: NodeWrite, now_ns: int, rng: Random) -> tuple[tuple[Change, ...], Ids]:
        return nodes.update(store, request, now_ns, self._managers())

    async def _watch(self, caller: Caller, request: WatchKinds) -> AsyncGenerator[Watched, None]:
        """control.watch: first an empty message with the version from which on nothing is missed, then every commit. That is the version that is asked
        for, where what came after it is known still, and else the present one: then everything is to be read.

        Raises NotLeader, and Unavailable when the reader falls behind; it then reads everything anew.
        """
        if request.since:
            await self._driver.wait_read()
        missed = self._store.after(request.since) if request.since else None
        watch = self._store.watch()
        try:
            yield Watched(self._store.index if missed is None else request.since, ())
            for batch in missed or ():
                for part in self._told_of(batch, request.kinds):
                    yield part
            while True:
                try:
                    batches = await watch.next()
                except WatchLagged as error:
                    raise Unavailable("the watch fell behind the cluster's changes") from error
                for batch in batches:
                    for part in self._told_of(batch, request.kinds):
                        yield part
        finally:
            watch.close()

    def _told_of(self, batch: Batch, kinds: tuple[Kind, ...]) -> Iterator[Watched]:
        """What a commit changed of these kinds, in parts of at most PIECE_BYTES: all but the last bear the version before it, so that who is
        cut off between them is told all of it again."""
        told: list[tuple[int, int, str, bytes]] = []
        size = 0
        for event in batch.events:
            if event.kind not in kinds:
                continue
            one = _told(event, self._managers())
            if told and size + len(one[-1]) > query.PIECE_BYTES:
                yield Watched(batch.index - 1, tuple(told))
                told, size = [], 0
            told.append(one)
            size += len(one[-1])
        if told:
            yield Watched(batch.index, tuple(told))


def _told(event: Event, managers: query.Managers) -> tuple[int, int, str, bytes]:
    if event.after is None:
        return (Op.DELETE, event.kind, event.id, b"")
    op = Op.CREATE if event.before is None else Op.UPDATE
    return (op, event.kind, event.id, encode(query.shown(event.after, managers)))
