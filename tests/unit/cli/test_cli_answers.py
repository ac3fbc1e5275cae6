"""The command line beside docker's client 28.2 on the same answers: status, both streams, and what each sends.

command_answers.json is what the real client said and sent where ours once differed (inputs after docker/cli's own tests); `@CWD@` stands for the working
folder, and of a body nothing is kept that says nothing (null, empty, zero, false).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from cluster.wire.http import Response

RECORDED: Final[dict[str, Any]] = json.loads(Path(__file__).with_name("command_answers.json").read_text())
SAYS_NOTHING: Final = {"MemorySwappiness": -1, "ConsoleSize": [0, 0]}


def meant(value: Any) -> Any:
    """Without what says nothing."""
    if isinstance(value, dict):
        kept = {key: meant(item) for key, item in value.items() if SAYS_NOTHING.get(key) != item}
        return {key: item for key, item in kept.items() if item not in (None, {}, [], "", 0, False)}
    return [meant(item) for item in value] if isinstance(value, list) else value


def as_dockers(text: str) -> str:
    """Under its name, and without our proposals."""
    return re.sub(r"\n\nDid you mean [^\n]*\n", "\n", text).replace("festoon", "docker").replace("Festoon", "Docker")


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: " ".join(case["words"])[:80])
def test_a_command_says_and_sends_what_dockers_does(
    case: dict[str, Any], festoon: Callable[..., Any], engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", f"{tmp_path}/home")
    for name, text in case.get("files", {}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for number in case.get("answers", ()):
        key, answer = RECORDED["answers"][number]
        method, _, path = key.partition(" ")
        engine.answers[method, path] = Response(204) if answer is None else answer
    said = festoon(*case["words"])
    here = json.loads(json.dumps(case).replace("@CWD@", str(tmp_path)))
    assert (said.status, as_dockers(said.out), as_dockers(said.err)) == (here["status"], here["out"], here["err"])
    sent = [[method, target.partition("?")[0], meant(json.loads(body or b"null"))] for method, target, body in engine.seen if method != "GET"]
    assert sent == here.get("posted", [])


@pytest.mark.parametrize(("answer", "said"), RECORDED["info"])
def test_info_says_of_a_server_what_dockers_does(answer: dict[str, Any], said: str, festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["GET", "/info"] = answer
    assert festoon("info").out.partition("Server:\n")[2] == said
