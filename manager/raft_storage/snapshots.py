"""Snapshots of the whole store on disk, sealed, whole or not at all. Owns the files `snapshot-<index>` and the packed
form in which a snapshot also goes to another member; knows nothing of what is in the store.

    header   magic 8, index 8, term 8, length of the contents 8, salt 32   (little-endian)
    pieces   PIECE_BYTES of the contents each, sealed with the piece's number as nonce and bound to the header

The contents are the packed form: length of the membership 4, the membership, the store by zstd. Of format 1, which had
the store only, the membership is not known.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from cluster.identity import seal
from manager.raft import membership
from manager.raft.membership import Membership
from manager.raft_storage.directory import new_file, sync_directory, write_all
from manager.raft_storage.disk import MACHINE, Disk
from manager.raft_storage.faults import Damaged

MAGIC: Final = b"FESTSNP2"
FIRST_MAGIC: Final = b"FESTSNP1"
MAX_STORE_BYTES: Final = 4 * 1024**3
COMPRESSION_LEVEL: Final = 1
PIECE_BYTES: Final = 4 * 1024 * 1024
_HEADER: Final = struct.Struct("<8sQQQ32s")
_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The store after the entry at `index`, whose term was `term`, and who was a member then (None: not known). `contents`: the store's
    bytes, or what makes them, in pieces: a store is not encoded where it would hold others up."""

    index: int
    term: int
    contents: bytes | Callable[[], tuple[bytes, ...]]
    membership: Membership | None = None

    @property
    def data(self) -> bytes:
        return self.contents if isinstance(self.contents, bytes) else b"".join(self.contents())

    def pieces(self) -> tuple[bytes, ...]:
        return (self.contents,) if isinstance(self.contents, bytes) else self.contents()


def pack(snapshot: Snapshot) -> bytes:
    """The contents in one piece, compressed: about 0.2 s for 100,000 tasks, and as much to encode them."""
    return _packed(snapshot, snapshot.pieces())


def _packed(snapshot: Snapshot, pieces: tuple[bytes, ...]) -> bytes:
    members = membership.encode(snapshot.membership or Membership())
    compressor = zstandard.ZstdCompressor(COMPRESSION_LEVEL).compressobj(size=sum(map(len, pieces)))
    return b"".join((_LENGTH.pack(len(members)), members, *map(compressor.compress, pieces), compressor.flush()))


def unpack(index: int, term: int, packed: bytes) -> Snapshot:
    """What `pack` made. Raises ValueError for anything else."""
    if len(packed) < _LENGTH.size:
        raise ValueError("too short")
    end = _LENGTH.size + _LENGTH.unpack_from(packed)[0]
    try:
        members = membership.decode(packed[_LENGTH.size : end])
        size = zstandard.frame_content_size(packed[end:])
        if not 0 <= size <= MAX_STORE_BYTES:
            raise ValueError(f"a store of {size} bytes")
        data = zstandard.decompress(packed[end:], max_output_size=size)
    except (msgspec.MsgspecError, zstandard.ZstdError) as error:
        raise ValueError(str(error)) from error
    return Snapshot(index, term, data, members)


def save(directory: Path, key: bytes, snapshot: Snapshot, keep_old: int = 0, disk: Disk = MACHINE) -> int:
    """Write the snapshot durably, then remove older ones but the last `keep_old`; how large the store is. Raises LogFull (and nothing
    changed) or StorageFault.
    """
    store = snapshot.pieces()
    packed = _packed(snapshot, store)
    salt = disk.random(seal.SALT_BYTES)
    sealer = seal.Sealer(key, salt)
    header = _HEADER.pack(MAGIC, snapshot.index, snapshot.term, len(packed), salt)
    path = directory / f"snapshot-{snapshot.index:016x}"
    with new_file(path, disk) as descriptor:
        write_all(descriptor, header, 0, disk)
        offset = len(header)
        for number, start in enumerate(range(0, len(packed), PIECE_BYTES)):
            sealed = sealer.seal(number, packed[start : start + PIECE_BYTES], header)
            write_all(descriptor, sealed, offset, disk)
            offset += len(sealed)
    disk.close(descriptor)
    older = [name for name in reversed(disk.names(directory, "snapshot-")) if name != path.name]
    for name in older[keep_old:]:
        disk.remove(directory / name)
    sync_directory(directory, disk)
    return sum(map(len, store))


def latest(directory: Path, key: bytes, disk: Disk = MACHINE, older: tuple[bytes, ...] = ()) -> Snapshot | None:
    """The newest snapshot, None when there is none; `older`: keys that it may still be sealed under. Raises Damaged: an
    older one would not do, the log behind it is gone.
    """
    names = disk.names(directory, "snapshot-")
    if not names:
        return None
    path = directory / names[-1]
    data = disk.read(path)
    if len(data) < _HEADER.size or not data.startswith((MAGIC, FIRST_MAGIC)):
        raise Damaged(str(directory), f"{path.name} has no good header")
    _, index, term, length, salt = _HEADER.unpack(data[: _HEADER.size])
    contents = _opened(path, data, salt, (key, *older))
    if len(contents) != length:
        raise Damaged(str(directory), f"{path.name} has {len(contents)} bytes of {length}")
    if data.startswith(FIRST_MAGIC):
        return Snapshot(index, term, contents)
    try:
        return unpack(index, term, contents)
    except ValueError as error:
        raise Damaged(str(directory), f"{path.name} cannot be read ({error})") from error


def _opened(path: Path, data: bytes, salt: bytes, keys: tuple[bytes, ...]) -> bytes:
    """The contents of the file, by whichever of the keys it was sealed under. Raises Damaged."""
    header, step = data[: _HEADER.size], PIECE_BYTES + seal.TAG_BYTES
    for key in keys:
        sealer = seal.Sealer(key, salt)
        try:
            return b"".join(sealer.open(number, data[start : start + step], header) for number, start in enumerate(range(_HEADER.size, len(data), step)))
        except seal.BadSeal as error:
            problem = error
    raise Damaged(str(path.parent), f"{path.name} is not what was written ({problem})") from problem
