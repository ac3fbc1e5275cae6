"""The event loop of the supervisor: descriptors, and retries with a deadline. Owns the epoll instance; knows
nothing of what it waits for.

Handlers may be called once too often (a descriptor that was closed and reused within a batch), so they read without
blocking.
"""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable

Handler = Callable[[int], None]
"""Takes the epoll event mask."""
READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT
ENDED = select.EPOLLHUP | select.EPOLLERR
BATCH_MAX = 256


class Loop:
    """Single-threaded. `run` returns after `stop`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._idle: dict[Callable[[], None], None] = {}
        self._stopping = False

    def watch(self, descriptor: int, handler: Handler, events: int = READABLE) -> None:
        """Errors and hang-ups are always reported."""
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, events)

    def change(self, descriptor: int, events: int) -> None:
        """Waits for other events from now on."""
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Before the descriptor is closed. One that is not watched is no error."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """For bounded retries and deadlines only; whatever has an event is waited for by its event."""
        self._number += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._number, action))

    def when_idle(self, action: Callable[[], None]) -> None:
        """Once, when nothing is ready; the same action is queued only once."""
        self._idle[action] = None

    def stop(self) -> None:
        """Ends `run` after the handler that called this."""
        self._stopping = True

    def run(self) -> None:
        """Until `stop`."""
        while not self._stopping:
            timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            ready = self._epoll.poll(0 if self._idle else timeout, BATCH_MAX)
            if self._idle and not ready:
                action = next(iter(self._idle))
                del self._idle[action]
                action()
            for descriptor, events in ready:
                handler = self._handlers.get(descriptor)
                if handler is not None:
                    handler(events)
                if self._stopping:
                    return
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()
