"""What waits to be sent to the other members: one bounded queue for each that is connected.

Owns the queues; opens no connection (manager/peers.py takes from them). A message for a member that is not connected,
or whose queue is full, is dropped: Raft sends again what matters.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import trio

from manager.raft.messages import Message

MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024
"""Entries waiting for one member."""

MESSAGE_OVERHEAD_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class SnapshotToSend:
    """`message` follows the packed contents."""

    message: Message
    packed: bytes


class Outbox:
    """For one connection to one member."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._snapshot: SnapshotToSend | None = None
        self._filled = trio.Event()

    async def take(self) -> tuple[tuple[Message, ...], SnapshotToSend | None]:
        """All that waits, once anything does. When cancelled nothing is lost."""
        while not self._messages and self._snapshot is None:
            self._filled = trio.Event()
            await self._filled.wait()
        return self.take_messages(), self._take_snapshot()

    def take_messages(self) -> tuple[Message, ...]:
        messages = tuple(self._messages)
        self._messages.clear()
        self._bytes = 0
        return messages

    def _take_snapshot(self) -> SnapshotToSend | None:
        snapshot, self._snapshot = self._snapshot, None
        return snapshot

    def put(self, message: Message) -> None:
        size = MESSAGE_OVERHEAD_BYTES + sum(len(entry.data) for entry in message.entries)
        if self._bytes + size > MAX_QUEUED_BYTES:
            return
        self._bytes += size
        self._messages.append(message)
        self._filled.set()

    def put_snapshot(self, snapshot: SnapshotToSend) -> None:
        self._snapshot = snapshot
        self._filled.set()


class Outboxes:
    """By member. Opening one replaces the one of an earlier connection."""

    def __init__(self) -> None:
        self._open: dict[int, Outbox] = {}

    def open(self, member: int) -> Outbox:
        outbox = self._open[member] = Outbox()
        return outbox

    def close(self, member: int, outbox: Outbox) -> None:
        if self._open.get(member) is outbox:
            del self._open[member]

    def is_open(self, member: int) -> bool:
        """Whether the member listens to this one."""
        return member in self._open

    def send(self, message: Message) -> None:
        if (outbox := self._open.get(message.to)) is not None:
            outbox.put(message)

    def send_snapshot(self, message: Message, packed: bytes) -> bool:
        """Whether there is a connection that will carry it."""
        outbox = self._open.get(message.to)
        if outbox is not None:
            outbox.put_snapshot(SnapshotToSend(message, packed))
        return outbox is not None
