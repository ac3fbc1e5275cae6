"""The shell around roles.py: keeps the group of managers as users asked for it, while this manager leads.

Waits for changes of the nodes and of the group; what is refused for now (a quorum that would be lost) is tried again
after RETRY_S, because nobody tells when a member is well again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from cluster.model.changes import Kind
from cluster.model.errors import ClusterError
from manager import roles
from manager.raft.driver import Driver
from manager.raft.membership import Member
from manager.store import Store, WatchLagged

RETRY_S: Final = 1.0

log = logging.getLogger("festoon.roles")


class RoleManager:
    """`me`: this member, as it knows itself."""

    def __init__(self, store: Store, driver: Driver, me: Member, wall_ns: Callable[[], int]) -> None:
        self._store, self._driver, self._me, self._wall_ns = store, driver, me, wall_ns
        self._look = trio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_nodes)
            nursery.start_soon(self._watch_group)
            while True:
                self._look = trio.Event()
                step = self._next()
                with trio.move_on_after(float("inf") if step is None or await self._done(step) else RETRY_S):
                    await self._look.wait()

    def _next(self) -> roles.Step | None:
        membership = self._driver.membership
        caught_up = [m.raft_id for m in membership.members if m.learner and self._driver.has_caught_up(m.raft_id)]
        return roles.next_step(self._store.all(Kind.NODE), membership, self._me, caught_up, self._wall_ns())

    async def _done(self, step: roles.Step) -> bool:
        """Whether the step was made; there may be another one then."""
        try:
            await self._do(step)
        except ClusterError as error:
            log.info("not yet", extra={"fields": {"step": str(step), "error": error.message}})
            return False
        log.info("done", extra={"fields": {"step": type(step).__name__}})
        self._look.set()
        return True

    async def _do(self, step: roles.Step) -> None:
        match step:
            case roles.Place():
                me = self._me
                await self._driver.change_membership(lambda known: known.placed(me.raft_id, me.node_id, me.address))
            case roles.Write(changes):
                await self._driver.propose(changes)
            case roles.Vote(raft_id):
                await self._driver.change_membership(lambda known: known.promoted(raft_id))
            case roles.Expel(raft_id):
                await self._driver.change_membership(lambda known: known.without(raft_id))
            case roles.Abdicate():
                await self._driver.hand_over()

    async def _watch_nodes(self) -> None:
        watch = self._store.watch()
        try:
            while True:
                try:
                    batches = await watch.next()
                except WatchLagged:
                    self._look.set()
                    continue
                events = (event for batch in batches for event in batch.events)
                if any(event.kind is Kind.NODE and roles.may_matter(event.before, event.after) for event in events):
                    self._look.set()
        finally:
            watch.close()

    async def _watch_group(self) -> None:
        while True:
            await self._driver.wait_change()
            self._look.set()
