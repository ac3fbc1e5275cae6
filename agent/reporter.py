"""Statuses on their way to the managers: the latest per task, sent in batches of whatever is waiting. Nothing is lost while no manager answers.

Owns the queue; sends only what is newer than what was acknowledged. The steps of a task on its way to run wait for the answer to the batch before, which
gathers them; that it runs, or has ended, is what names and balancers everywhere wait for, and goes at once. Batches may pass each other: what comes late is
passed over there (manager/dispatcher/statuses.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from cluster.model.errors import ClusterError
from cluster.model.objects import TaskStatus
from cluster.model.task_state import TaskState
from cluster.wire.calls import UpdateStatuses

Send = Callable[[UpdateStatuses], Awaitable[None]]
BATCHES_UNDER_WAY_MAX: Final = 4


class Reporter:
    def __init__(self) -> None:
        self._waiting: dict[str, TaskStatus] = {}
        self._wake = trio.Event()
        self._under_way = 0

    def report(self, task_id: str, status: TaskStatus) -> None:
        """Queue it; a status of the same task that was not sent yet is replaced, unless it was further on."""
        before = self._waiting.get(task_id)
        if before is None or before.state <= status.state:
            self._waiting[task_id] = status
            self._wake.set()

    def forget(self, task_id: str) -> None:
        self._waiting.pop(task_id, None)

    async def run(self, send: Send) -> None:
        """Send for ever over one session. Raises the ClusterError with which a `send` has failed; what that carried, or one that was cancelled, waits for
        the next session."""
        failures: list[ClusterError] = []
        async with trio.open_nursery() as nursery:

            async def deliver(batch: dict[str, TaskStatus]) -> None:
                try:
                    await self._deliver(send, batch)
                except ClusterError as error:
                    failures.append(error)
                    nursery.cancel_scope.cancel()

            while True:
                while not self._may_send():
                    await self._wake.wait()
                    self._wake = trio.Event()
                batch, self._waiting = self._waiting, {}
                self._under_way += 1
                nursery.start_soon(deliver, batch)
        raise failures[0]

    def _may_send(self) -> bool:
        if not self._under_way:
            return bool(self._waiting)
        return self._under_way < BATCHES_UNDER_WAY_MAX and any(status.state >= TaskState.RUNNING for status in self._waiting.values())

    async def _deliver(self, send: Send, batch: dict[str, TaskStatus]) -> None:
        sent = False
        try:
            await send(UpdateStatuses(tuple(batch.items())))
            sent = True
        finally:
            self._under_way -= 1
            self._wake.set()
            if not sent:
                for task_id, status in batch.items():
                    self.report(task_id, status)
