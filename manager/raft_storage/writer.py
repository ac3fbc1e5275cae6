"""The one thread that writes the log, so that the event loop never waits for a disk. Owns the thread and its queue of
jobs.

Jobs run in order. The answer of each comes back into the event loop by `run_sync_soon`, which costs a few
microseconds where a thread for each write costs a hundred. A job that raises ends the thread, and with it the nursery
that `run` is in: an error of the disk is fatal.
"""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable
from typing import Final

import trio

SWITCH_INTERVAL_S: Final = 0.0005
"""How long the event loop goes on when the thread is back from the disk and wants the interpreter: the default, 5 ms, is many times what a write takes.
Of the whole process while the log is open."""

Job = Callable[[], None]


class Writer:
    """A thread with a queue. `run` must be running in a nursery; `stop` lets it end after the jobs that are queued."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Job, Job] | None] = queue.SimpleQueue()

    def submit(self, job: Job, done: Job) -> None:
        """Run `job` in the thread, then `done` in the event loop. `done` must not raise."""
        self._jobs.put((job, done))

    def stop(self) -> None:
        self._jobs.put(None)

    async def run(self) -> None:
        """Serve jobs until `stop`. Raises what a job raised. Cancellation waits for `stop`: a write is never left
        half-done.
        """
        token = trio.lowlevel.current_trio_token()
        before_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            await trio.to_thread.run_sync(self._serve, token, limiter=trio.CapacityLimiter(1))
        finally:
            sys.setswitchinterval(before_s)

    def _serve(self, token: trio.lowlevel.TrioToken) -> None:
        while (work := self._jobs.get()) is not None:
            job, done = work
            job()
            token.run_sync_soon(done)
