"""Records survive interruptions: half-made folders go, a record whose data was lost gives way to the one before."""

from pathlib import Path

import msgspec

from agent.container_store import ETC_FILE_MAX_BYTES, ContainerStore
from agent.records import Config, HostConfig, Record, State


def record(name: str, number: int = 1) -> Record:
    return Record(
        id=f"{number:064x}", name=name, created_at_ns=number, image_id="sha256:1", path="sh", args=(),
        config=Config(image="i"), host=HostConfig(), state=State(),
    )  # fmt: skip


def opened(tmp_path: Path) -> ContainerStore:
    return ContainerStore(tmp_path / "containers", tmp_path / "run")


def test_records_come_back_oldest_first_in_their_last_form(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.create(record("second", 2))
    store.create(record("first", 1))
    for count in range(4):
        store.save(msgspec.structs.replace(record("second", 2), restart_count=count))
    assert [(r.name, r.restart_count) for r in opened(tmp_path).load()] == [("first", 0), ("second", 3)]
    assert len(list(store.folder(record("second", 2).id).glob("record.*"))) == 2


def test_a_record_without_data_gives_way_to_the_one_before(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.create(record("a"))
    store.save(msgspec.structs.replace(record("a"), restart_count=1))
    (store.folder(record("a").id) / "record.2.json").write_bytes(b"")
    again = opened(tmp_path)
    assert again.load()[0].restart_count == 0
    again.save(msgspec.structs.replace(record("a"), restart_count=7))
    assert opened(tmp_path).load()[0].restart_count == 7


def test_half_made_folders_are_removed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (store.folder("f" * 64) / "upper").mkdir(parents=True)
    assert store.load() == ()
    assert not store.folder("f" * 64).exists()


def test_removal_leaves_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.create(record("a"))
    store.write_files(record("a").id, {"hosts": "x"})
    store.remove(record("a").id)
    assert list((tmp_path / "containers").iterdir()) == list((tmp_path / "run").iterdir()) == []


def test_what_others_have_written_into_the_files_in_etc_stays_when_they_change(tmp_path: Path) -> None:
    store, box = opened(tmp_path), record("a").id
    hosts, resolv = store.files(box) / "hosts", store.files(box) / "resolv.conf"
    store.write_files(box, {"hosts": "127.0.0.1 localhost\n10.1.0.2 a\n", "resolv.conf": "nameserver 1.1.1.1\n"})
    with hosts.open("a") as file:
        file.write("7.7.7.7 mine\n")
    store.change_files(box, {"hosts": "127.0.0.1 localhost\n10.2.0.2 a\n", "resolv.conf": "nameserver 127.0.0.11\n"})
    assert hosts.read_text() == "127.0.0.1 localhost\n7.7.7.7 mine\n10.2.0.2 a\n"
    assert resolv.read_text() == "nameserver 127.0.0.11\n"
    resolv.write_text("nameserver 9.9.9.9\n")
    store.change_files(box, {"hosts": "127.0.0.1 localhost\n", "resolv.conf": "nameserver 1.1.1.1\n"})
    assert (hosts.read_text(), resolv.read_text()) == ("127.0.0.1 localhost\n7.7.7.7 mine\n", "nameserver 9.9.9.9\n")
    hosts.write_bytes(b"x" * ETC_FILE_MAX_BYTES)
    store.change_files(box, {"hosts": "127.0.0.1 localhost\n"})
    assert hosts.stat().st_size == ETC_FILE_MAX_BYTES
