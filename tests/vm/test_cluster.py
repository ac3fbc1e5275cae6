"""`python -m vm cluster up|exec|ssh|down`: machines with festoond on a network of their own, and nothing of them afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vm.machine import missing

ROOT = Path(__file__).parents[2]
NAME = "test-cluster"
UP_TIMEOUT_S = 600

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"no guest: {', '.join(missing())} missing, and ./check could not install it"),
]


def vm(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vm", *argv]
    return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=UP_TIMEOUT_S, check=False)


def on(node: str, *argv: str) -> str:
    done = vm("exec", "--name", NAME, node, "--", *argv)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def keepers() -> set[str]:
    """Processes of clusters, by pid."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"vm.keeper" in line and NAME.encode() in line:
            found.add(entry.name)
    return found


def test_two_machines_make_a_swarm_and_go() -> None:
    assert vm("exec", "--name", NAME, "swarm-manager", "--", "true").returncode == 125
    up = vm("cluster", "up", "--nodes", "2", "--name", NAME)
    assert up.returncode == 0, up.stderr
    try:
        assert up.stdout.splitlines()[0].split() == ["swarm-manager", "192.168.200.10"]
        again = vm("cluster", "up", "--nodes", "2", "--name", NAME)
        assert (again.returncode, "there is a cluster test-cluster already" in again.stderr) == (125, True)
        assert vm("ssh", "--name", NAME, "swarm-worker1", "--", "hostname").stdout == "swarm-worker1\n"
        assert vm("exec", "--name", NAME, "swarm-worker9", "--", "true").stderr == "vm: no such machine: there are swarm-manager, swarm-worker1\n"
        on("swarm-manager", "festoon", "swarm", "init", "--advertise-addr", "192.168.200.10")
        token = on("swarm-manager", "festoon", "swarm", "join-token", "-q", "worker")
        on("swarm-worker1", "festoon", "swarm", "join", "--token", token, "192.168.200.10:2377")
        assert on("swarm-manager", "festoon", "node", "ls", "--format", "{{.Hostname}}").split() == ["swarm-manager", "swarm-worker1"]
        assert len(keepers()) == 1
    finally:
        down = vm("down", "--name", NAME)
    assert down.stdout == f"The cluster {NAME} is gone.\n"
    assert keepers() == set()
    assert vm("exec", "--name", NAME, "swarm-manager", "--", "true").returncode == 125
