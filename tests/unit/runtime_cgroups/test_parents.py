"""The groups above the containers' groups go when they are empty, and only then."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from runtime.cgroups import v1
from runtime.cgroups.detect import Hierarchy, Layout
from runtime.cgroups.groups import Parents


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


def parents_below(own: Path) -> Parents:
    return Parents(Layout((Hierarchy(str(own.parent), str(own), ("pids",)),), None))


def test_empty_parents_go(own: Path) -> None:
    parents = parents_below(own)
    parents.find("", "one")
    parents.find("mine/deep", "two")
    assert (own / "mine/deep").is_dir()
    parents.remove_all()
    assert list(own.iterdir()) == []


def test_a_group_of_another_node_stays_although_it_is_empty(own: Path) -> None:
    parents = parents_below(own)
    parents.find("", "one")
    (own / "festoon/of-another-node").mkdir()
    parents.remove_all()
    assert (own / "festoon/of-another-node").is_dir()


def test_groups_above_our_own_are_not_touched(own: Path) -> None:
    parents = parents_below(own)
    parents.find("a", "one")
    parents.remove_all()
    assert own.is_dir()


@pytest.mark.parametrize("error", [errno.ENOENT, errno.ENODEV])
def test_parents_that_another_node_takes_away_meanwhile_are_made_again(own: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    really, lost = v1.make_parent, []

    def make(hierarchy: Hierarchy, parent: str) -> str:
        folder = really(hierarchy, parent)
        if len(lost) < 3:
            lost.append(folder)
            Path(folder).rmdir()
            raise OSError(error, "it was taken away")
        return folder

    monkeypatch.setattr(v1, "make_parent", make)
    assert parents_below(own).find("", "one").folders == (str(own / "festoon/one"),)
    assert len(lost) == 3
    assert (own / "festoon").is_dir()
