"""The log of one manager on disk: numbered segments of a fixed size, preallocated, one write and one fdatasync(2) for
each record.

Owns the segment files. Synchronous: the driver calls it from one thread of its own. Any failure to write or to sync
is a StorageFault and fatal, for what the page cache holds after it is not known (fsync(2)); only a lack of room for
the next segment (LogFull) leaves everything as it was. Each opening starts a new segment, because a segment's key is
for one process only (frames.py).

The first record of each segment carries no entry, so that older segments can go without taking the vote with them
(records.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from cluster.identity import seal
from manager.raft_storage import frames
from manager.raft_storage.directory import call_failed, new_file, sync_directory, write_all
from manager.raft_storage.disk import MACHINE, Disk
from manager.raft_storage.faults import Damaged, LogFull
from manager.raft_storage.frames import Scan, SegmentHeader
from manager.raft_storage.records import Record, fold, record_bytes

SEGMENT_BYTES: Final = 16 * 1024 * 1024
STATE_RESERVE_BYTES: Final = 64 * 1024
"""Kept free at a segment's end for records without entries: a vote must be writable when the disk is full."""


class _Segment(NamedTuple):
    path: Path
    last_index: int  # highest index of its entries, 0 without any
    key: bytes


class Wal:
    """The open log. Use from one thread at a time."""

    def __init__(self, directory: Path, key: bytes, disk: Disk = MACHINE, segment_bytes: int = SEGMENT_BYTES, older: tuple[bytes, ...] = ()) -> None:
        """Read what is there, cut an unfinished last write off, and start a new segment. `older`: keys that segments may still be
        sealed under. Raises Damaged, LogFull, StorageFault.
        """
        self._directory = directory
        self._key, self._older = key, older
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._sealed: list[_Segment] = []
        self._number = 0
        self._chain = 0
        records: list[Record] = []
        paths = [directory / name for name in disk.names(directory, "log-")]
        ends = []
        for path in paths:
            segment, end = self._read_segment(path, is_last=path == paths[-1])
            records += segment
            ends.append(end)
        self.recovered = fold(records, str(directory))
        for path, end in zip(paths, ends, strict=True):
            self._cut(path, end)
        if paths:
            self._write_again(paths[-1])
        self._state = Record(self.recovered.term, self.recovered.vote, self.recovered.commit)
        self._descriptor = -1
        self._failed = False
        self._start_segment()

    def forget_recovered(self) -> None:
        """What was there at the start has been taken over: it may be as large as the log."""
        self.recovered = self.recovered._replace(entries=())

    def append(self, record: Record) -> None:
        """Write one record; it is durable when this returns. Raises LogFull (with nothing written) or StorageFault."""
        if record_bytes(record.entries) > self._room:
            self._start_segment()
        self._write_frame(self._descriptor, record)
        self._sync(self._descriptor, self._path)

    def reserve(self, size_bytes: int) -> None:
        """Make sure that records of this size (`record_bytes`) can be appended without asking the disk for room.
        Raises LogFull.
        """
        assert size_bytes <= self._segment_bytes - frames.HEADER_BYTES - STATE_RESERVE_BYTES - frames.frame_bytes(64)
        if size_bytes > self.room_bytes:
            self._start_segment()

    @property
    def room_bytes(self) -> int:
        """How much can be appended to the open segment."""
        return self._room - STATE_RESERVE_BYTES

    def use_key(self, key: bytes) -> None:
        """Seal with this key from here on. Raises LogFull and is then as before."""
        before, self._key = self._key, key
        try:
            self._start_segment()
        except LogFull:
            self._key = before
            raise

    @property
    def uses_older_key(self) -> bool:
        """Whether a segment is still sealed under a key that is not the present one."""
        return any(segment.key != self._key for segment in self._sealed)

    def release(self, index: int) -> None:
        """Remove the oldest segments whose entries are all at or below `index`. The open one always stays."""
        removed = 0
        while removed < len(self._sealed) and self._sealed[removed].last_index <= index:
            self._disk.remove(self._sealed[removed].path)
            removed += 1
        if removed:
            del self._sealed[:removed]
            sync_directory(self._directory, self._disk)

    def close(self) -> None:
        """Give back the room that was not used. After a failure nothing is written any more."""
        try:
            if not self._failed:
                self._disk.truncate(self._descriptor, self._offset)
                self._sync(self._descriptor, self._path)
        finally:
            self._disk.close(self._descriptor)

    @property
    def _room(self) -> int:
        return self._segment_bytes - self._offset

    def _start_segment(self) -> None:
        """Go on in a new segment, which starts with the member's state. Raises LogFull and is then as before."""
        number, chain = self._number + 1, self._chain
        header = SegmentHeader(number, chain, self._disk.random(seal.SALT_BYTES))
        sealer = seal.Sealer(self._key, header.salt)
        path = self._directory / f"log-{number:016x}"
        payload = msgspec.msgpack.encode(self._state)
        frame, chain = frames.encode_frame(sealer, number, 0, chain, payload)
        with new_file(path, self._disk) as descriptor:
            self._disk.allocate(descriptor, self._segment_bytes)
            write_all(descriptor, frames.encode_header(header) + frame, 0, self._disk)
        self._retire()
        self._number, self._chain, self._sealer, self._path = number, chain, sealer, path
        self._descriptor, self._sequence, self._last_index, self._open_key = descriptor, 1, 0, self._key
        self._offset = frames.HEADER_BYTES + len(frame)

    def _retire(self) -> None:
        """Close the open segment for good, without the room that it did not use."""
        if self._descriptor < 0:
            return
        self._disk.truncate(self._descriptor, self._offset)
        self._disk.close(self._descriptor)
        self._sealed.append(_Segment(self._path, self._last_index, self._open_key))

    def _write_frame(self, descriptor: int, record: Record) -> None:
        payload = msgspec.msgpack.encode(record)
        frame, chain = frames.encode_frame(self._sealer, self._number, self._sequence, self._chain, payload)
        try:
            write_all(descriptor, frame, self._offset, self._disk)
        except OSError as error:
            self._failed = True
            raise call_failed("pwrite", self._path, error) from error
        self._chain = chain
        self._sequence += 1
        self._offset += len(frame)
        if record.entries:
            self._last_index = max(self._last_index, *[entry.index for entry in record.entries])
        self._state = Record(record.term, record.vote, record.commit)

    def _sync(self, descriptor: int, path: Path) -> None:
        try:
            self._disk.sync_data(descriptor)
        except OSError as error:
            self._failed = True
            raise call_failed("fdatasync", path, error) from error

    def _read_segment(self, path: Path, *, is_last: bool) -> tuple[list[Record], int]:
        """The records of one segment, the next one in order. Only the last segment may end with an unfinished frame,
        which is cut off.
        """
        directory = str(self._directory)
        data = self._disk.read(path)
        header = frames.decode_header(data)
        if header is None or path.name != f"log-{header.number:016x}":
            raise Damaged(directory, f"the header of {path.name} is not what was written")
        if self._number and (header.number != self._number + 1 or header.chain != self._chain):
            raise Damaged(directory, f"{path.name} does not continue the segment before it")
        key, scan = self._scan(data, header)
        if scan.damaged or not scan.payloads or (scan.torn and not is_last):
            raise Damaged(directory, f"{path.name} is not what was written from byte {scan.end} on")
        try:
            records = [msgspec.msgpack.decode(payload, type=Record) for payload in scan.payloads]
        except msgspec.MsgspecError as error:
            raise Damaged(directory, f"{path.name} holds a record that this version cannot read ({error})") from error
        self._number, self._chain = header.number, scan.chain
        self._sealed.append(_Segment(path, max((e.index for r in records for e in r.entries), default=0), key))
        return records, scan.end

    def _scan(self, data: bytes, header: SegmentHeader) -> tuple[bytes, Scan]:
        """What is in a segment, and under which key."""
        for key in (self._key, *self._older):
            scan = frames.scan(data, header, seal.Sealer(key, header.salt))
            if scan.payloads:
                break
        return key, scan

    def _write_again(self, path: Path) -> None:
        """What the process before wrote last may be in the page cache only: it was killed before it synced, or the sync
        failed, and the kernel counts such pages as clean. Written once more they are dirty, and this sync says the truth.
        """
        data = self._disk.read(path)
        descriptor = self._disk.open(path)
        try:
            write_all(descriptor, data, 0, self._disk)
            self._sync(descriptor, path)
        except OSError as error:
            raise call_failed("pwrite", path, error) from error
        finally:
            self._disk.close(descriptor)

    def _cut(self, path: Path, size_bytes: int) -> None:
        """Cut off what was preallocated and never written, and an unfinished frame."""
        if self._disk.size(path) == size_bytes:
            return
        descriptor = self._disk.open(path)
        try:
            self._disk.truncate(descriptor, size_bytes)
            self._sync(descriptor, path)
        except OSError as error:
            raise call_failed("ftruncate", path, error) from error
        finally:
            self._disk.close(descriptor)
