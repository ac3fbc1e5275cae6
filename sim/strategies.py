"""Scenarios drawn from a seed: which faults and operations come when. Owns the families of faults that --faults names.

Everything is drawn here, before the run; while it runs, only the weather is random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sim.draws import Draws
from sim.scenario import Scenario, Shape, Step, What

QUIET_MS: Final = 2000
"""At the beginning nothing goes wrong: the first leader is elected, clients write."""

KEY_CALLS: Final = 40
"""Calls to one register; then clients go on with the next."""

JOBS_PERMILLE: Final = 300
"""Of what is done to services, where there are jobs too."""

Family = Callable[[Draws, Shape, int], Iterator[Step]]


def generate(seed: int, shape: Shape) -> Scenario:
    """The scenario of this seed."""
    return generate_from(Draws(seed).fork("scenario"), seed, shape)


def generate_from(draws: Draws, seed: int, shape: Shape) -> Scenario:
    """The scenario of these draws; `seed` is the world's own."""
    end_ms = shape.seconds * 1000
    steps: list[Step] = [*_calls(draws, shape, end_ms), *_users(draws, shape, end_ms)]
    families = [FAMILIES[name] for name in shape.faults]
    if families:
        pause_ms = draws.choice((150, 400, 1000, 2500))
        at_ms = QUIET_MS
        while (at_ms := at_ms + draws.between(1, 2 * pause_ms)) < end_ms:
            steps.extend(draws.choice(families)(draws, shape, at_ms))
    return Scenario(seed, shape, tuple(sorted(steps, key=lambda step: step.at_ms)))


def _calls(draws: Draws, shape: Shape, end_ms: int) -> list[Step]:
    """Clients' writes and reads of registers."""
    steps: list[Step] = []
    at_ms, number = 500, 0
    while shape.clients and (at_ms := at_ms + draws.between(20, 1200 // shape.clients)) < end_ms:
        number += 1
        who, key = f"c{draws.between(1, shape.clients)}", f"r{number // KEY_CALLS}"
        write = draws.chance(550)
        steps.append(Step(at_ms, What.WRITE if write else What.READ, who, number if write else 0, text=key))
    return steps


def _users(draws: Draws, shape: Shape, end_ms: int) -> list[Step]:
    """Services and jobs at the beginning, and what is done to them later on."""
    if not shape.agents:
        return []
    steps = [Step(1200 + 10 * n, What.SERVICE, f"s{n}", text=str(draws.below(1000))) for n in range(1, shape.services + 1)]
    steps += [Step(1500 + 10 * n, What.SERVICE, f"j{n}", text=str(draws.below(1000))) for n in range(1, shape.jobs + 1)]
    at_ms = 4000
    while shape.services + shape.jobs and (at_ms := at_ms + draws.between(200, 6000)) < end_ms:
        of_job = shape.jobs and (not shape.services or draws.chance(JOBS_PERMILLE))
        name = f"j{draws.between(1, shape.jobs)}" if of_job else f"s{draws.between(1, shape.services)}"
        match draws.below(8):
            case 0 | 1 | 2:
                steps.append(Step(at_ms, What.SCALE, name, draws.between(1, 2 * shape.replicas)))
            case 3 | 4:
                steps.append(Step(at_ms, What.UPDATE, name, text=str(draws.below(1000))))
            case 5:
                steps.append(Step(at_ms, What.REMOVE_SERVICE, name))
            case 6:
                steps.append(Step(at_ms, What.SERVICE, name, text=str(draws.below(1000))))
            case _:
                how = draws.choice(("drain", "pause"))
                steps.append(Step(at_ms, What.AVAILABILITY, f"n{draws.between(1, shape.agents)}", for_ms=draws.between(500, 5000), text=how))
    return steps


def _any(draws: Draws, shape: Shape) -> str:
    """Some manager; often the one that leads then."""
    return "leader" if draws.chance(350) else f"m{draws.between(1, shape.managers)}"


def _network(draws: Draws, shape: Shape, at_ms: int) -> Iterator[Step]:
    who, long_ms, whom = _any(draws, shape), draws.between(50, 4000), draws.choice(("", "managers"))
    match draws.below(6):
        case 0:
            yield Step(at_ms, What.CUT, who, for_ms=long_ms, text=whom)
        case 1:
            yield Step(at_ms, What.CUT_ONE_WAY, who, for_ms=long_ms, text=whom)
        case 2:
            yield Step(at_ms, What.CUT_IN, who, for_ms=long_ms, text=whom)
        case 3:
            yield Step(at_ms, What.LOSS, amount=draws.choice((20, 100, 400)), for_ms=long_ms)
        case 4:
            yield Step(at_ms, What.DOUBLE, amount=draws.choice((50, 300)), for_ms=long_ms)
        case _:
            yield Step(at_ms, What.LATE, amount=draws.choice((20, 200, 1500)), for_ms=long_ms)


def _crash(draws: Draws, shape: Shape, at_ms: int) -> Iterator[Step]:
    who, long_ms = _any(draws, shape), draws.choice((1, 50, 500, 3000))
    match draws.below(4):
        case 0:
            yield Step(at_ms, What.CRASH, who, draws.choice((0, 0, 1, 3, 5, 8)), for_ms=long_ms)
        case 1:
            yield Step(at_ms, What.KILL, who, for_ms=long_ms)
        case 2:
            yield Step(at_ms, What.PAUSE, who, for_ms=draws.choice((80, 700, 1500, 5000)))
        case _:
            yield Step(at_ms, What.CRASH_AT_DISK, who, draws.below(12), for_ms=draws.between(200, 3000))


def _disk(draws: Draws, shape: Shape, at_ms: int) -> Iterator[Step]:
    who, long_ms = _any(draws, shape), draws.between(100, 3000)
    match draws.below(8):
        case 0:
            yield Step(at_ms, What.SYNC_FAILS, who, for_ms=long_ms)
        case 1 | 2:
            yield Step(at_ms, What.DISK_FULL, who, for_ms=long_ms)
        case 3 | 4:
            yield Step(at_ms, What.DISK_SLOW, who, draws.choice((5, 50, 400)), for_ms=long_ms)
        case 5:
            yield Step(at_ms, What.BIT_FLIP, who, for_ms=long_ms)
        case _:
            yield Step(at_ms, What.CRASH_AT_DISK, who, draws.below(12), for_ms=long_ms)


def _clock(draws: Draws, shape: Shape, at_ms: int) -> Iterator[Step]:
    who = _any(draws, shape)
    if draws.chance(500):
        yield Step(at_ms, What.JUMP, who, draws.between(-90_000, 90_000))
    else:
        yield Step(at_ms, What.DRIFT, who, draws.choice((-300, -50, 50, 500)), for_ms=draws.between(500, 8000))


def _members(draws: Draws, shape: Shape, at_ms: int) -> Iterator[Step]:
    match draws.below(4):
        case 0:
            yield Step(at_ms, What.ADD, f"m{draws.between(shape.managers + 1, shape.managers + 3)}")
        case 1:
            yield Step(at_ms, What.REMOVE, f"m{draws.between(1, shape.managers + 3)}")
        case 2:
            yield Step(at_ms, What.REJOIN, f"m{draws.between(1, shape.managers + 1)}", for_ms=draws.between(50, 1000))
        case _:
            yield Step(at_ms, What.TRANSFER, f"m{draws.between(1, shape.managers + 1)}")


def _elections(draws: Draws, shape: Shape, at_ms: int) -> Iterator[Step]:
    """Leaders that go at bad moments, and networks so lossy and disks so slow that there are many of these."""
    match draws.below(8):
        case 0 | 1:
            yield Step(at_ms, What.CRASH, "leader", for_ms=draws.between(50, 1500))
        case 2:
            yield Step(at_ms, What.CUT, "leader", for_ms=draws.between(200, 2500), text="managers")
        case 3:
            members = [f"m{number}" for number in range(1, shape.managers + 1)]
            draws.shuffle(members)
            yield Step(at_ms, What.CUT, ",".join(members[: shape.managers // 2]), for_ms=draws.between(200, 2500), text="managers")
        case 4:
            yield Step(at_ms, What.LOSS, amount=draws.choice((250, 450)), for_ms=draws.between(1000, 6000))
        case 5:
            yield Step(at_ms, What.DISK_SLOW, f"m{draws.between(1, shape.managers)}", draws.choice((40, 150, 400)), for_ms=draws.between(1000, 6000))
        case _:
            yield from _old_terms(draws, shape, at_ms)


def _old_terms(draws: Draws, shape: Shape, at_ms: int) -> Iterator[Step]:
    """Entries of an old term that come to a majority under a later leader, while somebody else has entries of a term in between:
    figure 8 of the paper. A leader is left with too few; the next one is cut off as soon as it leads; one of the few leads
    again, and goes when it has committed; then the one in between comes back.
    """
    members = [f"m{number}" for number in range(1, shape.managers + 1)]
    draws.shuffle(members)
    few_ms = draws.between(1300, 2200)
    yield Step(at_ms, What.TRANSFER, members[0])
    yield Step(at_ms + 150, What.CUT, ",".join(members[: shape.managers // 2]), for_ms=few_ms, text="managers")
    yield Step(at_ms + 160, What.CUT_AT_ELECTION, amount=few_ms, for_ms=draws.between(2500, 4000))
    yield Step(at_ms + 150 + few_ms, What.CRASH_AT_COMMIT, amount=2500, for_ms=draws.between(1500, 4000))


def _agents(draws: Draws, shape: Shape, at_ms: int) -> Iterator[Step]:
    who, long_ms = f"n{draws.between(1, max(1, shape.agents))}", draws.choice((10, 1000, 2900, 4500))
    match draws.below(10):
        case 8:
            yield Step(at_ms, What.AGENT_FLAPS, who, draws.between(2, 5))
        case 9:
            yield Step(at_ms, What.CERTIFICATE, who)
        case 0 | 1:
            yield Step(at_ms, What.AGENT_CRASH, who, for_ms=long_ms, text=draws.choice(("", "machine")))
        case 2:
            yield Step(at_ms, What.AGENT_PAUSE, who, for_ms=long_ms)
        case 3 | 4:
            yield Step(at_ms, What.AGENT_CUT, who, for_ms=long_ms)
        case 5:
            yield Step(at_ms, What.AGENT_LIES, who)
        case _:
            yield Step(at_ms, What.TASK_FAILS, who)


FAMILIES: Final[dict[str, Family]] = {
    "network": _network,
    "crash": _crash,
    "disk": _disk,
    "clock": _clock,
    "members": _members,
    "elections": _elections,
    "agents": _agents,
}
