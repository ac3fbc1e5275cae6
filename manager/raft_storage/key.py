"""The data key of one manager: 32 bytes that seal its log and snapshots, kept wrapped in `raft/key` (mode 0600).

The wrapping key lies beside it in the same file. With autolock that place is empty and the swarm's unlock key takes
its part: the data key, and all that it sealed, stay as they are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from cluster.identity import seal
from manager.raft_storage.directory import new_file, write_all
from manager.raft_storage.faults import Damaged

KEY_FORMAT: Final = 1
MAX_KEY_FILE_BYTES: Final = 4096


class KeyFile(msgspec.Struct, array_like=True, frozen=True):
    """What the file holds. New fields go last and have defaults."""

    format: int
    wrapping_key: bytes
    wrapped: bytes


def data_key(directory: Path) -> bytes:
    """The directory's data key; a new one is made, durably, for a directory that holds no log yet. Raises Damaged."""
    path = directory / "key"
    if path.exists():
        return _read(path)
    if any(directory.glob("log-*")) or any(directory.glob("snapshot-*")):
        raise Damaged(str(directory), "its key file is missing")
    key, wrapping_key = os.urandom(seal.KEY_BYTES), os.urandom(seal.KEY_BYTES)
    wrapped = seal.wrap(wrapping_key, key, os.urandom(seal.SALT_BYTES))
    with new_file(path) as descriptor:
        write_all(descriptor, msgspec.msgpack.encode(KeyFile(KEY_FORMAT, wrapping_key, wrapped)), 0)
    os.close(descriptor)
    return key


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_KEY_FILE_BYTES)
    try:
        kept = msgspec.msgpack.decode(data, type=KeyFile)
        if kept.format != KEY_FORMAT:
            raise Damaged(str(path.parent), f"its key file has format {kept.format}, this version reads {KEY_FORMAT}")
        return seal.unwrap(kept.wrapping_key, kept.wrapped)
    except (msgspec.MsgspecError, seal.BadSeal) as error:
        raise Damaged(str(path.parent), f"its key file cannot be read ({error})") from error
