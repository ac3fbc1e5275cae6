"""Snapshots of the whole store on disk, sealed, whole or not at all. Owns the files `snapshot-<index>`; knows nothing
of what is in them.

    header   magic 8, index 8, term 8, length of the contents 8, salt 32   (little-endian)
    pieces   PIECE_BYTES of the contents each, sealed with the piece's number as nonce and bound to the header
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster.identity import seal
from manager.raft_storage.directory import new_file, sync_directory, write_all
from manager.raft_storage.faults import Damaged

MAGIC: Final = b"FESTSNP1"
PIECE_BYTES: Final = 4 * 1024 * 1024
_HEADER: Final = struct.Struct("<8sQQQ32s")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The store after the entry at `index`, whose term was `term`."""

    index: int
    term: int
    data: bytes


def save(directory: Path, key: bytes, snapshot: Snapshot, keep_old: int = 0) -> None:
    """Write the snapshot durably, then remove older ones but the last `keep_old`. Raises LogFull (and nothing
    changed) or StorageFault.
    """
    salt = os.urandom(seal.SALT_BYTES)
    sealer = seal.Sealer(key, salt)
    header = _HEADER.pack(MAGIC, snapshot.index, snapshot.term, len(snapshot.data), salt)
    path = directory / f"snapshot-{snapshot.index:016x}"
    with new_file(path) as descriptor:
        write_all(descriptor, header, 0)
        offset = len(header)
        for number, start in enumerate(range(0, len(snapshot.data), PIECE_BYTES)):
            sealed = sealer.seal(number, snapshot.data[start : start + PIECE_BYTES], header)
            write_all(descriptor, sealed, offset)
            offset += len(sealed)
    os.close(descriptor)
    older = [other for other in sorted(directory.glob("snapshot-*"), reverse=True) if other != path]
    for other in older[keep_old:]:
        other.unlink()
    sync_directory(directory)


def latest(directory: Path, key: bytes) -> Snapshot | None:
    """The newest snapshot, None when there is none. Raises Damaged: an older one would not do, the log behind it is
    gone.
    """
    paths = sorted(path for path in directory.glob("snapshot-*") if not path.name.endswith(".tmp"))
    if not paths:
        return None
    path = paths[-1]
    data = path.read_bytes()
    if len(data) < _HEADER.size or not data.startswith(MAGIC):
        raise Damaged(str(directory), f"{path.name} has no good header")
    header = data[: _HEADER.size]
    _, index, term, length, salt = _HEADER.unpack(header)
    sealer = seal.Sealer(key, salt)
    pieces: list[bytes] = []
    step = PIECE_BYTES + seal.TAG_BYTES
    try:
        for number, start in enumerate(range(_HEADER.size, len(data), step)):
            pieces.append(sealer.open(number, data[start : start + step], header))
    except seal.BadSeal as error:
        raise Damaged(str(directory), f"{path.name} is not what was written ({error})") from error
    contents = b"".join(pieces)
    if len(contents) != length:
        raise Damaged(str(directory), f"{path.name} has {len(contents)} bytes of {length}")
    return Snapshot(index, term, contents)
