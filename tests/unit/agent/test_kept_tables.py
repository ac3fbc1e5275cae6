"""What a node was told last is there at its next start, however often it changed and whatever a power loss cut off."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agent import kept_tables
from agent.kept_tables import KeptTables
from agent.view import EMPTY_TABLES, ClusterTables, fold
from cluster.model.assignments import Item
from tests.unit.agent.test_view import HERE, NETWORK, THERE, WEB

TOLD: tuple[tuple[tuple[Item, ...], tuple[str, ...]], ...] = (
    ((NETWORK, HERE, WEB), ()),
    ((THERE,), ()),
    ((msgspec.structs.replace(WEB, backends=()),), (HERE.key,)),
    ((), (THERE.key, WEB.key)),
    ((), (NETWORK.key,)),
    ((NETWORK, THERE, WEB), ()),
)


def told(kept: KeptTables) -> list[ClusterTables]:
    """The tables after each message; each is kept."""
    found = [EMPTY_TABLES]
    for items, removals in TOLD:
        found.append(fold(found[-1], items, removals, complete=False))
        kept.save(found[-1])
        assert KeptTables(kept._path).load() == found[-1]
    return found


@pytest.mark.parametrize("least", [0, 64 * 1024])
def test_every_change_is_there_at_the_next_start(tmp_path: Path, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the list begins anew."""
    monkeypatch.setattr(kept_tables, "LEAST_BYTES", least)
    told(KeptTables(tmp_path / "node" / "tables"))


def test_the_file_does_not_grow_with_the_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_tables, "LEAST_BYTES", 1000)
    kept = KeptTables(tmp_path / "tables")
    for _ in range(50):
        told(kept)
    assert (tmp_path / "tables").stat().st_size < 3000


def test_what_is_cut_off_ends_the_list(tmp_path: Path) -> None:
    path = tmp_path / "tables"
    known = told(KeptTables(path))
    whole = path.read_bytes()
    lengths = []
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        lengths.append(known.index(KeptTables(path).load()))
    assert lengths[0] == 0
    assert sorted(set(lengths)) == [0, 1, 2, 3, 4, 6], "the fifth has nothing, as the beginning"


def test_what_is_no_list_is_nothing(tmp_path: Path) -> None:
    kept = KeptTables(tmp_path / "tables")
    assert kept.load() == EMPTY_TABLES
    for data in (b"\0", b"\xff" * 100, bytes(100), msgspec.msgpack.encode((NETWORK, HERE))):
        (tmp_path / "tables").write_bytes(data)
        assert kept.load() == EMPTY_TABLES
    kept.save(fold(EMPTY_TABLES, (NETWORK,), (), complete=True))
    assert NETWORK.network.id in kept.load().networks
    kept.forget()
    assert kept.load() == EMPTY_TABLES
