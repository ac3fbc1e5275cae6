"""How soon a name is right everywhere after a change: on each of three nodes a container asks its resolver all the time, and the last of them counts.

The changes: a service is scaled down (from the request), a task is killed (from the signal), a task comes (from the moment that its container's start has been
noted), and a partition of 30 s in which tasks moved heals (from the moment that packets pass again). A sample's resolution is the pause between two
questions, PAUSE_S. For the tests of the same see tests/cluster/test_names.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote

from bench.engine import Engine
from bench.peers import FESTOON, LAB, SUBNET, members, run
from bench.report import Report

PAUSE_S = 0.01  # three that ask more often take much of two processors
LOOK_S = 0.1  # between two looks at what the managers know, which are work for a node that is measured; when a name came or went the resolvers say
PARTITION_S = 30
CHANGES = 10
PARTITIONS = 2
PATIENCE_S = 60.0
NODES = 3
ASKER = f"""
import socket, struct, sys, time
name = b"".join(bytes([len(part)]) + part for part in b"tasks.app".split(b".")) + b"\\0"
question = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); asking.connect(("127.0.0.11", 53)); asking.settimeout(5)
before = None
while True:
    asking.send(question)
    answer = asking.recv(4096)
    count = struct.unpack(">H", answer[6:8])[0]
    now = sorted(socket.inet_ntoa(answer[end - 4:end]) for end in range(len(question) + 16, len(question) + 16 * count + 1, 16))
    if now != before:
        print(time.time(), *now, flush=True)
        before = now
    time.sleep({PAUSE_S})
"""
CUT = "add table inet cut; table inet cut { chain in { type filter hook prerouting priority -400; policy drop; iifname != eth0 accept; }; }"


class Watch:
    """What the resolver of one node's container answers, as it changes."""

    def __init__(self, pid: int) -> None:
        argv = ["nsenter", "-t", str(pid), "-n", sys.executable, "-I", "-c", ASKER]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        self._buffer = b""
        self.answers: list[tuple[float, frozenset[str]]] = []

    def read(self) -> None:
        assert self.process.stdout is not None
        while select.select([self.process.stdout], [], [], 0)[0]:
            read = os.read(self.process.stdout.fileno(), 65536)
            assert read, "a resolver has not answered within 5 s"
            self._buffer += read
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            moment, *addresses = line.decode().split()
            self.answers.append((float(moment), frozenset(addresses)))

    def right_since(self, live: frozenset[str]) -> float | None:
        """Since when the answer has been these addresses; None while it is not."""
        self.read()
        return self.answers[-1][0] if self.answers and self.answers[-1][1] == live else None


def measure(report: Report, runs: int) -> None:
    run(FESTOON, "lab", "up", "--nodes", str(NODES), "--swarm", "--name", LAB, "--subnet", SUBNET)
    try:
        nodes = [(pid, Engine(f"/proc/{pid}/root/run/festoon/festoon.sock")) for pid in members(LAB) if b"-m\0agent" in _cmdline(pid)]
        nodes.sort(key=lambda node: not node[1].request("GET", "/info")["Swarm"]["ControlAvailable"])
        engines = [engine for _, engine in nodes]
        manager = engines[0]
        manager.request("POST", "/networks/create", {"Name": "names", "Driver": "overlay", "Attachable": True})
        manager.create_service("app", 6, ("names",))
        manager.wait_running("app", 6)
        with contextlib.ExitStack() as stack:
            watches = [stack.enter_context(_watching(_asker(engine))) for engine in engines]
            _right(watches, manager)
            for _ in range(runs * CHANGES):
                _changes(report, manager, engines, watches)
            for number in range(PARTITIONS * runs):
                cut, _ = nodes[1 + number % (NODES - 1)]
                report.add("names right on the last node after a partition of 30 s (ms)", "festoon", _partition(manager, cut, watches))
    finally:
        run(FESTOON, "lab", "down", "--name", LAB)


def _changes(report: Report, manager: Engine, engines: list[Engine], watches: list[Watch]) -> None:
    began = time.time()
    manager.scale("app", 4)
    _settled(manager, 4)
    report.add("service scaled down: from the request (ms)", "festoon", (_right(watches, manager) - began) * 1000)
    manager.scale("app", 6)
    _settled(manager, 6)
    right = _right(watches, manager)
    started = max(_started(engine) for engine in engines)
    report.add("a task has come: from its container's start (ms)", "festoon", (right - started) * 1000)
    victim, gone = next((task, address) for task, address in _running(manager) if _has(engines[-1], task))
    pid = engines[-1].request("GET", f"/containers/{victim}/json")["State"]["Pid"]
    began = time.time()
    os.kill(pid, signal.SIGKILL)
    report.add("a task is killed: from the signal (ms)", "festoon", (_without(watches, gone, began) - began) * 1000)
    _settled(manager, 6)
    _right(watches, manager)


def _partition(manager: Engine, node: int, watches: list[Watch]) -> float:
    """Milliseconds until all are right, the resolver of the cut-off node (the pid of its process) among them, after its tasks have moved."""
    run("nsenter", f"--net=/proc/{node}/ns/net", "nft", CUT)
    heal = time.monotonic() + PARTITION_S
    before = {task for task, _ in _running(manager)}
    while {task for task, _ in _running(manager)} == before or len(_running(manager)) != 6:
        assert time.monotonic() < heal, "the managers have not noticed the partition"
        time.sleep(0.1)
    time.sleep(max(0.0, heal - time.monotonic()))
    began = time.time()
    run("nsenter", f"--net=/proc/{node}/ns/net", "nft", "delete table inet cut")
    return (_right(watches, manager) - began) * 1000


@contextlib.contextmanager
def _watching(pid: int) -> Iterator[Watch]:
    watch = Watch(pid)
    try:
        yield watch
    finally:
        watch.process.kill()
        watch.process.wait()


def _right(watches: list[Watch], manager: Engine) -> float:
    """The moment at which the last resolver has come to say what the managers know: the tasks that run."""
    end = time.monotonic() + PATIENCE_S
    while True:
        live = frozenset(address for _, address in _running(manager))
        moments = [watch.right_since(live) for watch in watches]
        if all(moment is not None for moment in moments):
            return max(moment for moment in moments if moment is not None)
        assert time.monotonic() < end, (live, [watch.answers[-1:] for watch in watches])
        time.sleep(LOOK_S)


def _without(watches: list[Watch], address: str, since: float) -> float:
    """The moment at which the last resolver has left out this address."""
    end = time.monotonic() + PATIENCE_S
    while True:
        for watch in watches:
            watch.read()
        moments = [next((moment for moment, now in watch.answers if moment > since and address not in now), None) for watch in watches]
        if all(moment is not None for moment in moments):
            return max(moment for moment in moments if moment is not None)
        assert time.monotonic() < end, "it is still named"
        time.sleep(LOOK_S)


def _tasks(manager: Engine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = manager.request("GET", f"/tasks?filters={quote(json.dumps({'service': ['app'], 'desired-state': ['running']}))}")
    return [task for task in found if task["Status"]["State"] == "running"]


def _running(manager: Engine) -> list[tuple[str, str]]:
    """(container id, address) of the tasks that run and are meant to."""
    return [(t["Status"]["ContainerStatus"]["ContainerID"], t["NetworksAttachments"][0]["Addresses"][0].partition("/")[0]) for t in _tasks(manager)]


def _settled(manager: Engine, replicas: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while len(_tasks(manager)) != replicas:
        assert time.monotonic() < end, f"{len(_tasks(manager))} tasks run, not {replicas}"
        time.sleep(LOOK_S)


def _started(engine: Engine) -> float:
    """When the newest container of `app` has been started, seconds since the epoch."""
    filters = quote(json.dumps({"label": ["com.docker.swarm.service.name=app"]}))
    texts = [engine.request("GET", f"/containers/{c['Id']}/json")["State"]["StartedAt"] for c in engine.request("GET", f"/containers/json?filters={filters}")]
    return max((datetime.fromisoformat(text).timestamp() for text in texts), default=0.0)


def _has(engine: Engine, container: str) -> bool:
    return any(c["Id"] == container for c in engine.request("GET", "/containers/json"))


def _asker(engine: Engine) -> int:
    """The pid of a container on that node and on the network, no task's: nothing takes it away."""
    spec = {"Image": "busybox:latest", "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": "names"}}
    made = engine.request("POST", "/containers/create", spec)["Id"]
    engine.request("POST", f"/containers/{made}/start")
    return int(engine.request("GET", f"/containers/{made}/json")["State"]["Pid"])


def _cmdline(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""
