"""The node's own events (`docker events`): a bounded history and its subscribers. Owns both; knows nothing of who listens.

A subscriber that falls EVENT_QUEUE behind is cut off (its stream ends): a slow reader never blocks the node.
"""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

import trio

from cluster.model.specs import Pairs

EVENT_HISTORY: Final = 1000  # events; Docker remembers 256
EVENT_QUEUE: Final = 1000  # events per subscriber


@dataclass(frozen=True, slots=True)
class Event:
    """`type` container, image, network, volume, service, node, ...; `action` create, start, die, ...; scope local or swarm."""

    type: str
    action: str
    actor_id: str
    attributes: Pairs = ()
    scope: str = "local"
    time_ns: int = 0


def pruned(kind: str, reclaimed_bytes: int = 0) -> Event:
    """What was unused of a kind is gone."""
    return Event(kind, "prune", "", (("reclaimed", str(reclaimed_bytes)),))


class EventBus:
    """Publishes to every subscriber and remembers the last EVENT_HISTORY events."""

    def __init__(self) -> None:
        self._history: collections.deque[Event] = collections.deque(maxlen=EVENT_HISTORY)
        self._subscribers: set[trio.MemorySendChannel[Event]] = set()

    def publish(self, event: Event) -> None:
        """Stamp the event where it has no time, remember it, give it to every subscriber. Never blocks."""
        if not event.time_ns:
            event = Event(event.type, event.action, event.actor_id, event.attributes, event.scope, time.time_ns())
        self._history.append(event)
        for channel in tuple(self._subscribers):
            try:
                channel.send_nowait(event)
            except trio.WouldBlock:
                self._subscribers.discard(channel)
                channel.close()
            except trio.BrokenResourceError:
                self._subscribers.discard(channel)

    def history(self, since_ns: int) -> Iterator[Event]:
        return (e for e in tuple(self._history) if e.time_ns >= since_ns)

    @contextlib.asynccontextmanager
    async def subscribe(self, since_ns: int | None = None) -> AsyncIterator[AsyncIterator[Event]]:
        """An iterator over the history from `since_ns` (None: none of it), then what comes. Leaving the context unsubscribes."""
        send, receive = trio.open_memory_channel[Event](EVENT_QUEUE)
        past = tuple(self.history(since_ns)) if since_ns is not None else ()
        self._subscribers.add(send)

        async def both() -> AsyncIterator[Event]:
            for event in past:
                yield event
            async for event in receive:
                yield event

        iterator = both()
        try:
            yield iterator
        finally:
            self._subscribers.discard(send)
            send.close()
            receive.close()
