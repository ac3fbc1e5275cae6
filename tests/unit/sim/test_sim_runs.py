"""Whole runs: some seeds of each family of faults are well, and a run is the same wherever and however often it is made."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sim.run import run
from sim.scenario import Scenario, Shape, Step, What, decode, encode
from sim.strategies import FAMILIES, generate

EVERYTHING = tuple(FAMILIES)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "agents"])
def test_managers_keep_their_promises_under_each_family_of_faults(family: str) -> None:
    for seed in range(2):
        shape = Shape(managers=3 + 2 * (seed % 2), seconds=10, faults=(family,))
        result = run(generate(seed, shape), keep=False)
        assert result.failure == "", f"seed {seed}"
        assert result.calls > 10


def test_a_cluster_with_agents_keeps_them_under_everything() -> None:
    for seed in range(2):
        result = run(generate(seed, Shape(agents=4, services=2, seconds=12, faults=EVERYTHING)), keep=False)
        assert result.failure == "", f"seed {seed}"


def test_the_worlds_of_the_readme_are_well() -> None:
    result = run(generate(7, Shape(agents=5, services=3, seconds=60, faults=EVERYTHING)), keep=False)
    assert result.failure == ""


FOUND = (
    (22, Shape(agents=5, services=4, seconds=30, faults=("agents", "network", "crash"))),  # a waiting task was told to its node
    (3024, Shape(agents=5, services=4, seconds=30, faults=("network", "crash", "disk", "clock", "members", "elections", "agents"))),
    (380, Shape()),  # a request that a client had made once was served twice
    (20006, Shape(agents=5, services=4, seconds=60, faults=EVERYTHING)),  # word of a commit in a calm round
)
"""Seeds that have found something once."""


@pytest.mark.parametrize(("seed", "shape"), FOUND)
def test_what_was_found_is_mended(seed: int, shape: Shape) -> None:
    assert run(generate(seed, shape), keep=False).failure == ""


TWO_SNAPSHOTS = (
    Step(1240, What.SERVICE, "s4", text="936"),
    Step(2163, What.WRITE, "c2", 96, text="r2"),
    Step(2640, What.DISK_SLOW, "m2", 150, for_ms=1159),
    Step(2731, What.WRITE, "c2", 98, text="r2"),
    Step(2949, What.UPDATE, "s4", text="779"),
)


def test_a_follower_whose_disk_is_slow_takes_two_snapshots() -> None:
    shape = Shape(managers=5, agents=23, services=5, replicas=12, seconds=5, clients=0)
    assert run(Scenario(3080, shape, TWO_SNAPSHOTS), keep=False).failure == ""


RUN = """
from sim.run import run
from sim.scenario import Shape
from sim.strategies import FAMILIES, generate
for seed in (1, 2):
    result = run(generate(seed, Shape(agents=3, services=2, seconds=8, faults=tuple(FAMILIES))))
    print(result.digest, result.events, len(result.lines), result.failure)
"""


def test_the_same_seed_has_the_same_trace_whatever_the_hash_seed() -> None:
    said = set()
    for hash_seed in ("0", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", RUN], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed}, timeout=300
        )
        said.add(done.stdout)
    (only,) = said
    first, second = (line.split() for line in only.splitlines())
    assert first[0] != second[0], "another seed is another run"
    assert int(first[2]) > 200


def test_the_trace_names_causes_that_came_before() -> None:
    lines = run(generate(3, Shape(seconds=5))).lines
    assert all(line.cause < line.number for line in lines)
    assert sum(line.cause > 0 for line in lines) > len(lines) // 2
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))


def test_a_scenario_is_a_file_and_any_part_of_it_is_one() -> None:
    scenario = generate(7, Shape(seconds=10, faults=("network", "crash")))
    assert decode(encode(scenario)) == scenario
    half = Scenario(scenario.seed, scenario.shape, scenario.steps[::2])
    assert run(half, keep=False).failure == ""
    with pytest.raises(ValueError, match="no scenario"):
        decode(b"{}")


def test_a_majority_that_is_gone_is_said_to_be_gone() -> None:
    """The judgement at the end is one that can fail: the disks of two of three managers do not come back."""
    off = tuple(Step(3000, What.KILL, who, for_ms=100) for who in ("m1", "m2"))
    assert run(Scenario(1, Shape(seconds=6, faults=()), off), keep=False).failure == ""
    broken = tuple(Step(2900, What.SYNC_FAILS, who, for_ms=600_000) for who in ("m1", "m2"))
    assert "nobody leads" in run(Scenario(1, Shape(seconds=6, faults=()), (*broken, *off)), keep=False).failure
