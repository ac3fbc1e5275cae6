"""A lab driven from outside by commands, as a person would: what the tests of whole nodes share."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

FESTOON = str(Path(sys.executable).with_name("festoon"))
MANAGER, WORKER1, WORKER2 = "swarm-manager", "swarm-worker1", "swarm-worker2"


OCTETS = range(220, 254, 2)


def lock_path(octet: int) -> str:
    return f"/tmp/festoon-test-{octet}.lock"


def _claim_octet() -> tuple[int, int]:
    """An even third octet that no other run of the tests on this machine holds, and the descriptor that is the claim as long as it is open."""
    for octet in OCTETS:
        lock = os.open(lock_path(octet), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return octet, lock
    raise RuntimeError("seventeen runs of the tests are under way on this machine")


OCTET, CLAIM = _claim_octet()
SUBNET, OWN_SUBNET = f"192.168.{OCTET}", f"192.168.{OCTET + 1}"  # of the session's lab, and of the labs that a test makes for itself
ADDRESS = {MANAGER: f"{SUBNET}.10", WORKER1: f"{SUBNET}.11", WORKER2: f"{SUBNET}.12"}
T = TypeVar("T")


def client_home(folder: Path) -> Path:
    """A configuration for clients that keeps passwords in its file: one without any log-in takes the credential helper that this machine may have."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"auths": {"nobody.example": {}}}')
    return folder


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
        """The objects that a list prints as JSON, one a line (in the form that clients before 23.0 know as well)."""
        return [json.loads(line) for line in self.ok(node, program, *argv, "--format", "{{json .}}").splitlines() if line.startswith("{")]

    def running(self, program: str, service: str) -> list[dict[str, Any]]:
        rows = self.rows(MANAGER, program, "service", "ps", "--no-trunc", "--filter", "desired-state=running", service)
        return [r for r in rows if r["CurrentState"].startswith("Running")]
