"""Statuses on their way to the managers: the latest per task, sent in batches of whatever is waiting. Nothing is lost while no manager answers.

Owns the queue; sends only what is newer than what was acknowledged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from cluster.model.objects import TaskStatus
from cluster.wire.calls import UpdateStatuses

Send = Callable[[UpdateStatuses], Awaitable[None]]


class Reporter:
    def __init__(self) -> None:
        self._waiting: dict[str, TaskStatus] = {}
        self._wake = trio.Event()

    def report(self, task_id: str, status: TaskStatus) -> None:
        """Queue it; a status of the same task that was not sent yet is replaced, unless it was further on."""
        before = self._waiting.get(task_id)
        if before is None or before.state <= status.state:
            self._waiting[task_id] = status
            self._wake.set()

    def forget(self, task_id: str) -> None:
        self._waiting.pop(task_id, None)

    async def run(self, send: Send) -> None:
        """Send for ever over one session. When `send` fails or is cancelled, what it carried waits for the next session."""
        while True:
            while not self._waiting:
                await self._wake.wait()
                self._wake = trio.Event()
            batch, self._waiting = self._waiting, {}
            sent = False
            try:
                await send(UpdateStatuses(tuple(batch.items())))
                sent = True
            finally:
                if not sent:
                    for task_id, status in batch.items():
                        self.report(task_id, status)
