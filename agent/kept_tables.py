"""The cluster's tables as a node keeps them: what the last run was told, for a start before any manager answers. Owns the file.

It is a list of messages as a session brings them: the first says all that there was, each of the others what has changed since, so that a change costs what
changes. When the others have grown to more than the first, the list begins anew. Nobody waits for the disk: what a power loss leaves half-written ends the
list, and the next session brings everything.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from agent.view import EMPTY_TABLES, ClusterTables, fold
from cluster.model.assignments import BalancerItem, EndpointItem, Item, NetworkItem, TaskItem

LEAST_BYTES: Final = 64 * 1024
"""So much of changes is kept however little there is in all."""
_LENGTH: Final = struct.Struct(">I")
_Message = tuple[tuple[TaskItem | NetworkItem | EndpointItem | BalancerItem, ...], tuple[str, ...]]
_MESSAGE: Final = msgspec.msgpack.Decoder(_Message)


class KeptTables:
    """State: the tables that the file says, None when that is not known; how much of it is the first message, and how much the others."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: ClusterTables | None = None
        self._first_bytes = self._other_bytes = 0

    def load(self) -> ClusterTables:
        """As far as it can be read; empty without a file."""
        tables = EMPTY_TABLES
        for items, removals in _messages(self._path.read_bytes()) if self._path.exists() else ():
            tables = fold(tables, items, removals, complete=False)
        return tables

    def save(self, tables: ClusterTables) -> None:
        """Raises OSError; the next one writes everything then."""
        before, self._saved = self._saved, None
        if before is None or self._other_bytes > max(self._first_bytes, LEAST_BYTES):
            self._first_bytes, self._other_bytes = self._begin(_framed(*_changes(EMPTY_TABLES, tables))), 0
        else:
            self._other_bytes += self._append(_framed(*_changes(before, tables)))
        self._saved = tables

    def forget(self) -> None:
        self._saved = None
        self._path.unlink(missing_ok=True)

    def _begin(self, data: bytes) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".tmp")
        temporary.write_bytes(data)
        temporary.replace(self._path)
        return len(data)

    def _append(self, data: bytes) -> int:
        with self._path.open("ab") as file:
            file.write(data)
        return len(data)


def _changes(before: ClusterTables, now: ClusterTables) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """(items that came or are others, keys of those that went)."""
    items: list[Item] = [item for network_id, item in now.networks.items() if before.networks.get(network_id) != item]
    removals = [item.key for network_id, item in before.networks.items() if network_id not in now.networks]
    for changed in (now.endpoints.since(before.endpoints), now.balancers.since(before.balancers)):
        for key, _, item in changed:
            if item is None:
                removals.append(key)
            else:
                items.append(item)
    return tuple(items), tuple(removals)


def _framed(items: tuple[Item, ...], removals: tuple[str, ...]) -> bytes:
    data = msgspec.msgpack.encode((items, removals))
    return _LENGTH.pack(len(data)) + data


def _messages(data: bytes) -> Iterator[_Message]:
    offset = 0
    while offset + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, offset)
        offset += _LENGTH.size
        try:
            yield _MESSAGE.decode(data[offset : offset + length])
        except msgspec.DecodeError:
            return
        offset += length
