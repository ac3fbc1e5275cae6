"""The simulated disk loses what a real one may lose, and the real log on it never loses what it has acknowledged."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from manager.raft.log import Entry
from manager.raft_storage.faults import Damaged, StorageFault
from manager.raft_storage.records import Record
from manager.raft_storage.wal import Wal
from sim.disk import Crashed, SimDisk
from sim.draws import Draws

PATH = Path("/raft/log-1")
KEY = bytes(range(32))
SEGMENT_BYTES = 512 * 1024


def disk(seed: int = 1) -> SimDisk:
    return SimDisk(Draws(seed), 1 << 30)


def test_what_was_synced_survives_and_what_was_not_may_be_lost_in_any_sector() -> None:
    seen = set()
    for seed in range(60):
        made = disk(seed)
        descriptor = made.create(PATH)
        made.write(descriptor, b"a" * 1024, 0)
        made.sync(descriptor)
        made.sync_directory(PATH.parent)
        made.write(descriptor, b"b" * 1024, 1024)
        made.crash()
        data = made.read(PATH)
        assert data[:1024] == b"a" * 1024
        seen.add((data[1024:1536] == b"b" * 512, data[1536:2048] == b"b" * 512))
    assert seen == {(False, False), (False, True), (True, False), (True, True)}


def test_a_new_name_may_be_lost_until_its_folder_is_synced() -> None:
    kept = set()
    for seed in range(40):
        made = disk(seed)
        descriptor = made.create(PATH.with_name("x.tmp"))
        made.write(descriptor, b"x", 0)
        made.sync(descriptor)
        made.rename(PATH.with_name("x.tmp"), PATH)
        made.crash()
        kept.add(tuple(made.names(PATH.parent, "log-")))
    assert kept == {(), ("log-1",)}


def test_a_full_disk_refuses_new_room_and_a_failed_sync_says_so() -> None:
    made = disk()
    descriptor = made.create(PATH)
    made.full = True
    with pytest.raises(OSError, match="No space") as refused:
        made.write(descriptor, b"x", 0)
    assert refused.value.errno == errno.ENOSPC
    made.full, made.fail_syncs = False, True
    with pytest.raises(OSError, match="Input/output"):
        made.sync(descriptor)


def entry(index: int) -> Record:
    return Record(1, 1, 0, (Entry(index, 1, b"entry %d" % index * 40),))


@pytest.mark.parametrize("seed", range(40))
def test_a_crash_at_any_operation_loses_nothing_that_was_acknowledged(seed: int) -> None:
    """Twelve lives of one log, each ended at the next operation further on."""
    made = disk(seed)
    acknowledged = 0
    for life in range(12):
        made.crash_in(10 + life + seed)
        try:
            made.clear_unfinished()
            wal = Wal(Path("/raft"), KEY, disk=made, segment_bytes=SEGMENT_BYTES)
            found = [entry.index for entry in wal.recovered.entries]
            assert found[:acknowledged] == list(range(1, acknowledged + 1))
            assert made.unsafe("log-") == "", "what it starts from is on the platter"
            acknowledged = len(found)
            while True:
                wal.append(entry(acknowledged + 1))
                acknowledged += 1
        except Crashed:
            made.crash()
    assert acknowledged > 12


def test_a_log_that_starts_again_after_a_failed_sync_does_not_take_the_page_cache_for_the_disk() -> None:
    """The kernel counts pages whose sync failed as clean: they can be read, and are nowhere else."""
    for seed in range(20):
        made = disk(seed)
        wal = Wal(Path("/raft"), KEY, disk=made, segment_bytes=SEGMENT_BYTES)
        wal.append(entry(1))
        made.fail_syncs = True
        with pytest.raises(StorageFault):
            wal.append(entry(2))
        made.fail_syncs = False
        made.kill()
        found = len(Wal(Path("/raft"), KEY, disk=made, segment_bytes=SEGMENT_BYTES).recovered.entries)
        made.crash()
        assert len(Wal(Path("/raft"), KEY, disk=made, segment_bytes=SEGMENT_BYTES).recovered.entries) >= found


def test_a_flipped_bit_is_refused_or_does_no_harm() -> None:
    refused = 0
    for seed in range(40):
        made = disk(seed)
        wal = Wal(Path("/raft"), KEY, disk=made, segment_bytes=SEGMENT_BYTES)
        for index in range(1, 9):
            wal.append(entry(index))
        made.kill()
        assert made.flip_bit()
        try:
            assert len(Wal(Path("/raft"), KEY, disk=made, segment_bytes=SEGMENT_BYTES).recovered.entries) == 8
        except Damaged:
            refused += 1
    assert refused > 20
