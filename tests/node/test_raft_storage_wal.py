"""The raft directory on a real disk: what survives, what is refused, what happens when there is no room."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.identity import seal
from manager.raft.log import Entry
from manager.raft.membership import of_voters
from manager.raft_storage import directory, frames, key, snapshots
from manager.raft_storage.faults import Damaged, InUse, StorageFault
from manager.raft_storage.frames import HEADER_BYTES
from manager.raft_storage.records import Record
from manager.raft_storage.snapshots import Snapshot
from manager.raft_storage.wal import Wal

KEY = bytes(range(32))


def record(*indexes: int, term: int = 1, size: int = 20) -> Record:
    return Record(term, 1, 0, tuple(Entry(index, term, b"%d" % index + bytes(size)) for index in indexes))


def indexes(log: Wal) -> list[int]:
    return [entry.index for entry in log.recovered.entries]


def segments(path: Path) -> list[Path]:
    return sorted(path.glob("log-*"))


def written(path: Path, count: int) -> Path:
    """A log of `count` records of one entry, left as a killed process leaves it; its one segment."""
    log = Wal(path, KEY)
    for index in range(1, count + 1):
        log.append(record(index))
    os.close(log._descriptor)
    return segments(path)[0]


def without_last_frame(data: bytes) -> bytes:
    """The same segment, ended one whole frame earlier."""
    header = frames.decode_header(data)
    assert header is not None
    scan = frames.scan(data[:-8], header, seal.Sealer(KEY, header.salt))
    return data[: scan.end]


def test_what_was_appended_is_there_after_a_kill_and_after_a_close(tmp_path: Path) -> None:
    written(tmp_path, 5)
    log = Wal(tmp_path, KEY)
    assert indexes(log) == [1, 2, 3, 4, 5]
    log.append(Record(7, 3, 4, ()))
    log.append(record(6, term=7))
    log.close()
    log = Wal(tmp_path, KEY)
    assert indexes(log) == [1, 2, 3, 4, 5, 6]
    assert log.recovered[:3] == (7, 1, 0)
    log.close()
    assert sum(path.stat().st_size for path in segments(tmp_path)) < 8192


def test_an_entry_replaces_the_one_at_its_index_and_all_behind_it(tmp_path: Path) -> None:
    written(tmp_path, 5)
    log = Wal(tmp_path, KEY)
    log.append(record(3, term=2))
    log.close()
    log = Wal(tmp_path, KEY)
    assert [(entry.index, entry.term) for entry in log.recovered.entries] == [(1, 1), (2, 1), (3, 2)]
    log.close()


def test_an_unfinished_last_write_is_cut_off(tmp_path: Path) -> None:
    segment = written(tmp_path, 3)
    used = len(segment.read_bytes().rstrip(b"\0"))
    with segment.open("r+b") as file:
        file.seek(used - 10)
        file.write(bytes(10) + os.urandom(3000))
    for _ in range(2):
        log = Wal(tmp_path, KEY)
        assert indexes(log) == [1, 2]
        log.close()


def test_damage_in_the_middle_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    segment = written(tmp_path, 4)
    data = bytearray(segment.read_bytes())
    data[HEADER_BYTES + 150] ^= 1
    segment.write_bytes(data)
    with pytest.raises(Damaged, match="backup") as raised:
        Wal(tmp_path, KEY)
    assert str(tmp_path) in str(raised.value)
    assert segment.name in str(raised.value)
    assert segment.read_bytes() == bytes(data)
    assert segments(tmp_path) == [segment]


def test_a_damaged_end_of_a_segment_that_has_a_successor_is_refused(tmp_path: Path) -> None:
    first = written(tmp_path, 3)
    Wal(tmp_path, KEY).close()
    data = bytearray(first.read_bytes())
    data[-20] ^= 1
    first.write_bytes(data)
    with pytest.raises(Damaged):
        Wal(tmp_path, KEY)
    first.write_bytes(without_last_frame(bytes(data)))
    with pytest.raises(Damaged, match="does not continue"):
        Wal(tmp_path, KEY)


def test_a_missing_segment_and_a_foreign_key_are_refused(tmp_path: Path) -> None:
    written(tmp_path, 3)
    for _ in range(2):
        Wal(tmp_path, KEY).close()
    with pytest.raises(Damaged):
        Wal(tmp_path, bytes(32))
    segments(tmp_path)[1].unlink()
    with pytest.raises(Damaged, match="does not continue"):
        Wal(tmp_path, KEY)


def test_segments_follow_each_other_and_old_ones_go_without_the_vote(tmp_path: Path) -> None:
    log = Wal(tmp_path, KEY, segment_bytes=256 * 1024)
    log.append(Record(9, 2, 0, ()))
    for index in range(1, 31):
        log.append(Record(9, 2, 0, record(index, size=30_000).entries))
    assert len(segments(tmp_path)) >= 4
    log.release(20)
    os.close(log._descriptor)
    log = Wal(tmp_path, KEY)
    assert indexes(log)[-1] == 30
    assert 13 <= indexes(log)[0] <= 21
    log.release(30)
    log.close()
    log = Wal(tmp_path, KEY)
    assert (log.recovered.term, log.recovered.vote) == (9, 2)
    assert len(segments(tmp_path)) == 2
    log.close()


def test_no_two_openings_use_the_same_salt(tmp_path: Path) -> None:
    for _ in range(4):
        Wal(tmp_path, KEY).close()
    salts = {path.read_bytes()[20:52] for path in segments(tmp_path)}
    assert len(salts) == 4


def test_what_is_on_disk_is_sealed_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "raft"
    with directory.locked(path):
        data_key = key.open_keys(path).current
        log = Wal(path, data_key)
        log.append(Record(1, 1, 0, (Entry(1, 1, b"a secret that nobody reads"),)))
        log.close()
        snapshots.save(path, data_key, Snapshot(1, 1, b"a secret that nobody reads" * 10))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for file in path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert b"secret" not in file.read_bytes()
        assert data_key not in file.read_bytes()


def test_a_write_that_fails_is_fatal(tmp_path: Path) -> None:
    """The descriptor is replaced by one that the kernel refuses to write to."""
    log = Wal(tmp_path, KEY)
    read_only = os.open("/dev/null", os.O_RDONLY)
    os.dup2(read_only, log._descriptor)
    os.close(read_only)
    with pytest.raises(StorageFault, match=r"pwrite .*log-0000000000000001: .*EBADF"):
        log.append(record(1))
    log.close()


def test_a_sync_that_fails_is_fatal(tmp_path: Path) -> None:
    """/dev/zero takes all that is written and cannot be synced."""
    log = Wal(tmp_path, KEY)
    zero = os.open("/dev/zero", os.O_RDWR)
    os.dup2(zero, log._descriptor)
    os.close(zero)
    with pytest.raises(StorageFault, match=r"fdatasync .*EINVAL"):
        log.append(record(1))
    log.close()


NO_ROOM = """
import sys
from pathlib import Path
from manager.raft.log import Entry
from manager.raft_storage.faults import LogFull
from manager.raft_storage.records import Record
from manager.raft_storage.wal import Wal
path = Path(sys.argv[1])
(path / "ballast").write_bytes(bytes(18 << 20))
log = Wal(path, bytes(32))
index = 0
while True:
    record = Record(1, 1, 0, (Entry(index + 1, 1, bytes(1 << 20)),))
    try:
        log.reserve((1 << 20) + 4096)
    except LogFull as full:
        print(full)
        break
    log.append(record)
    index += 1
log.append(Record(2, 1, index))
assert not list(path.glob("*.tmp"))
log.close()
(path / "ballast").unlink()
again = Wal(path, bytes(32))
assert len(again.recovered.entries) == index > 10, (len(again.recovered.entries), index)
assert again.recovered.term == 2
again.release(index)
again.reserve((1 << 20) + 4096)
again.append(Record(2, 1, 0, (Entry(index + 1, 2, bytes(1 << 20)),)))
again.close()
print("went on")
"""


def test_without_room_for_a_segment_nothing_is_lost_and_it_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """On a file system of its own, in a mount namespace of its own. A vote can still be written."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mount = 'mount -t tmpfs -o size=54m none "$1" && exec "$2" -I -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, NO_ROOM],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, last = done.stdout.splitlines()
    assert said.startswith("the manager's log cannot be written: no space left on device; free some on the file")
    assert last == "went on"


def test_a_directory_has_one_user_at_a_time_and_unfinished_files_go(tmp_path: Path) -> None:
    path = tmp_path / "raft"
    with directory.locked(path):
        with pytest.raises(InUse, match="in use by another manager"), directory.locked(path):
            pass
        (path / "snapshot-0000000000000001.tmp").write_bytes(b"half")
    with directory.locked(path):
        assert [file.name for file in path.iterdir()] == ["lock"]


def test_a_data_key_is_made_once_and_never_for_a_log_that_lost_its_own(tmp_path: Path) -> None:
    first = key.open_keys(tmp_path).current
    assert key.open_keys(tmp_path).current == first
    assert len(first) == 32
    written(tmp_path, 1)
    (tmp_path / "key").write_bytes(b"nonsense")
    with pytest.raises(Damaged, match="key file cannot be read"):
        key.open_keys(tmp_path)
    (tmp_path / "key").unlink()
    with pytest.raises(Damaged, match="key file is missing"):
        key.open_keys(tmp_path)


def test_the_newest_snapshot_counts_and_older_ones_go(tmp_path: Path) -> None:
    assert snapshots.latest(tmp_path, KEY) is None
    big = os.urandom(snapshots.PIECE_BYTES * 2 + 77)
    for index, data in ((5, b"five"), (300, b""), (4000, big)):
        snapshot = Snapshot(index, 3, data, of_voters(1, 2).with_learner("three", "192.0.2.3:2377"))
        snapshots.save(tmp_path, KEY, snapshot, keep_old=1)
        assert snapshots.latest(tmp_path, KEY) == snapshot
    assert len(list(tmp_path.glob("snapshot-*"))) == 2


@pytest.mark.parametrize("harm", ["flip", "cut", "header", "swap"])
def test_a_damaged_snapshot_is_refused(tmp_path: Path, harm: str) -> None:
    snapshots.save(tmp_path, KEY, Snapshot(5, 3, os.urandom(snapshots.PIECE_BYTES * 2)))
    (path,) = tmp_path.glob("snapshot-*")
    data, piece = path.read_bytes(), snapshots.PIECE_BYTES + 16
    start = len(data) - 2 * piece
    harmed = {
        "flip": data[:-1] + bytes([data[-1] ^ 1]),
        "cut": data[: start + piece],
        "header": bytes(8) + data[8:],
        "swap": data[:start] + data[start + piece :] + data[start : start + piece],
    }
    path.write_bytes(harmed[harm])
    with pytest.raises(Damaged, match=path.name):
        snapshots.latest(tmp_path, KEY)
