"""A snapshot that was saved outside of the managers, to be kept elsewhere: the file of `festoon raft snapshot save`. Owns its
format; knows nothing of what is in the store.

    head     magic 8, length of the facts 4, CRC-32 of the facts 4   (little-endian)
    facts    when, of which cluster, up to which entry, and the data key of this file, wrapped (Facts)
    pieces   PIECE_BYTES of the contents each, sealed with the piece's number as nonce and bound to the facts

The contents are the packed form of snapshots.py. The data key is wrapped under a key that its owner keeps: no manager has it,
so the file outlives them all, and is worth nothing to whoever has only the file.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from cluster.identity import seal
from cluster.model.errors import InvalidArgument
from manager.raft_storage import snapshots
from manager.raft_storage.snapshots import Snapshot

MAGIC: Final = b"FESTSAV1"
PIECE_BYTES: Final = 512 * 1024
MAX_FACTS_BYTES: Final = 64 * 1024
MAX_FILE_BYTES: Final = 1024 * 1024 * 1024
_HEAD: Final = struct.Struct("<8sII")
BEGINNING_BYTES: Final = _HEAD.size + MAX_FACTS_BYTES


class Facts(msgspec.Struct, array_like=True, frozen=True):
    """What may be read without the key, and is not secret. New fields go last and have defaults. `size_bytes`: of the contents."""

    saved_at_ns: int
    cluster_id: str
    index: int
    term: int
    size_bytes: int
    salt: bytes
    wrapped_key: bytes


@dataclass(frozen=True, slots=True)
class Saved:
    facts: Facts
    snapshot: Snapshot


def write(snapshot: Snapshot, key: bytes, cluster_id: str, now_ns: int) -> Iterator[bytes]:
    """The file, piece by piece. `key`: whoever has it may read it."""
    contents = snapshots.pack(snapshot)
    data_key, salt = os.urandom(seal.KEY_BYTES), os.urandom(seal.SALT_BYTES)
    wrapped = seal.wrap(key, data_key, os.urandom(seal.SALT_BYTES))
    facts = msgspec.msgpack.encode(Facts(now_ns, cluster_id, snapshot.index, snapshot.term, len(contents), salt, wrapped))
    yield _HEAD.pack(MAGIC, len(facts), zlib.crc32(facts)) + facts
    sealer = seal.Sealer(data_key, salt)
    for number, start in enumerate(range(0, len(contents), PIECE_BYTES)):
        yield sealer.seal(number, contents[start : start + PIECE_BYTES], facts)


def look(beginning: bytes) -> Facts:
    """What the file that begins with these BEGINNING_BYTES says to who has no key. Raises InvalidArgument."""
    return _facts(beginning)[0]


def read(data: bytes, key: bytes) -> Saved:
    """What `write` wrote. Raises InvalidArgument: another file, another key, damaged, or not whole."""
    facts, encoded = _facts(data)
    start = _HEAD.size + len(encoded)
    pieces = range(0, facts.size_bytes, PIECE_BYTES)
    whole_bytes = start + facts.size_bytes + len(pieces) * seal.TAG_BYTES
    if len(data) != whole_bytes:
        raise InvalidArgument(f"the snapshot is not whole: {len(data)} bytes of {whole_bytes}")
    try:
        data_key = seal.unwrap(key, facts.wrapped_key) if len(key) == seal.KEY_BYTES else None
    except seal.BadSeal:
        data_key = None
    if data_key is None:
        raise InvalidArgument("the key does not open the snapshot: it takes the one that was shown when it was saved")
    sealer, step = seal.Sealer(data_key, facts.salt), PIECE_BYTES + seal.TAG_BYTES
    try:
        contents = b"".join(sealer.open(number, data[start + number * step : start + (number + 1) * step], encoded) for number in range(len(pieces)))
        return Saved(facts, snapshots.unpack(facts.index, facts.term, contents))
    except ValueError as error:  # BadSeal is one
        raise InvalidArgument(f"the snapshot is damaged: {error}") from error


def _facts(data: bytes) -> tuple[Facts, bytes]:
    if len(data) < _HEAD.size or not data.startswith(MAGIC):
        raise InvalidArgument("the file is no snapshot that `raft snapshot save` has written")
    _, length, checksum = _HEAD.unpack_from(data)
    encoded = data[_HEAD.size : _HEAD.size + length]
    if length > MAX_FACTS_BYTES or len(encoded) != length:
        raise InvalidArgument("the snapshot is not whole: it ends in its head")
    try:
        if zlib.crc32(encoded) != checksum:
            raise InvalidArgument("the snapshot is damaged: its head is not what was written")
        facts = msgspec.msgpack.decode(encoded, type=Facts)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the snapshot is damaged: {error}") from error
    if not 0 <= facts.size_bytes <= MAX_FILE_BYTES or len(facts.salt) != seal.SALT_BYTES:
        raise InvalidArgument("the snapshot is damaged: its head cannot be")
    return facts, encoded
