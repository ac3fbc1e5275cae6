"""A member that has lost its group goes on alone, by force, with all that is in its log; the file that says which member it is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from cluster.model.changes import Kind, created
from cluster.model.ids import NetworkId
from cluster.model.objects import Network
from cluster.model.specs import NetworkSpec
from manager import member_file
from manager.member_file import Seat
from manager.raft.driver import open_driver
from manager.raft.log import Entry
from manager.raft.membership import Member, Membership
from manager.raft_storage import directory, snapshots
from manager.raft_storage.faults import Damaged
from manager.raft_storage.key import open_keys
from manager.raft_storage.records import Record
from manager.raft_storage.snapshots import Snapshot
from manager.raft_storage.wal import Wal
from manager.store import Store

ME = Member(1, "one", "192.0.2.1:2377")
PATIENCE_S = 20


async def write(folder: Path, name: str, *, members: int = 0) -> None:
    """One network by a lone member, which then gets learners and voters that nobody ever hears of."""
    async with open_driver(folder, Store()) as driver:
        await driver.wait_leader()
        await driver.propose((created(Network(NetworkId(name), NetworkSpec(name))),))
        for number in range(members):
            await driver.change_membership(lambda known, n=number: known.with_learner(f"n{n}", f"192.0.2.{n + 2}:2377"))


async def names(folder: Path, only: Member | None = None) -> tuple[set[str], Membership]:
    store = Store()
    with trio.fail_after(PATIENCE_S):
        async with open_driver(folder, store, only=only) as driver:
            await driver.wait_leader()
            await driver.wait_read()
            return {network.id for network in store.all(Kind.NETWORK)}, driver.membership


def test_all_that_was_there_is_there_and_the_others_are_out_for_ever(tmp_path: Path) -> None:
    trio.run(write, tmp_path, "before")
    trio.run(lambda: write_with_members(tmp_path))
    found, membership = trio.run(names, tmp_path, ME)
    assert found == {"before", "between"}
    assert membership.members == (ME,)
    assert membership.was_removed(2)
    assert trio.run(names, tmp_path)[0] == found  # and it stays so
    again, once_more = trio.run(names, tmp_path, ME)
    assert (again, once_more) == (found, membership)


@pytest.mark.parametrize("entries", [(), tuple(Entry(index, 1, b"") for index in range(1, 4)), tuple(Entry(index, 1, b"") for index in range(1, 20))])
def test_a_leaders_snapshot_whose_record_was_not_written_any_more_stands_for_the_log_before_it(tmp_path: Path, entries: tuple[Entry, ...]) -> None:
    """The crash comes between the two; the log's own entries are others than those that the snapshot holds, fewer or more."""
    store = Store()
    store.apply(9, (created(Network(NetworkId("snapped"), NetworkSpec("snapped"))),))
    group = Membership((ME, Member(2, "two", "192.0.2.2:2377")), 2)
    with directory.locked(tmp_path):
        key = open_keys(tmp_path).current
        wal = Wal(tmp_path, key)
        wal.append(Record(1, 0, 0, entries))
        wal.close()
        snapshots.save(tmp_path, key, Snapshot(9, 4, store.save(), group))

    async def as_it_is() -> tuple[int, int, int]:
        async with open_driver(tmp_path, Store()) as driver:
            return driver.raft.log.offset, driver.raft.log.last, driver.applied

    assert trio.run(as_it_is) == (9, 9, 9)
    assert trio.run(as_it_is) == (9, 9, 9)
    found, membership = trio.run(names, tmp_path, ME)
    assert (found, membership) == ({"snapped"}, Membership((ME,), 2))
    assert trio.run(names, tmp_path) == (found, membership)  # the log that goes on behind the snapshot can be read again


async def write_with_members(folder: Path) -> None:
    await write(folder, "between", members=2)


def test_the_seat_is_the_founders_where_nothing_else_is_said(tmp_path: Path) -> None:
    assert member_file.load(tmp_path) is None
    (tmp_path / "log-1").touch()
    assert member_file.load(tmp_path) == Seat()
    seat = Seat(3, (ME, msgspec.structs.replace(ME, raft_id=2)))
    member_file.save(tmp_path, seat)
    assert member_file.load(tmp_path) == seat
    member_file.forget(tmp_path)
    assert not tmp_path.exists()


def test_a_seat_that_cannot_be_read_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / member_file.NAME).write_bytes(b"{")
    with pytest.raises(Damaged):
        member_file.load(tmp_path)
