"""The node's range of ids: asked for, looked up, chosen once; and which containers get it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from agent.records import HostConfig
from agent.user_namespaces import COUNT, choose, load
from cluster.model.errors import InvalidArgument
from runtime.spec import IdRange


def tables(etc: Path, uids: str, gids: str) -> Path:
    (etc / "subuid").write_text(uids)
    (etc / "subgid").write_text(gids)
    return etc


def test_who_gets_one() -> None:
    off, default = load_with(""), load_with("300000:1000")
    modes = ("", "host", "remap")
    assert [default.ids(HostConfig(userns_mode=mode)) for mode in modes] == [IdRange(300000, 1000), None, IdRange(300000, 1000)]
    assert [off.ids(HostConfig(userns_mode=mode)) is not None for mode in modes] == [False, False, True]


def load_with(setting: str, folder: Path = Path("/nonexistent")):  # type: ignore[no-untyped-def]
    import tempfile

    with tempfile.TemporaryDirectory() as root:
        return load(Path(root), setting, folder)


def test_a_users_ranges_and_those_of_dockremap(tmp_path: Path) -> None:
    etc = tables(tmp_path, "me:100000:65536\nother:1:2\ndockremap:200000:65536\n", "me:100000:65536\nother:5:2\ndockremap:200000:65536\n")
    assert load_with("me", etc).ids(HostConfig()) == IdRange(100000, 65536)
    assert load_with("default", etc).ids(HostConfig()) == IdRange(200000, 65536)
    for setting, words in (
        ("nobody", "no subuid ranges found for user 'nobody'"), ("other", "other ranges in /etc/subgid"), ("0:5", "is no range"),
        ("4294967290:10", "is no range"), ("x:y", "no subuid ranges found for user 'x'"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument, match=words):
            load_with(setting, etc)


def test_a_node_keeps_what_it_chose(tmp_path: Path) -> None:
    first = load(tmp_path, "default", tmp_path).ids(HostConfig())
    assert first is not None
    assert load(tmp_path, "default", tmp_path).ids(HostConfig()) == first
    (tmp_path / "subids").write_text("half a reco")
    assert load(tmp_path, "default", tmp_path).ids(HostConfig()) not in (None, IdRange(0, 0))


def test_the_choice_is_nobody_elses() -> None:
    taken = [(1 << 20, (1 << 31) - (1 << 20) - COUNT)]
    assert choose(taken, random.Random(1)).base == (1 << 31) - COUNT
