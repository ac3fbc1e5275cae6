"""`festoon lab` as it is typed: misuse is said in the house's words with its exit status, and makes nothing."""

from __future__ import annotations

import pytest

from cli.root import run


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("bogus",), 1, "festoon: unknown command: festoon lab bogus"),
        (("up", "--bogus"), 125, "unknown flag: --bogus"),
        (("up", "--nodes", "x"), 125, 'invalid argument "x" for "--nodes" flag'),
        (("up", "--nodes"), 125, "flag needs an argument: --nodes"),
        (("up", "three"), 1, "'festoon lab up' accepts no arguments"),
        (("logs",), 1, "'festoon lab logs' requires 1 argument"),
        (("shell", "a", "b"), 1, "'festoon lab shell' requires 1 argument"),
    ],
)
def test_misuse_is_said_in_one_sentence(
    arguments: tuple[str, ...], status: int, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("festoon", ["lab", *arguments]) == status
    said = capfd.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


def test_no_number_stands_for_the_default(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert run("festoon", ["lab", "up", "--name", "no-such-lab", "--nodes", "0"]) == 1
    assert capfd.readouterr().err == "festoon lab: --nodes 0: a lab has 1 to 64\n"
