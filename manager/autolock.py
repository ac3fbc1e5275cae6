"""This manager's key file as the cluster wants it: wrapped under the swarm's unlock key while autolock is on, under a key beside it while it is off;
and its node's TLS key, sealed under a key that follows from the data key while autolock is on, open while it is off.

Owns the steps from what is to what shall be, each of which leaves a directory that opens: the file first, then what is written under
its keys, then the file without the older ones. Whatever was interrupted is taken up again by the next start, from the file and the
store alone. Every manager does this for itself, whoever leads.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import trio

from cluster.identity import folder, seal, unlock_key
from cluster.model.changes import Kind
from cluster.model.errors import FailedPrecondition, Unavailable
from cluster.wire.peer import Caller, Handler
from manager.raft.driver import Driver
from manager.raft_storage import key
from manager.raft_storage.faults import LogFull
from manager.raft_storage.key import DataKeys
from manager.store import Store, WatchLagged

SETTLE_BOUND_S: Final = 5.0
"""How long the one who changes the lock waits for this manager's file: a full disk does not hold the answer back for ever."""

log = logging.getLogger("festoon.autolock")


class Autolock:
    """`node`: the folder of the node's identity. `sealed_by`: the unlock key that the file is wrapped under now, None when it is not locked."""

    def __init__(self, directory: Path, node: Path, store: Store, driver: Driver, sealed_by: bytes | None) -> None:
        self._directory, self._node, self._store, self._driver, self._sealed_by = directory, node, store, driver, sealed_by
        self._node_sealed: bool | None = None  # None: as an earlier process left it
        self._moved = trio.Event()

    def sealing(self) -> bytes:
        """What the node's key is sealed under while the swarm is locked."""
        return seal.for_node_key(self._driver.keys.current)

    @property
    def is_on(self) -> bool:
        """Whether the key file needs the unlock key."""
        return self._sealed_by is not None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the cluster's wish, until cancelled. The lock is as it shall be when this reports."""
        watch = self._store.watch()
        try:
            await self._settle()
            task_status.started()
            while True:
                try:
                    await watch.next()
                except WatchLagged:
                    watch.close()
                    watch = self._store.watch()
                await self._settle()
        finally:
            watch.close()

    async def settled(self) -> None:
        """Wait until this manager's file is as the store says now, at most SETTLE_BOUND_S."""
        with trio.move_on_after(SETTLE_BOUND_S):
            while not self._is_settled():
                await self._moved.wait()

    def after(self, handler: Handler) -> Handler:
        """The handler of a write, whose caller hears of it when this manager's file follows it."""

        async def handled(caller: Caller, request: Any) -> Any:
            answer = await cast("Callable[[Caller, Any], Awaitable[Any]]", handler)(caller, request)
            await self.settled()
            return answer

        return handled

    def _is_settled(self) -> bool:
        return self._wanted() == self._sealed_by and self._node_sealed == self.is_on

    def _wanted(self) -> bytes | None:
        clusters = self._store.all(Kind.CLUSTER)
        if not clusters or not clusters[0].spec.autolock or not clusters[0].unlock_key:
            return None
        return unlock_key.parse(clusters[0].unlock_key)

    async def _settle(self) -> None:
        try:
            wanted = self._wanted()
            if wanted != self._sealed_by:
                await self._lock(wanted)
            if self._node_sealed != self.is_on:
                await self._seal_node()
            if self._driver.keys.older and await self._driver.replace_older():
                await self._keep(DataKeys(self._driver.keys.current), self._sealed_by)
                log.info("nothing is sealed under an older data key any more")
        except (Unavailable, FailedPrecondition, LogFull, OSError) as error:
            log.error("the key file does not follow the cluster yet", extra={"fields": {"error": str(error)}})

    async def _lock(self, wanted: bytes | None) -> None:
        """Whoever could read the disk knows the data key of an unlocked manager: a locked one gets another."""
        locking = self._sealed_by is None and wanted is not None
        await self._keep(self._driver.keys.renewed() if locking else self._driver.keys, wanted)
        self._sealed_by = wanted
        self._note_move()
        log.info("the manager's key file is sealed anew", extra={"fields": {"locked": wanted is not None}})

    async def _seal_node(self) -> None:
        """After the key file: what the node's key is sealed under can be had from that alone."""
        closed = self.is_on
        await trio.to_thread.run_sync(partial(folder.keep_sealed, self._node, self.sealing(), closed=closed))
        self._node_sealed = closed
        self._note_move()

    def _note_move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    async def _keep(self, keys: DataKeys, locking: bytes | None) -> None:
        await trio.to_thread.run_sync(key.save, self._directory, keys, locking)
        await self._driver.use_keys(keys)
