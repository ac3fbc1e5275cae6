"""Objects and messages to bytes and back: msgpack by msgspec, positional, one cached decoder per type.

Owns the encoding on the wire and on disk; never opens a socket or a file. Source: the MessagePack specification;
positional encoding of structs (`array_like`), so a new field goes last and has a default, and an old reader skips
what it doesn't know.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, TypeVar, overload

import msgspec

from cluster.model.changes import KIND_TYPES, Change, Kind, Op
from cluster.model.objects import TaskStatus

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""Longest text that `decode` looks at: a snapshot's piece; messages on the wire are bounded by their frame
already."""

MAX_DECODERS: Final = 128
"""Decoders kept, one per type asked for. The house has about fifty types."""

ChangeRow = tuple[Op, Kind, str, bytes]
"""A change as it travels: (op, kind, id, body); the body is empty for DELETE."""

T = TypeVar("T")

_DELETE, _STATUS = Op.DELETE, Op.STATUS  # once: looking members up is a tenth of what it takes to read an entry


class BadMessage(ValueError):
    """Bytes that aren't what they were said to be: a peer's fault, or a damaged file."""


@lru_cache(maxsize=1)
def _encoder() -> msgspec.msgpack.Encoder:
    return msgspec.msgpack.Encoder()


@lru_cache(maxsize=1)
def _rows_decoder() -> msgspec.msgpack.Decoder[list[ChangeRow]]:
    """By itself: a generic type is slow to look up, and entries are what a manager reads most."""
    return msgspec.msgpack.Decoder(list[ChangeRow])


@lru_cache(maxsize=MAX_DECODERS)
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def encode(value: object) -> bytes:
    """The bytes of a struct or of a plain value made of structs."""
    return _encoder().encode(value)


@overload
def decode(data: bytes | bytearray | memoryview, kind: type[T]) -> T: ...
@overload
def decode(data: bytes | bytearray | memoryview, kind: object) -> Any: ...
def decode(data: bytes | bytearray | memoryview, kind: Any) -> Any:
    """The value of type `kind` (a type, or a union of tagged structs) in `data`. Raises BadMessage."""
    _check_length(data)
    return _read(_decoder(kind), data)


def _check_length(data: bytes | bytearray | memoryview) -> None:
    if len(data) > MAX_MESSAGE_BYTES:
        raise BadMessage(f"message of {len(data)} bytes is longer than {MAX_MESSAGE_BYTES}")


def _read(decoder: msgspec.msgpack.Decoder[T], data: bytes | bytearray | memoryview) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise BadMessage(f"malformed {getattr(decoder.type, '__name__', decoder.type)}: {e}") from e


def row_of(change: Change) -> ChangeRow:
    """A change as a row, its object encoded."""
    return (change.op, change.kind, change.id, b"" if change.after is None else encode(change.after))


def change_of(row: ChangeRow) -> Change:
    """The change in a row. Raises BadMessage for a body that doesn't fit the operation."""
    op, kind, object_id, body = row
    if op is _DELETE:
        if body:
            raise BadMessage("a deletion carries no body")
        return Change(op, kind, object_id, None)
    if op is _STATUS:
        if kind is not Kind.TASK:
            raise BadMessage(f"a status belongs to a task, not to a {kind.name.lower()}")
        return Change(op, kind, object_id, decode(body, TaskStatus))
    return Change(op, kind, object_id, _read(_decoder(KIND_TYPES[kind]), body))


def encode_changes(changes: Iterable[Change]) -> bytes:
    """The bytes of a tuple of changes, as one log entry carries them."""
    return encode([row_of(c) for c in changes])


def decode_changes(data: bytes | bytearray | memoryview) -> tuple[Change, ...]:
    """The changes in one log entry. Raises BadMessage."""
    _check_length(data)
    return tuple([change_of(row) for row in _read(_rows_decoder(), data)])
