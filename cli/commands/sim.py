"""`festoon sim`: the managers' real code in a simulated world. Words, files and exit statuses only; what is done is in
the root `sim`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from cli.api import Api
from cli.failures import FAILED, CliFailure
from cli.flags import DURATION, INT, option, options, switch
from cli.usage import Group, command
from sim import corpus as cases
from sim import scenario, timeline
from sim.failure import BadProperty
from sim.hunt import hunt as hunt_seeds
from sim.mutants import MUTANTS
from sim.run import Result, explained
from sim.run import run as run_scenario
from sim.scenario import Scenario, Shape
from sim.shrink import shrink
from sim.strategies import FAMILIES, generate

DEFAULT_HUNT_NS: Final = 60 * 1_000_000_000
SHRINK_S: Final = 20.0
"""Processor time that a failure may take to be made small."""

MAX_MANAGERS: Final = 31

replace = msgspec.structs.replace

sim = Group(
    "sim",
    summary="The managers' real code in a simulated world with faults",
    examples=(
        ("run --seed 7 --nodes 5 --services 3", "one world, always the same"),
        ("hunt --for 10m", "seeds until one fails, made small and saved"),
        ("replay sim-42.json", "that failure again"),
    ),
    lazy={
        "run": ("cli.commands.sim:run", "Run one seed"),
        "replay": ("cli.commands.sim:replay", "Run a saved scenario again"),
        "hunt": ("cli.commands.sim:hunt", "Try seeds until one fails, and shrink it"),
        "corpus": ("cli.commands.sim:corpus", "Find every historical mistake again, and say how many seeds each took"),
    },
)


def _world(decorated: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that say how large the world is and what goes wrong in it."""
    for decorate in reversed((
        option("--managers", help="Managers (default 3)", type=INT),
        option("--nodes", help="Nodes with agents (default 0: the managers alone)", type=INT),
        option("--services", help="Services (default 0)", type=INT),
        option("--jobs", help="Jobs: services whose tasks do their work and end (default 0)", type=INT),
        option("--replicas", help="Replicas of a service (default 3)", type=INT),
        option("--clients", help="Clients that write and read registers (default 2)", type=INT),
        option("--minutes", help="Simulated minutes with faults (default 1)", type=INT),
        option("--faults", help=f"Families of faults, with commas: {', '.join(FAMILIES)}, all or none (default network,crash,disk,clock)"),
        option("--mutant", help=f"A mistake to put in, in the world of the corpus where it shows: {', '.join(name for name in MUTANTS if name)}", default=""),
        option("--policy", help="A Python file with fits, rank or place: another placement", default=""),
        options("--invariant", help="A Python file with an invariant"),
        option("--save", help="Where a failing run is saved (default sim-SEED.json)"),
    )):  # fmt: skip
        decorated = decorate(decorated)
    return decorated


def _shape(flags: dict[str, Any]) -> Shape:
    """The flags that were given, on top of the world in which the mistake shows, or of an ordinary one."""
    if flags["mutant"] not in MUTANTS:
        raise CliFailure(f"there is no mutant {flags['mutant']!r}: {', '.join(name for name in MUTANTS if name)}")
    shape = cases.world_of(flags["mutant"])
    minutes = flags["minutes"]
    given = {
        "managers": flags["managers"], "agents": flags["nodes"], "services": flags["services"], "jobs": flags["jobs"],
        "replicas": flags["replicas"], "clients": flags["clients"],
        "seconds": None if minutes is None else 60 * minutes, "policy": _path(flags["policy"]) or None, "invariants": tuple(map(_path, flags["invariant"])),
        "faults": _families(flags["faults"], shape.faults + (("agents",) if flags["nodes"] else ())),
    }  # fmt: skip
    shape = replace(shape, **{name: value for name, value in given.items() if value is not None})
    if shape.managers < 1 or min(shape.agents, shape.services, shape.jobs, shape.replicas, shape.clients) < 0 or shape.seconds < 1:
        raise CliFailure("a world has at least one manager and one minute, and of nothing less than none")
    if shape.managers > MAX_MANAGERS:
        raise CliFailure(f"a world has at most {MAX_MANAGERS} managers")
    if shape.services + shape.jobs and not shape.agents:
        raise CliFailure("services need nodes: give --nodes too")
    return shape if shape.agents else replace(shape, faults=tuple(name for name in shape.faults if name != "agents"))


def _families(named: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    if named is None:
        return tuple(dict.fromkeys(usual))
    faults = {"all": tuple(FAMILIES), "none": ()}.get(named, tuple(named.split(",")))
    if unknown := [name for name in faults if name not in FAMILIES]:
        raise CliFailure(f"there is no family of faults {unknown[0]!r}: {', '.join(FAMILIES)}, all or none")
    return faults


def _path(name: str) -> str:
    return str(Path(name).resolve()) if name else ""


def _run(wanted: Scenario, *, keep: bool) -> Result:
    try:
        return run_scenario(wanted, keep=keep)
    except BadProperty as error:
        raise CliFailure(str(error)) from error


@command(
    "run",
    summary="Run one seed",
    examples=(
        ("--seed 7 --nodes 5 --services 3", "three managers, five agents, a minute with faults"),
        ("--seed 7 --trace", "every event with what caused it"),
        ("--seed 7 --mutant commit-by-counting", "with a historical mistake put in"),
    ),
)
@option("--seed", help="Which run (default 1)", type=INT, default=1)
@switch("--trace", help="Print every event with its cause")
@switch("--digest", help="Print the digest of the trace: equal for equal runs")
@_world
def run(_api: Api, arguments: tuple[str, ...], seed: int, trace: bool | None, digest: bool | None, **flags: Any) -> None:
    wanted = generate(seed, _shape(flags))
    began = time.monotonic()
    result = _run(wanted, keep=bool(trace or digest))
    took_s = time.monotonic() - began
    if trace:
        print("".join(f"{line}\n" for line in result.lines), end="")
    if digest:
        print(result.digest, flush=True)
    if result.failure:
        _report(result, flags["save"])
    print(f"seed {seed}: all is well: {_size(result)}, {result.simulated_s:.0f} s simulated in {took_s:.1f} s", flush=True)


@command(
    "replay",
    "FILE",
    summary="Run a saved scenario again",
    least=1,
    most=1,
    examples=(("sim-7.json --svg timeline.svg", "a run that failed, drawn"),),
)
@option("--svg", help="Draw its timeline into this file")
@switch("--trace", help="Print every event with its cause")
def replay(_api: Api, arguments: tuple[str, ...], svg: str | None, trace: bool | None) -> None:
    try:
        wanted = scenario.decode(Path(arguments[0]).read_bytes())
    except OSError as error:
        raise CliFailure(f"{arguments[0]}: {error.strerror}") from error
    except ValueError as error:
        raise CliFailure(f"{arguments[0]}: {error}") from error
    try:
        result = explained(wanted)
    except BadProperty as error:
        raise CliFailure(str(error)) from error
    if trace:
        print("".join(f"{line}\n" for line in result.lines), end="")
    if svg:
        _write(Path(svg), timeline.svg(result).encode())
    if result.failure:
        print(timeline.text(result), flush=True)
        raise CliFailure(f"seed {wanted.seed}: {result.failure}", FAILED)
    print(f"seed {wanted.seed}: all is well: {_size(result)}", flush=True)


@command(
    "hunt",
    summary="Try seeds until one fails, and shrink it",
    examples=(
        ("--for 10m", "the managers alone, with every fault of the network, disks, clocks and processes"),
        ("--nodes 5 --services 3 --policy mine.py --invariant mine.py", "your own placement, and what must hold of it"),
    ),
)
@option("--for", "for_ns", help="How long (default 1m)", type=DURATION, default=DEFAULT_HUNT_NS)
@option("--seed", help="The first seed (default 1)", type=INT, default=1)
@_world
def hunt(_api: Api, arguments: tuple[str, ...], for_ns: int, seed: int, **flags: Any) -> None:
    until = time.monotonic() + for_ns / 1e9
    try:
        hunted = hunt_seeds(_shape(flags), seed, lambda: time.monotonic() < until)
    except BadProperty as error:
        raise CliFailure(str(error)) from error
    print(f"{hunted.runs} runs from seed {seed} on, {hunted.simulated_s / 60:.0f} simulated minutes, {hunted.events} events", flush=True)
    print("faults that occurred: " + (", ".join(f"{name} {count}" for name, count in sorted(hunted.occurred.items()) if count) or "none"), flush=True)
    if hunted.found is not None:
        _report(hunted.found, flags["save"])
    print("all is well", flush=True)


@command(
    "corpus",
    summary="Find every historical mistake again, and say how many seeds each took",
    examples=(("", "a few minutes; exit status 1 if a mistake was not found"),),
)
def corpus(_api: Api, arguments: tuple[str, ...]) -> None:
    missed = []
    print(f"{'MISTAKE':<26}{'SEEDS':>6}  WHAT IT BROKE", flush=True)
    for case in cases.CASES:
        found = cases.find(case)
        if found is None:
            missed.append(case.name)
        print(f"{case.name:<26}{found[0] if found else '-':>6}  {found[1].failure if found else 'not found'}", flush=True)
    if missed:
        raise CliFailure(f"not found within {cases.MAX_SEEDS} seeds: {', '.join(missed)}")


def _say(line: str) -> None:
    print(f"shrinking: {line}", file=sys.stderr, flush=True)


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise CliFailure(f"{path}: {error.strerror}") from error


def _size(result: Result) -> str:
    return f"{len(result.scenario.steps)} operations and faults, {result.calls} client calls, {result.events} events"


def _report(found: Result, save: str | None) -> None:
    """Make it small, save and show it. Always raises CliFailure."""
    print(f"seed {found.scenario.seed} fails: {found.failure}", file=sys.stderr, flush=True)
    until_s = time.process_time() + SHRINK_S
    result = explained(shrink(found, _say, goes_on=lambda: time.process_time() < until_s).scenario)
    path = Path(save or f"sim-{found.scenario.seed}.json")
    _write(path, scenario.encode(scenario.found(result.scenario, result.failure)))
    print(timeline.text(result), flush=True)
    raise CliFailure(f"seed {result.scenario.seed}: {result.failure}\nsaved: festoon sim replay {path} [--svg FILE]", FAILED)
