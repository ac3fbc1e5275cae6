"""The three streams as others left them: a full disk behind standard output, none at all, and words that are no UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest


def started(redirection: str) -> subprocess.CompletedProcess[str]:
    """`festoon --help` as the shell starts it."""
    return subprocess.run(["sh", "-c", f'exec "$0" -m cli --help {redirection}', sys.executable], capture_output=True, text=True, check=False, timeout=60)


def test_output_that_can_not_be_written_is_one_sentence_and_a_failure() -> None:
    done = started(">/dev/full")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "write /dev/stdout: no space left on device\n")


@pytest.mark.parametrize("redirection", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_not_missed(redirection: str) -> None:
    done = started(redirection)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (">&-" not in redirection or redirection == "2>&-")


def test_words_that_are_no_utf_8_are_sent_as_docker_sends_them(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["POST", "/volumes/create"] = {"Name": "v"}
    assert festoon("volume", "create", "--label", os.fsdecode(b"x=\xff\xfe\xc3\xbc")).status == 0
    assert json.loads(engine.seen[-1][2])["Labels"] == {"x": "\ufffd\ufffdü"}
