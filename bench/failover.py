"""How long a cluster of three managers accepts no write when its leader goes: stopped (SIGTERM to its manager process), or killed (SIGKILL).

A client writes without a pause through the Engine API of a manager that stays; the figure is the longest time between two writes that were
acknowledged. `undisturbed` is the same where nothing happens.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.report import Report
from cluster.wire.http_client import ConnectionFailed, HttpClient
from lab.machines import socket_of

FESTOON = str(Path(sys.executable).with_name("festoon"))
NAME = "failover"
SUBNET = os.environ.get("BENCH_SUBNET", "192.168.201.0/24")
BEFORE_S = 0.5
AFTER_S = 3.0
PATIENCE_S = 60.0
CREATED = 201


def measure(report: Report, runs: int) -> None:
    subprocess.run([FESTOON, "lab", "down", "--name", NAME], check=True, capture_output=True)
    up = [FESTOON, "lab", "up", "--name", NAME, "--subnet", SUBNET, "--nodes", "3", "--managers", "3", "--swarm"]
    subprocess.run(up, check=True, capture_output=True)
    try:
        for run in range(runs):
            for figure, number in (("undisturbed", None), ("leader stopped", signal.SIGTERM), ("leader killed", signal.SIGKILL)):
                report.add(f"{figure}: longest time without a write, ms", "festoon", _gap_ms(f"r{run}{figure.split()[-1]}", number))
    finally:
        subprocess.run([FESTOON, "lab", "down", "--name", NAME], check=True, capture_output=True)


def _gap_ms(prefix: str, number: signal.Signals | None) -> float:
    leader = _settled()
    writer = _Writer("swarm-manager2" if leader == "swarm-manager" else "swarm-manager", prefix)
    writer.start()
    time.sleep(BEFORE_S)
    began = time.perf_counter()
    if number is not None:
        os.kill(_manager_of(leader), number)
    time.sleep(AFTER_S)
    return writer.longest_gap_ms(began)


class _Writer(threading.Thread):
    def __init__(self, node: str, prefix: str) -> None:
        super().__init__(daemon=True)
        self._node, self._prefix = node, prefix
        self._acknowledged: list[float] = []
        self._end = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._end.is_set():
            spec = {"Name": f"{self._prefix}{number}", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}, "Mode": {"Replicated": {"Replicas": 0}}}
            try:
                if _ask(self._node, "POST", "/services/create", spec)[0] == CREATED:
                    self._acknowledged.append(time.perf_counter())
            except ConnectionFailed:
                pass
            number += 1

    def longest_gap_ms(self, since: float) -> float:
        self._end.set()
        self.join()
        times = [since, *(moment for moment in self._acknowledged if moment > since)]
        return 1000 * max(later - earlier for earlier, later in pairwise(times))


def _ask(node: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    content = b"" if body is None else json.dumps(body).encode()
    answer = HttpClient(socket_of(NAME, node)).request(method, path, body=content, headers=(("Content-Type", "application/json"),))
    return answer.status, json.loads(answer.body or b"null")


def _settled() -> str:
    """The leader, once all three are well."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        status, nodes = _ask("swarm-manager3", "GET", "/nodes")
        if status == 200 and sum(n.get("ManagerStatus", {}).get("Reachability") == "reachable" for n in nodes) == 3:
            return next(str(n["Description"]["Hostname"]) for n in nodes if n["ManagerStatus"].get("Leader"))
        time.sleep(0.1)
    raise RuntimeError("the managers do not come to rest")


def _manager_of(node: str) -> int:
    """The pid of the node's manager process."""
    for base in Path("/sys/fs/cgroup").glob(f"*/festoon-lab/{NAME}/{node}"):
        for procs in base.rglob("cgroup.procs"):
            for pid in procs.read_text().split():
                if b"-m\0manager\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
    raise RuntimeError(f"{node} has no manager process")
