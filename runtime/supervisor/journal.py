"""The supervisor's memory on disk: one file per container, to which its specification, its states and its execs are
appended; the last of each counts. Owns the files' shape.

A record is one write, so it survives whatever ends the process; a record that the end of the machine cut off is cut off
when it is read, and everything before it holds. A record stands there before what it describes may happen. What must
survive the machine and not only the process is synced: specifications and ends. A running state need not be, no
process outlives the machine.

Appending costs a fifth of replacing a file (no new inode, and ext4 writes out what is renamed over another file).
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from runtime.spec import ContainerSpec, Exited

COMPACT_BYTES = 256 * 1024
"""A file that has become larger is written anew, with what counts."""
RECORD_MAX_BYTES = 16 * 1024 * 1024
_HEAD = struct.Struct("=II")
"""Length and CRC32 of the record that follows."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT)


class ProcessRecord(msgspec.Struct, frozen=True):
    """Names a process for as long as this boot lasts."""

    pid: int
    start_time: int
    boot_id: str


class SpecRecord(msgspec.Struct, frozen=True, tag="spec"):
    spec: ContainerSpec


class StateRecord(msgspec.Struct, frozen=True, tag="state"):
    """`phase` as in states.Phase. `start_key`: of the start that led here."""

    phase: str
    process: ProcessRecord | None = None
    started_at_ns: int = 0
    start_key: str = ""
    exited: Exited | None = None
    group: str = ""


class ExecRecord(msgspec.Struct, frozen=True, tag="exec"):
    """`process`: while it runs. Neither process nor end: the exec is forgotten."""

    exec_id: str
    process: ProcessRecord | None = None
    exited: Exited | None = None


Record = SpecRecord | StateRecord | ExecRecord
_DECODER = msgspec.msgpack.Decoder(Record)


@dataclass(slots=True)
class Kept:
    """What counts in a file. `length`: of its whole records."""

    spec: ContainerSpec | None = None
    state: StateRecord = field(default_factory=lambda: StateRecord("created"))
    execs: dict[str, ExecRecord] = field(default_factory=dict)
    length: int = 0

    def records(self) -> list[Record]:
        """Those that would make the same again."""
        first = [] if self.spec is None else [SpecRecord(self.spec)]
        return [*first, self.state, *self.execs.values()]


def frame(record: Record) -> bytes:
    data = msgspec.msgpack.encode(record)
    return _HEAD.pack(len(data), zlib.crc32(data)) + data


def fold(data: bytes) -> Kept:
    """Pure; ends at the first record that is not whole or that no version of ours wrote."""
    kept = Kept()
    while len(data) - kept.length >= _HEAD.size:
        length, checksum = _HEAD.unpack_from(data, kept.length)
        end = kept.length + _HEAD.size + length
        body = data[kept.length + _HEAD.size : end]
        if length > RECORD_MAX_BYTES or len(body) < length or zlib.crc32(body) != checksum:
            break
        try:
            record = _DECODER.decode(body)
        except msgspec.MsgspecError:
            break
        _take(kept, record)
        kept.length = end
    return kept


def _take(kept: Kept, record: Record) -> None:
    if isinstance(record, SpecRecord):
        kept.spec = record.spec
    elif isinstance(record, StateRecord):
        kept.state = record
    elif record.process is None and record.exited is None:
        kept.execs.pop(record.exec_id, None)
    else:
        kept.execs[record.exec_id] = record


def append(path: str, record: Record, *, durable: bool = True) -> None:
    """Whole or not at all. Not `durable`: may be lost with the machine, not with the process. Raises OSError."""
    data = frame(record)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        end = _write(descriptor, data)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if end > COMPACT_BYTES:
        _compact(path)


def _write(descriptor: int, data: bytes) -> int:
    """The file's length afterwards. Raises OSError with nothing written."""
    written = os.write(descriptor, data)
    end = os.lseek(descriptor, 0, os.SEEK_CUR)
    if written != len(data):  # the disk became full in the middle
        os.ftruncate(descriptor, end - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return end


def _compact(path: str) -> None:
    with open(path, "rb") as file:
        kept = fold(file.read())
    if kept.length > 0:
        _write_whole(f"{path}.new", b"".join(frame(record) for record in kept.records()), os.O_TRUNC)
        os.rename(f"{path}.new", path)


def _write_whole(path: str, data: bytes, how: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        _write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_if_possible(path: str, record: Record, *, durable: bool = True) -> None:
    """As `append`, for what has happened already: a full or failing disk, or a file that is gone, must not cost the
    other containers their supervisor. What is not written is said in the supervisor's log."""
    try:
        append(path, record, durable=durable)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        os.write(2, f"not saved: {record.__struct_config__.tag} in {path}: {error.strerror}\n".encode())


def create(path: str, spec: ContainerSpec) -> None:
    """A new container's file: there is a container as soon as its specification is whole. Raises OSError with nothing
    left."""
    try:
        _write_whole(path, frame(SpecRecord(spec)), os.O_TRUNC)
    except OSError:
        remove(path)
        raise


def containers(folder: str) -> Iterator[tuple[str, Kept]]:
    """(file, what counts in it) of every container. What follows the last whole record is cut off; a file without a
    specification never became a container and is removed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.is_file(follow_symlinks=False):
            continue
        with open(entry.path, "rb") as file:
            data = file.read()
        kept = fold(data)
        if kept.spec is None or kept.spec.id != entry.name:
            remove(entry.path)
            continue
        if kept.length != len(data):
            os.truncate(entry.path, kept.length)
        yield entry.path, kept


def remove(path: str) -> None:
    """The container's end. No error when it is gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
