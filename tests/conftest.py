"""What tests of whole nodes share: one lab per session, driven from outside by commands, as a person would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

FESTOON = str(Path(sys.executable).with_name("festoon"))
MANAGER, WORKER1, WORKER2 = "swarm-manager", "swarm-worker1", "swarm-worker2"
SUBNET = "192.168.220"
ADDRESS = {MANAGER: f"{SUBNET}.10", WORKER1: f"{SUBNET}.11", WORKER2: f"{SUBNET}.12"}
T = TypeVar("T")


def until(probe: Callable[[], T], seconds: float = 30) -> T:
    """The first true value of probe(), or its last value when the time is over (the caller asserts on it)."""
    end = time.monotonic() + seconds
    while True:
        value = probe()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.05)


class Lab:
    """A lab by its name. `program` is what plays docker on a node: festoon or the real client."""

    def __init__(self, name: str) -> None:
        self.name = name

    def festoon(self, *argv: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run([FESTOON, "lab", *argv, "--name", self.name], capture_output=True, text=True, timeout=timeout_s, check=False)

    def on(self, node: str, *argv: str, timeout_s: float = 60, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [FESTOON, "lab", "exec", "--name", self.name, node, "--", *argv]
        extra: dict[str, Any] = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, **extra)

    def ok(self, node: str, *argv: str, timeout_s: float = 60) -> str:
        """Standard output of a command that must succeed."""
        done = self.on(node, *argv, timeout_s=timeout_s)
        assert done.returncode == 0, f"{' '.join(argv)} on {node}: {done.stdout}{done.stderr}"
        return done.stdout

    def rows(self, node: str, program: str, *argv: str) -> list[dict[str, Any]]:
        """The objects that `--format json` prints, one a line."""
        return [json.loads(line) for line in self.ok(node, program, *argv, "--format", "json").splitlines() if line.startswith("{")]

    def running(self, program: str, service: str) -> list[dict[str, Any]]:
        rows = self.rows(MANAGER, program, "service", "ps", "--no-trunc", "--filter", "desired-state=running", service)
        return [r for r in rows if r["CurrentState"].startswith("Running")]


def _need(*programs: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces, cgroups and mounts are made")
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: ./check installs it")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three nodes in a swarm of their own subnet; taken down at the end, whatever happened."""
    _need("busybox", "nft", "ip")
    machine = Lab("test")
    machine.festoon("down")
    done = machine.festoon("up", "--swarm", "--subnet", f"{SUBNET}.0/24")
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        yield machine
    finally:
        down = machine.festoon("down")
        assert down.returncode == 0, down.stdout + down.stderr


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """Labs of a test's own: make_lab("name", "--nodes", "1"); taken down at the end."""
    _need("busybox", "nft", "ip")
    made: list[Lab] = []

    def make(name: str, *argv: str) -> Lab:
        machine = Lab(name)
        machine.festoon("down")
        made.append(machine)
        done = machine.festoon("up", "--subnet", "192.168.221.0/24", *argv)
        assert done.returncode == 0, done.stdout + done.stderr
        return machine

    try:
        yield make
    finally:
        for machine in made:
            machine.festoon("down")


@pytest.fixture(params=["festoon", "docker"])
def program(request: pytest.FixtureRequest) -> str:
    """Each walk is made twice: by festoon and by the real docker client."""
    if request.param == "docker" and shutil.which("docker") is None:
        pytest.skip("needs the docker client on the PATH")
    return str(request.param)
