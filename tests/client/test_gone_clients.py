"""Clients that disappear in the middle of a stream: what they held is free at once, also where the container says nothing by which it would be found out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.driver import MANAGER, WORKER1, Lab, until

MANY = 40
"""Twice that is more than may be attached to a container at once (runtime/supervisor/output.py)."""

ATTACH = r"""
import socket, sys
attached = []
for _ in range(int(sys.argv[2])):
    s = socket.socket(socket.AF_UNIX)
    s.connect("/run/festoon/festoon.sock")
    target = f"/containers/{sys.argv[1]}/attach?stream=1&stdin=1&stdout=1&stderr=1"
    s.sendall(f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode())
    assert s.recv(4096).split(b" ")[1] == b"101"
    s.shutdown(socket.SHUT_WR)
    attached.append(s)
"""


@pytest.fixture
def quiet(lab: Lab) -> Iterator[str]:
    lab.ok(MANAGER, "festoon", "run", "-d", "-i", "--name", "quiet", "busybox", "sleep", "100000")
    try:
        yield "quiet"
    finally:
        lab.on(MANAGER, "festoon", "rm", "-f", "quiet")


def test_who_was_attached_and_has_gone_takes_no_place(lab: Lab, quiet: str) -> None:
    lab.ok(MANAGER, "python3", "-c", ATTACH, quiet, str(MANY))
    assert until(lambda: lab.on(MANAGER, "python3", "-c", ATTACH, quiet, str(MANY)).returncode == 0)


STARTED = r"""
import json, socket, sys
def asked(target, body):
    s = socket.socket(socket.AF_UNIX)
    s.connect("/run/festoon/festoon.sock")
    data = json.dumps(body).encode()
    s.sendall(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    return s
created = asked(f"/containers/{sys.argv[1]}/exec", {"Cmd": ["sh", "-c", sys.argv[2]], "AttachStdout": True})
identifier = json.loads(created.recv(65536).partition(b"\r\n\r\n")[2])["Id"]
asked(f"/exec/{identifier}/start", {}).close()
"""


def test_who_goes_before_the_answer_has_started_a_program_that_may_go_on_writing(lab: Lab, quiet: str) -> None:
    script = "for number in 1 2 3 4 5; do echo $number; sleep 0.1; done; touch /written"
    lab.ok(MANAGER, "python3", "-c", STARTED, quiet, script)
    assert until(lambda: lab.on(MANAGER, "festoon", "exec", quiet, "test", "-e", "/written").returncode == 0)


def readers(log: str) -> int:
    """Descriptors of this machine's processes that stand for the file."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            found += sum(os.readlink(folder / name).endswith(log) for name in os.listdir(folder))
        except OSError:
            continue  # it has ended
    return found


def test_followers_of_a_services_logs_that_have_gone_hold_no_file_on_the_nodes(lab: Lab) -> None:
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "silent", "--constraint", f"node.hostname=={WORKER1}", "busybox", "sleep", "100000")
    try:
        assert until(lambda: lab.running("festoon", "silent"))
        log = f"/containers/{lab.ok(WORKER1, 'festoon', 'ps', '-q', '--no-trunc', '--filter', 'name=silent').strip()}/log"
        before = readers(log)
        lab.ok(MANAGER, "sh", "-c", "for i in 1 2 3 4 5; do timeout 1 festoon service logs -f silent & done; wait; true")
        assert until(lambda: readers(log) == before), (before, readers(log))
    finally:
        lab.on(MANAGER, "festoon", "service", "rm", "silent")
