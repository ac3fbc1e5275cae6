"""The whole command line beside that of docker's client 28.2: each of its commands, flags, letters and aliases is here; what is left out says so.

`tests/client/command_tree.json` was made by walking `docker … --help`; build, buildx, builder, checkpoint, manifest, plugin and trust are not in it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.failures import CliFailure
from cli.flags import read
from cli.root import LEFT_OUT, tree
from cli.usage import Command, Group

DOCKERS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "client" / "command_tree.json").read_text())


def found(path: str) -> Command | Group:
    at: Command | Group | None = tree()
    for word in path.split():
        assert isinstance(at, Group), f"{path}: {word} is below no group"
        at = at.find(word)
        assert at is not None, f"there is no {path}"
    assert at is not None
    return at


@pytest.mark.parametrize("path", DOCKERS)
def test_each_command_of_dockers_is_here_with_its_flags(path: str) -> None:
    here = found(path)
    names = {name: flag.names for flag in here.flags for name in flag.names}
    wanted = {flag: letter for flag, letter in DOCKERS[path]["flags"].items() if flag != "--help"}
    assert [flag for flag in wanted if flag not in names] == []
    assert [flag for flag, letter in wanted.items() if letter and letter not in names[flag]] == []
    for alias in DOCKERS[path]["aliases"]:
        assert type(found(alias)) is type(here)


def every(group: Group, path: str = "") -> Iterator[tuple[str, Command | Group]]:
    for name in group.names:
        one = group.find(name)
        assert one is not None
        yield f"{path}{name}", one
        if isinstance(one, Group):
            yield from every(one, f"{path}{name} ")


def test_help_of_what_docker_has_not_shows_examples_that_are_read_as_meant() -> None:
    ours = {path: one for path, one in every(tree()) if path not in DOCKERS and path != "system dial-stdio"}
    assert {path.split()[0] for path in ours} >= {"lab", "why", "plan", "network", "raft", "sim", "service"}
    for path, one in ours.items():
        shown = one.help_of(f"festoon {path}").partition("\nExamples:\n")[2].partition("\n\n")[0].splitlines()
        lines = [line.strip() for line in shown if not line.startswith("  # ")]
        assert lines, f"the help of {path} shows no example"
        for line in lines:
            words = shlex.split(line.partition(" | ")[0])
            assert words[: 1 + len(path.split())] == ["festoon", *path.split()]
            assert is_read(one, words[1 + len(path.split()) :]), line


def is_read(at: Command | Group | None, words: list[str]) -> bool:
    while isinstance(at, Group):
        name, *words = words
        at = at.find(name)
    if at is not None:
        read(at.flags, words, interspersed=at.interspersed)  # raises for a flag that is not there
    return at is not None


def test_the_list_is_whole() -> None:
    assert len(DOCKERS) > 150
    assert sum(len(one["flags"]) for one in DOCKERS.values()) > 900


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_says_so_in_one_sentence(name: str) -> None:
    with pytest.raises(CliFailure) as caught:
        tree().invoke("festoon", [name, "x"], None)
    assert caught.value.message.startswith(f"festoon {name}: Festoon ")
    assert caught.value.message.count("\n") == 0
    assert caught.value.status == 1


@pytest.mark.parametrize(
    ("words", "proposed"), [(["rnu"], "festoon run"), (["servce"], "festoon service"), (["service", "crate"], "festoon service create"), (["qqqqq"], "")]
)
def test_a_mistyped_command_is_told_the_nearest_one_after_dockers_words(words: list[str], proposed: str) -> None:
    with pytest.raises(CliFailure) as caught:
        tree().invoke("festoon", words, None)
    lines = caught.value.message.splitlines()
    assert lines[0] == f"festoon: unknown command: festoon {' '.join(words)}"
    assert (lines[-1] == f"Did you mean '{proposed}'?") is bool(proposed)
