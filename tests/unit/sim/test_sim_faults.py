"""Every kind of fault that the world promises does something within a few dozen seeds, and is survived."""

from __future__ import annotations

from collections import Counter

from sim.run import run
from sim.scenario import Shape
from sim.strategies import generate

MANAGERS = {
    "power loss", "power loss in a system call", "power loss in a start", "process killed", "process paused",
    "lost write", "torn write", "lost name", "bit flip at rest", "failed sync", "full disk", "slow write", "clock jump", "clock skew",
    "message lost", "message doubled", "message late", "message reordered", "message cut off", "partition", "partition one way",
    "connection between managers lost",
}  # fmt: skip
AGENTS = {"agent killed", "machine down", "agent flaps", "late report", "task failed", "certificate expired", "session resumed", "process paused", "partition"}
SEEDS = 60


def faults_until(wanted: set[str], shape: Shape) -> Counter[str]:
    occurred: Counter[str] = Counter()
    for seed in range(1, SEEDS + 1):
        result = run(generate(seed, shape), keep=False)
        assert result.failure == "", f"seed {seed}"
        occurred.update(result.occurred)
        if all(occurred[name] for name in wanted):
            break
    return occurred


def test_every_fault_of_managers_disks_networks_and_clocks_occurs() -> None:
    occurred = faults_until(MANAGERS, Shape(seconds=20, clients=4, faults=("network", "crash", "disk", "disk", "clock", "elections")))
    assert {name for name in MANAGERS if not occurred[name]} == set()


def test_every_fault_of_agents_occurs() -> None:
    occurred = faults_until(AGENTS, Shape(agents=4, services=3, seconds=20, clients=0, faults=("agents",)))
    assert {name for name in AGENTS if not occurred[name]} == set()
