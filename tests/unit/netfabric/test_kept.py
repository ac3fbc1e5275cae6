"""What is kept of namespaces is closed when its time has come; files stand for namespaces."""

from __future__ import annotations

import os
from pathlib import Path

from netfabric.netlink.kept import Kept


class Opened:
    def __init__(self, descriptor: int) -> None:
        self.inode = os.fstat(descriptor).st_ino
        self.closed = False

    def close(self) -> None:
        self.closed = True


def opened(kept: Kept[Opened], name: str, path: Path) -> Opened:
    path.touch()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return kept.of(name, descriptor)
    finally:
        os.close(descriptor)


def test_the_same_namespace_gets_the_same_one(tmp_path: Path) -> None:
    kept = Kept(Opened, 2)
    one = opened(kept, "a", tmp_path / "a")
    assert opened(kept, "a", tmp_path / "a") is one
    kept.close()
    assert one.closed


def test_a_name_that_means_another_namespace_gets_another_one(tmp_path: Path) -> None:
    kept = Kept(Opened, 2)
    one = opened(kept, "a", tmp_path / "a")
    other = opened(kept, "a", tmp_path / "b")
    assert one.closed
    assert other.inode != one.inode
    kept.close()


def test_the_one_that_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    kept = Kept(Opened, 2)
    first, second = opened(kept, "a", tmp_path / "a"), opened(kept, "b", tmp_path / "b")
    opened(kept, "a", tmp_path / "a")
    opened(kept, "c", tmp_path / "c")
    assert (first.closed, second.closed) == (False, True)
    kept.drop("nobody")
    kept.close()
    assert first.closed
