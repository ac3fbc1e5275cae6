"""The world finds the mistakes that others have made, makes the failure small, and gives it to people."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sim import corpus, scenario, timeline
from sim.run import run
from sim.shrink import kind_of, shrink
from sim.strategies import generate
from tests.driver import FESTOON

EXAMPLES = Path(__file__).parents[3] / "docs/examples"


def festoon(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([FESTOON, "sim", *arguments], capture_output=True, text=True, check=False, cwd=folder, timeout=600)


def case(name: str) -> corpus.Case:
    return next(case for case in corpus.CASES if case.name == name)


@pytest.mark.parametrize("name", [case.name for case in corpus.CASES if case.seed is not None])
def test_a_mistake_is_found_and_is_none_of_the_products(name: str) -> None:
    known = case(name)
    assert known.seed is not None
    assert corpus.attempt(known, known.seed).failure
    assert corpus.attempt(known, known.seed, mutated=False).failure == ""


def test_a_failure_is_made_small_and_fails_in_the_same_way_again() -> None:
    known = case("ghost-on-rejoin")
    found = corpus.attempt(known, 0)
    small = shrink(run(found.scenario))
    assert kind_of(small.failure) == kind_of(found.failure)
    assert len(small.scenario.steps) <= 3 < len(found.scenario.steps)
    again = run(scenario.decode(scenario.encode(small.scenario)))
    assert (again.failure, again.digest) == (small.failure, small.digest)
    assert 2 <= len(timeline.chosen(again)) < 10
    assert "BROKEN" in timeline.text(again)
    assert "BROKEN" in timeline.svg(again)


def test_the_command_finds_saves_and_replays(tmp_path: Path) -> None:
    hunted = festoon("hunt", "--for", "1s", "--mutant", "ghost-on-rejoin", "--faults", "members,crash", "--save", "ghost.json", folder=tmp_path)
    assert hunted.returncode == 1
    assert "saved: festoon sim replay ghost.json" in hunted.stderr
    replayed = festoon("replay", "ghost.json", "--svg", "ghost.svg", folder=tmp_path)
    assert replayed.returncode == 1
    assert replayed.stderr.splitlines()[0] == hunted.stderr.splitlines()[-2]
    assert (tmp_path / "ghost.svg").read_text().startswith("<svg")


def test_the_command_runs_a_seed_and_refuses_what_is_none(tmp_path: Path) -> None:
    done = festoon("run", "--seed", "4", "--faults", "none", "--nodes", "3", "--services", "2", "--digest", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    digest, words = done.stdout.splitlines()
    assert len(digest) == 64
    assert words.startswith("seed 4: all is well")
    for arguments, sentence in (
        (("run", "--faults", "rain"), "no family of faults 'rain'"),
        (("run", "--mutant", "x"), "no mutant 'x'"),
        (("replay", "nothing.json"), "No such file"),
        (("run", "--policy", str(EXAMPLES / "apart.py")), "a policy has a function"),
        (("run", "--invariant", str(EXAMPLES / "apart_policy.py")), "an invariant has a function"),
    ):
        refused = festoon(*arguments, folder=tmp_path)
        assert refused.returncode != 0
        assert sentence in refused.stderr


def test_an_anti_affinity_invariant_is_broken_and_kept_by_a_policy(tmp_path: Path) -> None:
    world = ("--nodes", "4", "--services", "2", "--faults", "none", "--clients", "0", "--invariant", str(EXAMPLES / "apart.py"))
    broken = festoon("run", *world, folder=tmp_path)
    assert "s1 and s2 are both on" in broken.stderr
    assert "before:" in broken.stdout
    assert len(broken.stdout.split("before:")[0].splitlines()) < 10
    kept = festoon("run", *world, "--policy", str(EXAMPLES / "apart_policy.py"), folder=tmp_path)
    assert kept.returncode == 0, kept.stderr


def test_a_packing_policy_starves_and_the_counterexample_is_small() -> None:
    files = {"policy": str(EXAMPLES / "bin_packing.py"), "invariants": (str(EXAMPLES / "no_starvation.py"),)}
    shape = scenario.Shape(agents=3, services=2, seconds=30, clients=0, faults=("agents",), **files)  # type: ignore[arg-type]
    found = next(found for seed in range(1, 40) if "waits for" in (found := run(generate(seed, shape))).failure)
    small = shrink(found, most_runs=60)
    assert "waits for" in small.failure
    assert len(small.scenario.steps) < len(found.scenario.steps)
    assert len(timeline.chosen(small)) < 10
    assert small.before


def test_a_rolling_update_one_by_one_has_one_slot_down_while_nothing_fails() -> None:
    shape = scenario.Shape(agents=3, services=2, seconds=30, clients=0, faults=(), invariants=(str(EXAMPLES / "rolling_update.py"),))
    assert run(generate(1, shape), keep=False).failure == ""
