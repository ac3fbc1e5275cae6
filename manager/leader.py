"""The planning loop: watch, plan, propose, again. The shell around planning.py.

Plans everything that has been committed since the last plan at once and has one proposal under way. Waits for a commit
or for the planner's next deadline, never for a timer of its own; only a log that refuses (a full disk tells nobody when
it has room again) is tried anew after RETRY_S.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from itertools import chain
from math import inf
from random import Random, SystemRandom
from typing import Final

import trio

from cluster.model.errors import ClusterError, Conflict, NotFound, OutOfSequence
from manager.draft import Why
from manager.planner import Plan
from manager.planning import Planning
from manager.raft.driver import Driver
from manager.store import Event, Store, WatchLagged

RETRY_S: Final = 1.0  # after the log has refused a plan

log = logging.getLogger("festoon.leader")


class Leader:
    """Plans while this manager leads."""

    def __init__(self, store: Store, driver: Driver, wall_ns: Callable[[], int], rng: Random) -> None:
        self._driver = driver
        self._wall_ns = wall_ns
        self._watch = store.watch()
        self._planning = Planning(store, rng, SystemRandom())

    @property
    def reasons(self) -> Mapping[str, Why]:
        """Why tasks are where they are, or nowhere: by task id; networks without addresses by network id."""
        return self._planning.reasons

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Plan for ever. When cancelled, a plan under way is made or not made as a whole."""
        try:
            task_status.started()
            events: tuple[Event, ...] = ()
            while True:
                made = self._planning.plan(events, self._wall_ns(), _steady_ns())
                wait_s = self._until(made.deadline_ns)
                if made.changes:
                    wait_s = inf if await self._propose(made) else RETRY_S
                events = await self._events(wait_s)
        finally:
            self._watch.close()

    def _until(self, deadline_ns: int | None) -> float:
        return inf if deadline_ns is None else self._planning.wait_ns(deadline_ns, self._wall_ns(), _steady_ns()) / 1e9

    async def _propose(self, made: Plan) -> bool:
        """Whether there are events to say what came of the plan: its own, or those that it came too late for. A plan
        that was refused is made again by the next call."""
        try:
            await self._driver.propose(made.changes)
        except (OutOfSequence, Conflict, NotFound) as error:
            log.info("a plan came too late", extra={"fields": {"error": error.message}})
        except ClusterError as error:
            log.error("a plan could not be written", extra={"fields": {"error": error.message}})
            return False
        return True

    async def _events(self, wait_s: float) -> tuple[Event, ...]:
        """What is committed next, all of it; nothing when there is nothing for so long."""
        with trio.move_on_after(wait_s):
            try:
                batches = await self._watch.next()
            except WatchLagged:
                log.warning("the planner fell behind the store: it looks at everything anew")
                self._planning.begin()
                return ()
            return tuple(chain.from_iterable(batch.events for batch in batches))
        return ()


def _steady_ns() -> int:
    return int(trio.current_time() * 1e9)
