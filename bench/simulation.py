"""How fast the simulated world is: simulated seconds per second for three managers and a hundred agents, and how long ten simulated minutes of ten
thousand agents with a hundred thousand tasks take. By processor time, which others on the machine disturb less. SIM_AGENTS and SIM_MINUTES make the
large one smaller.
"""

from __future__ import annotations

import os
import time

from bench.report import Report
from sim.run import Result, run
from sim.scenario import Shape
from sim.strategies import generate

AGENTS = int(os.environ.get("SIM_AGENTS", "10000"))
MINUTES = int(os.environ.get("SIM_MINUTES", "10"))
SERVICES = 100
TASKS_PER_AGENT = 10
SNAPSHOT_INTERVAL = 200


def measure(report: Report, runs: int) -> None:
    small = Shape(managers=3, agents=100, services=20, replicas=5, seconds=600, clients=0, faults=(), snapshot_interval=SNAPSHOT_INTERVAL)
    faulty = Shape(managers=3, agents=100, services=20, replicas=5, seconds=60, snapshot_interval=SNAPSHOT_INTERVAL)
    large = Shape(managers=3, agents=AGENTS, services=SERVICES, replicas=AGENTS * TASKS_PER_AGENT // SERVICES, seconds=60 * MINUTES, clients=0, faults=())
    for number in range(1, runs + 1):
        result, took_s = _timed(small, number)
        report.add("3 managers, 100 agents, no faults: simulated s per s", "sim", result.simulated_s / took_s)
        result, took_s = _timed(faulty, number)
        report.add("the same with faults and clients: simulated s per s", "sim", result.simulated_s / took_s)
    result, took_s = _timed(large, 1, users=False)
    report.add(f"{AGENTS} agents, {AGENTS * TASKS_PER_AGENT} tasks, {MINUTES} simulated min: s", "sim", took_s)


def _timed(shape: Shape, seed: int, *, users: bool = True) -> tuple[Result, float]:
    scenario = generate(seed, shape)
    if not users:
        scenario = type(scenario)(seed, shape, tuple(step for step in scenario.steps if step.what == "service-create" and step.at_ms < 4000))
    began = time.process_time()
    result = run(scenario, keep=False)
    assert result.failure == "", result.failure
    return result, time.process_time() - began
