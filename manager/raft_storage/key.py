"""The data keys of one manager: 32 bytes each, which seal its log and snapshots, kept wrapped in `raft/key` (mode 0600).

The wrapping key lies beside them in the same file. With autolock that place is empty and the swarm's unlock key takes
its part. Whoever saw the disk before may know the data key of then, so locking makes a new one; the older ones stay in
the file until nothing on disk is sealed under them any more. The file is replaced in one step: a crash leaves the old one
or the new one, and either opens all that is there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from cluster.identity import seal, unlock_key
from cluster.model.errors import FailedPrecondition, InvalidArgument
from manager.raft_storage.directory import new_file, write_all
from manager.raft_storage.faults import Damaged

KEY_FORMAT: Final = 1
MAX_KEY_FILE_BYTES: Final = 4096
MAX_OLDER: Final = 16


class KeyFile(msgspec.Struct, array_like=True, frozen=True):
    """What the file holds. New fields go last and have defaults. `wrapping_key`: empty when the unlock key is needed."""

    format: int
    wrapping_key: bytes
    wrapped: bytes
    older: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class DataKeys:
    """`current` seals all that is written; `older`, newest first, may have sealed what is there."""

    current: bytes
    older: tuple[bytes, ...] = ()

    def renewed(self) -> DataKeys:
        """With a new current one; the same when too many older ones are still in use."""
        if len(self.older) >= MAX_OLDER:
            return self
        return DataKeys(os.urandom(seal.KEY_BYTES), (self.current, *self.older))


def is_locked(directory: Path) -> bool:
    """Whether the unlock key is needed. Raises Damaged."""
    return (directory / "key").exists() and not _read(directory).wrapping_key


def open_keys(directory: Path, unlocking: bytes | None = None) -> DataKeys:
    """The directory's data keys; a first one is made, durably, for a directory that holds no log yet. `unlocking`: the unlock
    key, where there is one.

    Raises FailedPrecondition when the unlock key is needed, InvalidArgument when it is another one, Damaged.
    """
    if not (directory / "key").exists():
        if any(directory.glob("log-*")) or any(directory.glob("snapshot-*")):
            raise Damaged(str(directory), "its key file is missing")
        keys = DataKeys(os.urandom(seal.KEY_BYTES))
        save(directory, keys)
        return keys
    kept = _read(directory)
    wrapping = kept.wrapping_key or unlocking
    if wrapping is None:
        raise FailedPrecondition(unlock_key.LOCKED)
    if len(wrapping) != seal.KEY_BYTES:
        raise InvalidArgument(unlock_key.WRONG)
    try:
        return DataKeys(seal.unwrap(wrapping, kept.wrapped), tuple(seal.unwrap(wrapping, older) for older in kept.older))
    except seal.BadSeal as error:
        if kept.wrapping_key:
            raise Damaged(str(directory), f"its key file cannot be read ({error})") from error
        raise InvalidArgument(unlock_key.WRONG) from error


def save(directory: Path, keys: DataKeys, locking: bytes | None = None) -> None:
    """Keep these keys in place of what was kept, durably; `locking`: the unlock key that is needed from here on. Raises LogFull, StorageFault."""
    beside = b"" if locking is not None else os.urandom(seal.KEY_BYTES)
    wrapping = locking if locking is not None else beside
    wrapped = [seal.wrap(wrapping, key, os.urandom(seal.SALT_BYTES)) for key in (keys.current, *keys.older)]
    with new_file(directory / "key") as descriptor:
        write_all(descriptor, msgspec.msgpack.encode(KeyFile(KEY_FORMAT, beside, wrapped[0], tuple(wrapped[1:]))), 0)
    os.close(descriptor)


def _read(directory: Path) -> KeyFile:
    with (directory / "key").open("rb") as file:
        data = file.read(MAX_KEY_FILE_BYTES)
    try:
        kept = msgspec.msgpack.decode(data, type=KeyFile)
    except msgspec.MsgspecError as error:
        raise Damaged(str(directory), f"its key file cannot be read ({error})") from error
    if kept.format != KEY_FORMAT:
        raise Damaged(str(directory), f"its key file has format {kept.format}, this version reads {KEY_FORMAT}")
    return kept
