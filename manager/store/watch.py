"""How others hear of commits: each watch has a bounded queue of batches, and one Batch object is shared by all of them.

This file is the store's shell, the only one of the room that knows trio. Nothing here looks into a batch.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from manager.store.transaction import Batch

WATCH_QUEUE_BATCHES: Final = 8192
RECENT_EVENTS: Final = 8192
"""How many events are kept for who comes back: they keep what was there before alive, half a kilobyte each."""


class WatchLagged(Exception):
    """The watcher fell behind by more than its queue holds, or the whole store was replaced.

    What was queued is gone, and the watch starts anew from this moment: read the store before the next await, then go
    on with `next`.
    """


class Watches:
    """The open watches of one store, and its latest batches: all above the index `_forgotten`."""

    def __init__(self) -> None:
        self._open: dict[int, Watch] = {}
        self._next_key = 0
        self._recent: deque[Batch] = deque()
        self._recent_events = self._forgotten = 0

    def open(self, queue_batches: int = WATCH_QUEUE_BATCHES) -> Watch:
        self._next_key += 1
        watch = Watch(self, self._next_key, queue_batches)
        self._open[self._next_key] = watch
        return watch

    def after(self, index: int) -> tuple[Batch, ...] | None:
        """What was published after the batch of this index; None when not all of that is known any more."""
        if index < self._forgotten:
            return None
        missed: deque[Batch] = deque()
        for batch in reversed(self._recent):
            if batch.index <= index:
                break
            missed.appendleft(batch)
        return tuple(missed)

    def publish(self, batch: Batch) -> None:
        """Give `batch` to every watch. Never blocks and never runs a watcher's code."""
        for watch in self._open.values():
            watch._put(batch)
        self._recent.append(batch)
        self._recent_events += len(batch.events)
        while self._recent_events > RECENT_EVENTS:
            oldest = self._recent.popleft()
            self._recent_events -= len(oldest.events)
            self._forgotten = oldest.index

    def start_anew(self, index: int) -> None:
        """Tell every watch that what it knows has no continuation (the store was restored, as it was at this index)."""
        self._recent.clear()
        self._recent_events, self._forgotten = 0, index
        for watch in self._open.values():
            watch._lag()

    def _forget(self, key: int) -> None:
        self._open.pop(key, None)


class Watch:
    """One watcher's queue. Used by one task at a time; closing it wakes that task."""

    def __init__(self, owner: Watches, key: int, queue_batches: int) -> None:
        self._owner = owner
        self._key = key
        self._limit = queue_batches
        self._queue: deque[Batch] = deque()
        self._lagged = False
        self._closed = False
        self._waiting: trio.Event | None = None

    async def next(self) -> tuple[Batch, ...]:
        """All batches that are queued, in order; waits when there is none.

        Raises WatchLagged (see there), and trio.ClosedResourceError once the watch is closed. A cancelled call takes
        nothing.
        """
        await trio.lowlevel.checkpoint()
        while not (self._queue or self._lagged or self._closed):
            if self._waiting is not None:
                raise trio.BusyResourceError("another task waits on this watch")
            self._waiting = trio.Event()
            try:
                await self._waiting.wait()
            finally:
                self._waiting = None
        if self._closed:
            raise trio.ClosedResourceError("this watch was closed")
        return self.take()

    def take(self) -> tuple[Batch, ...]:
        """All batches that are queued, in order; none when there is none. Raises WatchLagged (see there)."""
        batches = tuple(self._queue)
        self._queue.clear()
        if self._lagged:
            self._lagged = False
            raise WatchLagged
        return batches

    def close(self) -> None:
        """Stop watching. Closing twice is fine."""
        self._closed = True
        self._queue.clear()
        self._owner._forget(self._key)
        self._wake()

    def _put(self, batch: Batch) -> None:
        if self._lagged:
            return
        if len(self._queue) >= self._limit:
            self._lag()
            return
        self._queue.append(batch)
        self._wake()

    def _lag(self) -> None:
        self._queue.clear()
        self._lagged = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.set()
