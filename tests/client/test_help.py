"""Each help page beside the one of docker's own client: the same usage line, words, aliases, and of each flag the letter, type, words and default.

What Festoon has beyond it may be there too. Not compared: the first page, and `completion`, whose scripts are ours.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.driver import FESTOON

PAGES: Final[list[str]] = [path for path in json.loads((Path(__file__).parent / "command_tree.json").read_text()) if path and not path.startswith("completion")]
SLIPS: Final = {("container create", "--pull"), ("create", "--pull")}
"""Docker's help names `|missing`."""

FLAG = re.compile(r"^  (?:-(?P<letter>.), |    )(?P<name>--\S+)(?P<rest>.*)$")


def page(program: str | Path, path: str) -> str:
    said = subprocess.run([program, *path.split(), "--help"], capture_output=True, text=True, check=True, timeout=60)
    assert said.stderr == ""
    return said.stdout


def parts(text: str) -> tuple[list[str], dict[str, str]]:
    """The lines before the options, and each option with its text in one line."""
    head, _, options = text.partition("\nOptions:\n")
    flags: dict[str, str] = {}
    name = ""
    for line in options.partition("\n\n")[0].splitlines():
        found = FLAG.match(line)
        if found is not None:
            name = found["name"]
            flags[name] = f"{found['letter'] or ''} {found['rest']}"
        else:
            flags[name] += " " + line.strip()
    return head.splitlines(), {name: " ".join(text.split()) for name, text in flags.items()}


@pytest.mark.parametrize("path", PAGES)
def test_a_help_page_reads_as_dockers(path: str) -> None:
    dockers, ours = parts(page("docker", path)), parts(page(FESTOON, path).replace("festoon", "docker").replace("Festoon", "Docker"))
    missing = [line for line in dockers[0] if line not in ours[0] and not line.startswith("  build  ")]
    assert missing == []
    assert ours[0][:4] == dockers[0][:4]
    slips = {flag for where, flag in SLIPS if where == path}
    assert {flag: ours[1].get(flag) for flag in dockers[1] if flag not in slips} == {flag: text for flag, text in dockers[1].items() if flag not in slips}


def test_the_first_page_has_dockers_sections() -> None:
    def sections(text: str) -> dict[str, Any]:
        return dict(re.findall(r"^(\w[\w ]*):\n((?:  .*\n)+)", text, re.MULTILINE))

    dockers, ours = sections(page("docker", "")), sections(page(FESTOON, ""))
    for title in ("Common Commands", "Management Commands", "Swarm Commands", "Commands"):
        left_out = ("build", "builder", "checkpoint", "manifest", "plugin", "trust")
        wanted = [line.split()[0] for line in dockers[title].splitlines() if line.split()[0] not in left_out]
        assert [line.split()[0] for line in ours[title].splitlines() if line.split()[0] != "completion"] == wanted
    assert "lab" in ours["Beyond Docker"]
