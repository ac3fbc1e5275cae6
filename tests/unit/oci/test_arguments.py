"""The command line as containerd, Docker and conmon write it."""

from __future__ import annotations

import pytest

from runtime.child.faults import Refused
from runtime.oci.arguments import parse


def test_as_containerds_shim_writes_it() -> None:
    line = parse(["--root", "/r", "--log", "/l", "--log-format", "json", "create", "--bundle", "/b", "--pid-file", "/p", "abc"])
    assert (line.settings["root"], line.command, line.text("bundle"), line.arguments) == ("/r", "create", "/b", ["abc"])


def test_the_options_end_at_the_container() -> None:
    line = parse(["exec", "-t", "-e", "A=1", "--env=B=2", "one", "sh", "-c", "-x"])
    assert (line.flag("tty"), line.lists["env"], line.arguments) == (True, ["A=1", "B=2"], ["one", "sh", "-c", "-x"])


def test_f_is_force_for_delete_and_format_for_list() -> None:
    assert parse(["delete", "-f", "one"]).flag("force")
    assert parse(["list", "-f", "json"]).text("format") == "json"


@pytest.mark.parametrize("argv", [["fly"], ["create", "--wings"], ["create", "--bundle"]])
def test_mistakes_are_refused(argv: list[str]) -> None:
    with pytest.raises(Refused):
        parse(argv)
