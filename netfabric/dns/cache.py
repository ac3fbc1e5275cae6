"""Answers of upstream resolvers, kept for as long as they say. Pure: the caller says what time it is. Bounded in entries and in the size of each.

A kept answer goes out with what is left of its times to live. What is not kept: answers that were cut off, failures, denials without an SOA (RFC 2308).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from netfabric.dns import message
from netfabric.dns.message import Upstream

ENTRIES_MAX: Final = 4096
ENTRY_MAX_BYTES: Final = 4096
LIFETIME_MAX_S: Final = 300
"""An hour-long lifetime would outlive what most people expect of a changed host."""


@dataclass(frozen=True, slots=True)
class _Entry:
    data: bytes
    ttls: tuple[int, ...]
    since_s: float
    until_s: float


class Cache:
    """The oldest entry goes when it is full."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, number: int, now_s: float) -> bytes | None:
        """A kept answer under the asker's number."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now_s >= entry.until_s:
            del self._entries[key]
            return None
        return message.aged(entry.data, number, entry.ttls, int(now_s - entry.since_s))

    def put(self, key: Hashable, data: bytes, seen: Upstream, now_s: float) -> None:
        lifetime = min(seen.lifetime_s, LIFETIME_MAX_S)
        if not lifetime or len(data) > ENTRY_MAX_BYTES:
            return
        self._entries.pop(key, None)
        if len(self._entries) >= ENTRIES_MAX:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = _Entry(data, seen.ttls, now_s, now_s + lifetime)
