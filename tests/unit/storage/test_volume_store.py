"""Volumes on disk: made and removed by one rename, found again, swept after a kill."""

from __future__ import annotations

from pathlib import Path

from runtime.storage.volumes import Volume, VolumeStore


def test_a_volume_is_found_again_with_its_labels(tmp_path: Path) -> None:
    made = VolumeStore(tmp_path / "v").create(Volume(name="one", created_at_ns=5, labels=(("a", "b"),)))
    again = VolumeStore(tmp_path / "v")
    assert again.all() == (made,)
    assert again.data("one").is_dir()
    (again.data("one") / "f").write_bytes(b"123")
    (again.data("one") / "link").symlink_to("f")
    assert again.size_bytes("one") == 4


def test_a_second_creation_finds_the_first(tmp_path: Path) -> None:
    store = VolumeStore(tmp_path)
    first = store.create(Volume(name="one", created_at_ns=1))
    assert store.create(Volume(name="one", created_at_ns=2, labels=(("x", "y"),))) == first


def test_removal_leaves_nothing_and_may_be_repeated(tmp_path: Path) -> None:
    store = VolumeStore(tmp_path)
    store.create(Volume(name="one", created_at_ns=1))
    store.remove("one")
    store.remove("one")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".new-12" / "_data").mkdir(parents=True)
    (tmp_path / ".gone-34" / "_data").mkdir(parents=True)
    (tmp_path / "restored" / "_data").mkdir(parents=True)
    assert [v.name for v in VolumeStore(tmp_path).all()] == ["restored"]
    assert [p.name for p in tmp_path.iterdir()] == ["restored"]
