"""Service figures on one node: create to all running, with and without an overlay, scale 10 to 60, remove to gone.

In turn with dockerd where it is installed.
"""

from __future__ import annotations

import time

from bench.engine import Engine
from bench.peers import peers
from bench.report import Report


def measure(report: Report, runs: int) -> None:
    with peers() as engines:
        for engine in engines.values():
            engine.request("POST", "/networks/create", {"Name": "benchnet", "Driver": "overlay", "CheckDuplicate": True})
        for run in range(runs + 1):  # the first is a warm-up
            for peer, engine in engines.items():
                _one(report if run else Report("warm-up"), peer, engine, run)


def _one(report: Report, peer: str, engine: Engine, run: int) -> None:
    for replicas in (1, 10, 50):
        report.add(f"create to running, {replicas} (ms)", peer, _create(engine, f"plain{run}x{replicas}", replicas))
        report.add(f"rm to gone, {replicas} (ms)", peer, _remove(engine, f"plain{run}x{replicas}"))
    for replicas in (1, 10):
        report.add(f"create to running on an overlay, {replicas} (ms)", peer, _create(engine, f"over{run}x{replicas}", replicas, ("benchnet",)))
        report.add(f"rm to gone from an overlay, {replicas} (ms)", peer, _remove(engine, f"over{run}x{replicas}"))
    name = f"scale{run}"
    _create(engine, name, 10)
    began = time.perf_counter()
    engine.scale(name, 60)
    engine.wait_running(name, 60)
    report.add("scale 10 to 60 (ms)", peer, (time.perf_counter() - began) * 1000)
    _remove(engine, name)


def _create(engine: Engine, name: str, replicas: int, networks: tuple[str, ...] = ()) -> float:
    began = time.perf_counter()
    engine.create_service(name, replicas, networks)
    engine.wait_running(name, replicas)
    return (time.perf_counter() - began) * 1000


def _remove(engine: Engine, name: str) -> float:
    began = time.perf_counter()
    engine.remove_and_wait(name)
    return (time.perf_counter() - began) * 1000
