"""What one session was sent and its agent has not acknowledged: an agent whose connection broke gets that again, and what has happened since,
instead of everything. Owns the bounds; knows nothing of what items mean. Pure.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from cluster.model.assignments import Item

MAX_DELTAS: Final = 64
MAX_KEPT_ITEMS: Final = 4096
"""Of one session; for an agent that is further behind, everything is less to send."""


class Delta(NamedTuple):
    upserts: tuple[Item, ...]
    removals: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.upserts) + len(self.removals)


class Replay:
    """The deltas behind version `_kept_from`, up to `version`."""

    __slots__ = ("_deltas", "_items", "_kept_from", "stream", "version")

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.version = 0
        self._kept_from = 0
        self._deltas: deque[Delta] = deque()
        self._items = 0

    def begin(self, version: int) -> None:
        """Everything was sent, as versions up to this one."""
        assert not self._deltas
        self.version = self._kept_from = version

    def add(self, delta: Delta) -> None:
        """This is sent as the next version."""
        self.version += 1
        self._deltas.append(delta)
        self._items += delta.size
        while len(self._deltas) > MAX_DELTAS or self._items > MAX_KEPT_ITEMS:
            self._drop()

    def acknowledge(self, version: int) -> None:
        """The agent has all up to this version: it never asks for that again."""
        while self._deltas and self._kept_from < version:
            self._drop()

    def after(self, stream: str, version: int) -> tuple[Delta, ...] | None:
        """What was sent after this version of the stream; None when that is not known any more, or never was."""
        if stream != self.stream or not self._kept_from <= version <= self.version:
            return None
        return tuple(self._deltas)[version - self._kept_from :]

    def _drop(self) -> None:
        self._items -= self._deltas.popleft().size
        self._kept_from += 1
