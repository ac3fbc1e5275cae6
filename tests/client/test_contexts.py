"""Contexts by our command line and by the real client: the same words, and files that each reads of the other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.driver import FESTOON

pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="needs the docker client on the PATH")
STEPS = """
context ls
context show
context create aa --docker host=unix:///x.sock --description words
context create aa
context create bb --from aa
context create default
context create a/b
context create cc --docker foo=bar
context create cc --docker host=tcp://h:1,ca=/nosuch
context create
context ls
context ls -q
context ls --format json
context inspect aa nosuch
context use nosuch
context use aa
context show
context rm aa
context rm nosuch
context rm default
context update bb --description other
context update nosuch
context export bb bb.tar
context export bb bb.tar
context import dd bb.tar
context import dd bb.tar
context inspect dd --format {{.Name}}
DOCKER_HOST=unix:///y context ls
DOCKER_HOST=unix:///y context ls -q
DOCKER_HOST=unix:///y context inspect
-H unix:///x context ls
-H unix:///x context show
-H unix:///x context inspect
DOCKER_CONTEXT=nosuch context ls
DOCKER_CONTEXT=nosuch run busybox
context rm -f aa
context rm bb dd
context ls
-c nosuch ps
"""


def run(program: str, words: list[str], home: Path) -> tuple[int, str, str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "FESTOON_"))} | {"HOME": str(home)}
    if words[0].startswith("DOCKER_"):
        name, _, environment_value = words[0].partition("=")
        environment, words = environment | {name: environment_value}, words[1:]
    done = subprocess.run([program, *words], capture_output=True, text=True, cwd=home, env=environment, check=False, stdin=subprocess.DEVNULL)
    texts = [text.replace(str(home), "HOME").replace("festoon", "docker") for text in (done.stdout, done.stderr)]
    texts = [re.sub(r"unix:///(?:var/run/docker|run/docker/docker)\.sock", "SOCKET", text) for text in texts]
    out, err = (re.sub(r"[ \t]+", " ", text) for text in texts)
    return done.returncode, out, err


def test_each_step_says_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for step in STEPS.strip().splitlines():
        theirs, ours = (run(program, step.split(), tmp_path / name) for program, name in (("docker", "a"), (FESTOON, "b")))
        assert ours == theirs, step


def test_each_program_reads_the_others_contexts(tmp_path: Path) -> None:
    assert run(FESTOON, ["context", "create", "ours", "--docker", "host=tcp://h:2375"], tmp_path)[0] == 0
    assert run("docker", ["context", "create", "theirs", "--docker", "host=tcp://h:2376"], tmp_path)[0] == 0
    assert run("docker", ["context", "use", "ours"], tmp_path)[0] == 0
    assert run(FESTOON, ["context", "show"], tmp_path)[1] == "ours\n"
    for program in ("docker", FESTOON):
        assert run(program, ["context", "ls", "-q"], tmp_path)[1] == "default\nours\ntheirs\n"
        assert run(program, ["context", "export", "ours", f"{Path(program).name}.tar"], tmp_path)[0] == 0
    assert run("docker", ["context", "import", "of-ours", "festoon.tar"], tmp_path)[0] == 0
    assert run(FESTOON, ["context", "import", "of-theirs", "docker.tar"], tmp_path)[0] == 0
    for name in ("of-ours", "of-theirs"):
        assert run(FESTOON, ["context", "inspect", name, "--format", "{{.Endpoints.docker.Host}}"], tmp_path)[1] == "tcp://h:2375\n"
