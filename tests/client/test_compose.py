"""Compose on a node's socket: Debian's docker-compose, the first generation or the second, through a project of three services."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.driver import MANAGER, Lab

pytestmark = pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose: ./check installs Debian's")

PROJECT = """\
version: "3.8"
services:
  web:
    image: busybox
    command: sh -c "echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp"
    ports: ["8085:80"]
    networks: [front]
    depends_on: [db]
  db:
    image: busybox
    command: sh -c "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    volumes: ["data:/data"]
    networks: [front, back]
  worker:
    image: busybox
    command: sleep 1000
    networks: [back]
networks: {front: {}, back: {}}
volumes: {data: {}}
"""


@pytest.fixture
def compose(lab: Lab, tmp_path: Path) -> Iterator[Callable[..., str]]:
    (tmp_path / "docker-compose.yml").write_text(PROJECT)

    def run(*argv: str) -> str:
        return lab.ok(MANAGER, "docker-compose", "--ansi", "never", "-p", "three", "-f", str(tmp_path / "docker-compose.yml"), *argv)

    yield run
    lab.on(MANAGER, "docker-compose", "-p", "three", "-f", str(tmp_path / "docker-compose.yml"), "down", "-v", "-t", "0")


def names(lab: Lab) -> list[str]:
    listed = lab.ok(MANAGER, "festoon", "ps", "-a", "--filter", "label=com.docker.compose.project=three", "--format", "{{.Names}} {{.State}}")
    return sorted(line.replace("-", "_") for line in listed.splitlines())


def test_a_project_of_three_services_comes_up_is_scaled_looked_into_changed_and_goes(lab: Lab, compose: Callable[..., str], tmp_path: Path) -> None:
    compose("up", "-d")
    assert names(lab) == ["three_db_1 running", "three_web_1 running", "three_worker_1 running"]
    assert lab.ok(MANAGER, "wget", "-q", "-O-", "http://127.0.0.1:8085/") == "served\n"
    compose("up", "-d", "--scale", "worker=3")
    assert sum(name.startswith("three_worker_") for name in names(lab)) == 3
    assert "ready" in compose("logs", "db")
    assert compose("exec", "-T", "web", "wget", "-q", "-O-", "http://web/") == "served\n"
    assert "1 packets received" in compose("exec", "-T", "worker", "ping", "-c", "1", "db")
    assert "hi\n" in compose("run", "--rm", "-T", "worker", "echo", "hi")
    compose("restart", "-t", "0", "web")
    compose("stop", "-t", "5", "db")
    assert "three_db_1 exited" in names(lab)
    assert lab.ok(MANAGER, "festoon", "inspect", "-f", "{{.State.ExitCode}}", lab.ok(MANAGER, "festoon", "ps", "-aqf", "name=three.db").strip()) == "0\n"
    compose("start", "db")
    before = lab.ok(MANAGER, "festoon", "ps", "-aqf", "name=three_db")
    (tmp_path / "docker-compose.yml").write_text(PROJECT.replace("echo ready;", "echo changed;"))
    compose("up", "-d", "--no-deps", "db")
    assert lab.ok(MANAGER, "festoon", "ps", "-aqf", "name=three_db") != before
    assert "changed" in compose("logs", "db")
    compose("down", "-v", "-t", "0")
    assert names(lab) == []
    assert "three" not in lab.ok(MANAGER, "festoon", "network", "ls") + lab.ok(MANAGER, "festoon", "volume", "ls")
