"""What becomes one write, in which order, and what room is known to be left for it."""

from __future__ import annotations

from manager.raft.group_commit import GroupCommit
from manager.raft.log import Entry
from manager.raft.membership import Membership
from manager.raft.ready import HardState, Ready, SnapshotPoint
from manager.raft_storage.records import record_bytes
from manager.raft_storage.snapshots import Snapshot

ROOM_BYTES = 10_000


def ready(number: int, *indexes: int, state: HardState | None = None, snapshot: SnapshotPoint | None = None, data: bytes = b"x" * 100) -> Ready:
    entries = tuple(Entry(index, 1, data) for index in indexes)
    return Ready(number, messages=(), hard_state=state, entries=entries, commit=number, messages_after=(), committed=(), snapshot=snapshot)


def test_what_comes_during_a_write_becomes_the_next_one() -> None:
    disk = GroupCommit(HardState(1, 2), ROOM_BYTES)
    disk.add(ready(1, 1), None)
    first = disk.take()
    write = disk.write(first)
    for number in (2, 3):
        disk.add(ready(number, number, state=HardState(number, 7)), None)
    assert not disk.take(), "one write is under way"
    assert [entry.index for entry in write.record.entries] == [1]
    assert (write.record.term, write.record.vote) == (1, 2)
    assert list(disk.wrote(ROOM_BYTES)) == list(first)
    write = disk.write(disk.take())
    assert [entry.index for entry in write.record.entries] == [2, 3]
    assert (write.record.term, write.record.vote, write.record.commit) == (3, 7, 3)


def test_a_write_takes_no_more_than_a_group() -> None:
    disk = GroupCommit(HardState(), ROOM_BYTES, group_bytes=record_bytes(ready(1, 1).entries) * 2)
    for number in (1, 2, 3):
        disk.add(ready(number, number), None)
    assert [one.number for one in disk.take()] == [1, 2]


def test_a_leaders_snapshot_begins_a_record() -> None:
    disk = GroupCommit(HardState(), ROOM_BYTES)
    point = SnapshotPoint(9, 1, Membership())
    snapshot = Snapshot(9, 1, b"", Membership())
    for one, about in ((ready(1, 1), None), (ready(2, snapshot=point), snapshot), (ready(3, 10), None)):
        disk.add(one, about)
    before = disk.take()
    assert [one.number for one in before] == [1]
    disk.write(before)
    disk.wrote(ROOM_BYTES)
    taken = disk.take()
    assert [one.number for one in taken] == [2, 3], "what follows the snapshot goes with it"
    assert disk.write(taken).record.restored == 9


def test_room_is_asked_for_when_nothing_waits_that_may_need_it() -> None:
    disk = GroupCommit(HardState(), ROOM_BYTES)
    disk.add(ready(1, 1, data=b"x" * 6000), None)
    assert disk.has_room(3000)
    assert not disk.has_room(5000), "what waits needs it"
    assert disk.reserve(5000) is None
    disk.write(disk.take())
    assert disk.reserve(5000) is None, "a write is under way"
    disk.wrote(ROOM_BYTES - 6000)
    assert not disk.has_room(5000)
    asked = disk.reserve(5000)
    assert asked is not None
    assert asked.size_bytes >= 5000
    assert disk.busy
    disk.reserved(ROOM_BYTES)
    assert disk.has_room(5000)
