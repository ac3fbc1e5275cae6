"""The Engine API's own speed, without a container that starts: large lists, `/_ping` over sixteen connections, a thousand idle log followers, the command `ps`.

Everything is asked of Festoon's node and of Debian's dockerd in turn, by the same client; an answer counts when all of it is here, it is not parsed.
`BENCH_CONTAINERS` (500) are created and not started; `BENCH_TASKS` (10,000) wait for a node that has a label which no node has.
"""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from bench.engine import API, Engine
from bench.memory import pss_bytes
from bench.peers import FESTOON, Daemon, daemons
from bench.report import Report

CONTAINERS = int(os.environ.get("BENCH_CONTAINERS", "500"))
TASKS = int(os.environ.get("BENCH_TASKS", "10000"))
TASKS_S = 300.0
BATCH = 5
"""Questions of each peer in turn that make one counted run."""

PING_CONNECTIONS = 16
PING_S = 2.0
FOLLOWERS = 1000
PS_RUNS = 5


def measure(report: Report, runs: int) -> None:
    """Adds the figures. Needs root; docker where it is installed."""
    programs = {"festoon": FESTOON, "docker": shutil.which("docker") or ""}
    with daemons() as running:
        peers = list(running.items())
        for peer, daemon in peers:  # before anything that leaves memory to be taken again
            report.add(f"{FOLLOWERS} idle log followers (MB)", peer, _followers_mb(daemon))
        for number in range(runs + 1):  # the first is a warm-up
            told = report if number else Report("warm-up")
            for peer, daemon in peers[:: 1 if number % 2 else -1]:
                told.add(f"_ping, {PING_CONNECTIONS} connections (requests/s)", peer, pings_per_s(daemon.socket))
                for _ in range(PS_RUNS):
                    told.add("the command ps (ms)", peer, _command_ms(programs[peer], daemon.socket))
        for _, daemon in peers:
            for number in range(CONTAINERS):
                body = {"Image": "busybox:latest", "Cmd": ["sleep", "1000"], "Labels": {"number": str(number)}}
                daemon.engine.request("POST", f"/containers/create?name=c{number}", body)
        _lists(report, running, f"{CONTAINERS} containers (ms)", "/containers/json?all=1", runs)
        for _, daemon in peers:
            _wait_for_tasks(daemon.engine)
        _lists(report, running, f"{TASKS} tasks (ms)", "/tasks", runs)


def _lists(report: Report, running: dict[str, Daemon], figure: str, path: str, runs: int) -> None:
    for number in range(runs + 1):
        told = report if number else Report("warm-up")
        for peer, daemon in list(running.items())[:: 1 if number % 2 else -1]:
            for _ in range(BATCH):
                began = time.perf_counter()
                size = len(_bytes(daemon.socket, path))
                told.add(figure, peer, (time.perf_counter() - began) * 1000)
            told.add(f"{figure.removesuffix(' (ms)')}, the answer's size (MB)", peer, size / 1e6)


def _bytes(path: Path, target: str) -> bytes:
    """One whole answer, head and all."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(path))
        asking.sendall(f"GET {API}{target} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        pieces = []
        while piece := asking.recv(1 << 20):
            pieces.append(piece)
    answer = b"".join(pieces)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{target}: {answer[:300]!r}")
    return answer


def pings_per_s(path: Path) -> float:
    """Each connection asks again as soon as it has its answer."""
    request = b"GET /_ping HTTP/1.1\r\nHost: bench\r\n\r\n"
    answered = 0
    with ExitStack() as stack:
        ready = stack.enter_context(selectors.EpollSelector())
        for _ in range(PING_CONNECTIONS):
            asking = stack.enter_context(socket.socket(socket.AF_UNIX))
            asking.connect(str(path))
            asking.sendall(request)
            ready.register(asking, selectors.EVENT_READ, asking)
        end = time.perf_counter() + PING_S
        while time.perf_counter() < end:
            for key, _ in ready.select():
                if not key.data.recv(4096).endswith(b"OK"):
                    raise RuntimeError("an answer in pieces")
                answered += 1
                key.data.sendall(request)
    return answered / PING_S


def _command_ms(program: str, path: Path) -> float:
    began = time.perf_counter()
    subprocess.run([program, "-H", f"unix://{path}", "ps"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000


def _wait_for_tasks(engine: Engine) -> None:
    container = {"Image": "busybox:latest", "Args": ["sleep", "1000"]}
    task = {"ContainerSpec": container, "Placement": {"Constraints": ["node.labels.none==here"]}}
    engine.request("POST", "/services/create", {"Name": "many", "TaskTemplate": task, "Mode": {"Replicated": {"Replicas": TASKS}}})
    end = time.monotonic() + TASKS_S
    while (found := len(engine.request("GET", "/tasks"))) < TASKS:
        if time.monotonic() > end:
            raise RuntimeError(f"{found} tasks after {TASKS_S:.0f} s")
        time.sleep(0.5)


def _followers_mb(daemon: Daemon) -> float:
    """What the daemon's processes take more while so many clients wait for the next line of one container."""
    command = ["sh", "-c", "/bin/busybox echo one; exec sleep 100000"]
    daemon.engine.request("POST", "/containers/create?name=silent", {"Image": "busybox:latest", "Cmd": command})
    daemon.engine.request("POST", "/containers/silent/start")
    before = pss_bytes(daemon)
    with ExitStack() as stack:
        for _ in range(FOLLOWERS):
            following = stack.enter_context(socket.socket(socket.AF_UNIX))
            following.connect(str(daemon.socket))
            following.sendall(f"GET {API}/containers/silent/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
            said = b""
            while b"one\n" not in said:
                if not (piece := following.recv(4096)):
                    raise RuntimeError(f"a follower was refused: {said!r}")
                said += piece
        grown = pss_bytes(daemon) - before
    daemon.engine.request("DELETE", "/containers/silent?force=1")
    return grown / 1e6
