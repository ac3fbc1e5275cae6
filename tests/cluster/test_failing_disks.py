"""A leader whose disk fails or is full under it: it acknowledges nothing that is lost, another one leads, and `info` says what it is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster.wire.http_client import HttpClient
from lab.machines import socket_of
from tests.cluster.test_managers import MANAGERS, all_well, leader_of, pids, send, services
from tests.cluster.writing import Writer
from tests.driver import OCTET, OWN_SUBNET, Lab, until
from tests.labs import standing

CREATED = 201
LARGE_BYTES = 900_000
MOST_LARGE = 60  # more than fill a segment of the log, and the room that is left for others
SMALL = "/var/lib/festoon/small"


@pytest.fixture(scope="module")
def three() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces, cgroups and mounts are made")
    with standing(f"disk{OCTET}", "--swarm", "--nodes", "3", "--managers", "3", "--subnet", f"{OWN_SUBNET}.0/24", timeout_s=120) as lab:
        assert all_well(lab)
        yield lab


@contextmanager
def failing_to_sync(pid: int) -> Iterator[None]:
    """Every fdatasync of the process says EIO, as of a disk that is broken."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace, which makes system calls fail")
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO", "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        try:
            yield
        finally:
            strace.terminate()


def test_a_leader_whose_disk_says_eio_is_followed_and_nothing_acknowledged_is_lost(three: Lab) -> None:
    leader = leader_of(three)
    other = next(node for node in MANAGERS if node != leader)
    (pid,) = pids(three, leader, "manager")
    with Writer(three, MANAGERS, "eio") as writer:
        assert writer.goes_on()
        with failing_to_sync(pid):
            assert until(lambda: leader_of(three, other) not in ("", leader)), "it went on with a disk that fails"
        assert until(lambda: pid not in pids(three, leader, "manager"))
        assert writer.goes_on()
    assert all_well(three, other)
    said = three.on(leader, "festoon", "info")
    assert "this node's manager ended and was started anew" in said.stdout + said.stderr
    assert "fdatasync" in said.stdout + said.stderr
    for node in MANAGERS:
        assert set(writer.acknowledged) <= services(three, node)


def test_a_leader_whose_disk_is_full_gives_the_lead_to_one_that_has_room(three: Lab) -> None:
    for node in MANAGERS:
        _onto_a_small_disk(three, node)
    leader = leader_of(three)
    other = next(node for node in MANAGERS if node != leader)
    with Writer(three, (other,), "full") as writer:
        assert writer.goes_on()
        three.on(leader, "dd", "if=/dev/zero", f"of={SMALL}/ballast", "bs=64k")  # until there is no room
        assert any(_large_config(three, other, number) == "" and leader_of(three, other) != leader for number in range(MOST_LARGE))
        assert writer.goes_on()
        more = iter(range(MOST_LARGE, 2 * MOST_LARGE))
        assert until(lambda: _large_config(three, other, next(more)) is not None and "no space left on device" in three.on(leader, "festoon", "info").stdout)
        assert writer.goes_on()
    three.ok(leader, "rm", f"{SMALL}/ballast")
    assert all_well(three, other)
    for node in MANAGERS:
        assert set(writer.acknowledged) <= services(three, node)


def _onto_a_small_disk(lab: Lab, node: str) -> None:
    """The manager's log goes on in a file system of its own, while the node process stands still."""
    send(lab, node, signal.SIGSTOP, "node")
    try:
        send(lab, node, signal.SIGKILL)
        lab.ok(node, "sh", "-c", f"mkdir {SMALL} && mount -t tmpfs -o size=128m none {SMALL} && cp -a /var/lib/festoon/raft/. {SMALL} && "
               f"mount --bind {SMALL} /var/lib/festoon/raft")  # fmt: skip
    finally:
        send(lab, node, signal.SIGCONT, "node")
    assert all_well(lab, node)


def _large_config(lab: Lab, node: str, number: int) -> str:
    """Make one; empty where it was acknowledged, else why not."""
    body = json.dumps({"Name": f"large{number}", "Data": "A" * LARGE_BYTES}).encode()
    answer = HttpClient(socket_of(lab.name, node)).request("POST", "/configs/create", body=body, headers=(("Content-Type", "application/json"),))
    return "" if answer.status == CREATED else answer.body.decode()
