"""What waits to be sent to the other members: one bounded queue for each that is connected.

Owns the queues; opens no connection (manager/peers.py takes from them). A message for a member that is not connected,
or whose queue is full, is dropped: Raft sends again what matters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
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
    """For one connection to one member. `push`, which must not raise, has the connection take what it can (`take_messages`) right now."""

    def __init__(self, push: Callable[[], None]) -> None:
        self._push = push
        self._messages: deque[tuple[Message, int]] = deque()  # each with its size
        self._bytes = 0
        self._snapshot: SnapshotToSend | None = None
        self._left = trio.Event()

    async def wait(self) -> None:
        """Until something waits that no push took along."""
        while not self._messages and self._snapshot is None:
            self._left = trio.Event()
            await self._left.wait()

    @property
    def has_messages(self) -> bool:
        return bool(self._messages)

    def take_messages(self, limit_bytes: int) -> tuple[Message, ...]:
        """The first of the messages, with at most so many bytes of entries, but one at least."""
        taken: list[Message] = []
        size = 0
        while self._messages:
            message, message_bytes = self._messages[0]
            size += message_bytes
            if taken and size > limit_bytes:
                break
            self._messages.popleft()
            taken.append(message)
            self._bytes -= message_bytes
        return tuple(taken)

    def take_snapshot(self) -> SnapshotToSend | None:
        snapshot, self._snapshot = self._snapshot, None
        return snapshot

    def put(self, message: Message) -> None:
        """It leaves with the next `flush`."""
        size = _size(message)
        if self._bytes + size > MAX_QUEUED_BYTES:
            return
        self._bytes += size
        self._messages.append((message, size))

    def put_snapshot(self, snapshot: SnapshotToSend) -> None:
        self._snapshot = snapshot
        self._left.set()

    def flush(self) -> None:
        if self._messages:
            self._push()
            if self._messages:
                self._left.set()


class Outboxes:
    """By member. Opening one replaces the one of an earlier connection."""

    def __init__(self) -> None:
        self._open: dict[int, Outbox] = {}

    def open(self, member: int, push: Callable[[], None]) -> Outbox:
        outbox = self._open[member] = Outbox(push)
        return outbox

    def close(self, member: int, outbox: Outbox) -> None:
        if self._open.get(member) is outbox:
            del self._open[member]

    def is_open(self, member: int) -> bool:
        """Whether the member listens to this one."""
        return member in self._open

    def send(self, message: Message) -> None:
        """It leaves with the next `flush`."""
        if (outbox := self._open.get(message.to)) is not None:
            outbox.put(message)

    def flush(self) -> None:
        """Send all that was put."""
        for outbox in self._open.values():
            outbox.flush()

    def send_snapshot(self, message: Message, packed: bytes) -> bool:
        """Whether there is a connection that will carry it."""
        outbox = self._open.get(message.to)
        if outbox is not None:
            outbox.put_snapshot(SnapshotToSend(message, packed))
        return outbox is not None


def _size(message: Message) -> int:
    return MESSAGE_OVERHEAD_BYTES + sum([len(entry.data) for entry in message.entries])
