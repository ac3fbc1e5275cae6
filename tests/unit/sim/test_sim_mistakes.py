"""The world finds the mistakes that others have made, makes the failure small, and gives it to people."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sim import corpus, scenario, timeline
from sim.mutants import MUTANTS
from sim.run import explained, run
from sim.shrink import kind_of, shrink
from sim.strategies import generate
from tests.driver import FESTOON

AGENTS = ("--nodes", "2", "--services", "1")
EXAMPLES = Path(__file__).parents[3] / "docs/examples"


def festoon(*arguments: str, folder: Path, hash_seed: str = "random") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run([FESTOON, "sim", *arguments], capture_output=True, text=True, check=False, cwd=folder, timeout=600, env=environment)


def case(name: str) -> corpus.Case:
    return next(case for case in corpus.CASES if case.name == name)


def test_every_historical_mistake_is_found(tmp_path: Path) -> None:
    done = festoon("corpus", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row.split()[0]: row.split()[1] for row in done.stdout.splitlines()[1:]}
    assert set(rows) == {case.name for case in corpus.CASES} == set(MUTANTS) - {""}
    for name, seeds in rows.items():
        assert corpus.attempt(case(name), int(seeds), mutated=False).failure == "", f"{name} is a mistake of the product's"


def test_a_failure_is_made_small_and_fails_in_the_same_way_again() -> None:
    known = case("ghost-on-rejoin")
    _, found = corpus.find(known) or pytest.fail("not found")
    small = explained(shrink(found).scenario)
    assert kind_of(small.failure) == kind_of(found.failure)
    assert len(small.scenario.steps) <= 3 < len(found.scenario.steps)
    again = explained(scenario.decode(scenario.encode(small.scenario)))
    assert (again.failure, again.digest) == (small.failure, small.digest)
    assert again.before != again.after
    assert again.before
    assert 2 <= len(timeline.chosen(again)) < 10
    assert "BROKEN" in timeline.text(again)
    assert "BROKEN" in timeline.svg(again)


def test_the_command_finds_saves_and_replays(tmp_path: Path) -> None:
    hunted = festoon("hunt", "--for", "20s", "--mutant", "vote-not-persisted", "--save", "vote.json", folder=tmp_path)
    assert hunted.returncode == 1
    seeds, found = corpus.find(case("vote-not-persisted")) or pytest.fail("not found")
    assert hunted.stderr.splitlines()[0] == f"seed {seeds} fails: {found.failure}", "the same as in the corpus"
    assert "saved: festoon sim replay vote.json" in hunted.stderr
    said = set()
    for hash_seed in ("0", "4242"):
        replayed = festoon("replay", "vote.json", "--trace", "--svg", "vote.svg", folder=tmp_path, hash_seed=hash_seed)
        assert replayed.returncode == 1
        assert replayed.stderr.splitlines()[0] == hunted.stderr.splitlines()[-2]
        said.add((replayed.stdout, (tmp_path / "vote.svg").read_text()))
    ((trace, picture),) = said
    assert "before:" in trace
    assert "after:" in trace
    assert picture.startswith("<svg")


def test_the_command_runs_a_seed_and_refuses_what_is_none(tmp_path: Path) -> None:
    done = festoon("run", "--seed", "4", "--faults", "none", "--nodes", "3", "--services", "2", "--digest", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "prose.py").write_text("a world of its own\n")
    (tmp_path / "binary.py").write_bytes(bytes(range(256)))
    (tmp_path / "wrong.py").write_text("def state(): return None\n")
    (tmp_path / "bug.py").write_text("def state(view):\n    return 1 / 0\n")
    (tmp_path / "nowhere.py").write_text("def place(task, nodes): return 'nowhere'\n")
    digest, words = done.stdout.splitlines()
    assert len(digest) == 64
    assert words.startswith("seed 4: all is well")
    for arguments, sentence in (
        (("run", "--faults", "rain"), "no family of faults 'rain'"),
        (("run", "--mutant", "x"), "no mutant 'x'"),
        (("replay", "nothing.json"), "nothing.json: No such file"),
        (("run", "--policy", str(EXAMPLES / "apart.py")), "a policy has a function"),
        (("run", "--invariant", str(EXAMPLES / "apart_policy.py")), "an invariant has a function"),
        (("run", "--invariant", "none.py"), "none.py: no such file"),
        (("run", "--invariant", "prose.py"), "prose.py, line 1: invalid syntax"),
        (("run", "--policy", "binary.py"), "binary.py"),
        (("run", "--invariant", "wrong.py"), "wrong.py: state has to be a function state(view)"),
        (("run", *AGENTS, "--invariant", "bug.py"), "bug.py, line 2: ZeroDivisionError: division by zero"),
        (("run", *AGENTS, "--policy", "nowhere.py"), "place gave 'nowhere'"),
        (("run", "--seed", "seven"), "seven"),
        (("run", "--services", "2"), "services need nodes"),
        (("replay", "prose.py"), "prose.py: this is no scenario"),
        (("replay", "binary.py"), "binary.py: this is no scenario"),
        (("replay", "."), ".: Is a directory"),
    ):
        refused = festoon(*arguments, folder=tmp_path)
        assert refused.returncode != 0
        assert sentence in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr


def test_an_anti_affinity_invariant_is_broken_and_kept_by_a_policy(tmp_path: Path) -> None:
    world = ("--nodes", "4", "--services", "2", "--faults", "none", "--clients", "0", "--invariant", str(EXAMPLES / "apart.py"))
    broken = festoon("run", *world, folder=tmp_path)
    assert "s1 and s2 are both on" in broken.stderr
    assert "before:" in broken.stdout
    assert len(broken.stdout.split("before:")[0].splitlines()) < 10
    kept = festoon("run", *world, "--policy", str(EXAMPLES / "apart_policy.py"), folder=tmp_path)
    assert kept.returncode == 0, kept.stderr


def test_a_packing_policy_starves_and_the_counterexample_is_small(tmp_path: Path) -> None:
    files = ("--policy", str(EXAMPLES / "bin_packing.py"), "--invariant", str(EXAMPLES / "no_starvation.py"))
    found = festoon("hunt", "--seed", "1", "--nodes", "4", "--services", "2", "--clients", "0", *files, "--save", "starved.json", folder=tmp_path)
    assert found.returncode == 1
    assert "waits for" in found.stderr.splitlines()[-2]
    timeline_, states = found.stdout.split("before:")
    assert len(timeline_.splitlines()) < 10 + 2  # and the lines that say how many runs there were, and with which faults
    assert "after:" in states
    assert len(scenario.decode((tmp_path / "starved.json").read_bytes()).steps) < 10


def test_a_rolling_update_one_by_one_has_one_slot_down_while_nothing_fails() -> None:
    shape = scenario.Shape(agents=3, services=2, seconds=30, clients=0, faults=(), invariants=(str(EXAMPLES / "rolling_update.py"),))
    assert run(generate(1, shape), keep=False).failure == ""
