"""One run: a scenario in, what came of it out. Owns the order of things: the steps at their times, then the faults
stop, and everything must come right within a stated time.
"""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from sim.checks.linearizability import Call, violation
from sim.cluster import SimCluster
from sim.failure import BadProperty, Broken
from sim.faults import apply
from sim.manager import TICK_NS
from sim.mutants import parts_of
from sim.properties import Properties, policy_of
from sim.scenario import Scenario
from sim.states import lines_of
from sim.world import MS, SECOND, Line, Stopped

HEAL_NS: Final = 6 * SECOND
"""Every fault has an end of its own; after this long all of them are over."""

CONVERGENCE_TICKS: Final = 400
"""Of TICK_S each: how long a healed cluster may take to agree and to answer (20 s)."""

JOBS_TICKS: Final = 2000
"""So many more at most while tasks of jobs end: one of twelve tasks, one after the other, of which one in five fails, takes about 45 s."""

QUIET_NS: Final = 5 * SECOND
"""For so long a healed cluster is watched."""


class Result(NamedTuple):
    """`failure`: what was broken, empty when nothing was. `occurred`: how often each fault did something."""

    scenario: Scenario
    failure: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    lines: list[Line]
    cause: int
    events: int
    simulated_s: float
    digest: str
    calls: int
    occurred: Counter[str]


def run(scenario: Scenario, *, keep: bool = True, until_s: float | None = None) -> Result:
    """Deterministic: equal scenarios have equal traces. With `until_s` it ends then at the latest, unjudged. Raises BadProperty."""
    cluster = _cluster(scenario, keep=keep)
    world = cluster.world
    if until_s is not None:
        world.last_ns = int(until_s * SECOND)
    failure = Broken("")
    try:
        _live(cluster, scenario)
    except Stopped:
        pass
    except BadProperty:
        raise
    except Exception as error:  # noqa: BLE001  the product's own bug, as much a failure as a broken promise
        failure = error if isinstance(error, Broken) else Broken(_where(error))
        world.note("world", f"BROKEN: {failure}")
    after = failure.after or (lines_of(cluster) if str(failure) else ())
    calls = sum(len(client.history) for client in cluster.clients)
    return Result(
        scenario, str(failure), failure.before, after, world.lines, world.cause, world.events, world.now_ns / SECOND,
        world.digest() if keep else "", calls, sum((manager.disk.occurred for manager in cluster.managers), world.occurred),
    )  # fmt: skip


def _where(error: Exception) -> str:
    """An exception of the product's, and the line that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {frame.name} ({'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno}): {error}"


def explained(scenario: Scenario) -> Result:
    """The run with its trace and, where it fails, the states before and after the event that broke it: the world is run once more
    until just before that event. Raises BadProperty.
    """
    result = run(scenario)
    if result.before or not result.failure:
        return result
    cluster = _cluster(scenario, keep=False)
    cluster.world.last_event = result.events - 1
    try:
        _live(cluster, scenario)
    except Stopped:
        return result._replace(before=lines_of(cluster))
    raise AssertionError("the same run has as many events")


def _cluster(scenario: Scenario, *, keep: bool) -> SimCluster:
    shape = scenario.shape
    parts = replace(parts_of(shape.mutant), policy=policy_of(shape.policy))
    return SimCluster(scenario.seed, shape, parts, Properties(shape.invariants), keep=keep)


def _live(cluster: SimCluster, scenario: Scenario) -> None:
    """From the beginning to the end. Raises Broken, Stopped."""
    world = cluster.world
    for step in scenario.steps:
        world.later(step.at_ms * MS, apply, cluster, step)
    cluster.start()
    if scenario.shape.invariants:
        _look_again(cluster)
    world.run(scenario.shape.seconds * SECOND)
    _converge(cluster)


def _look_again(cluster: SimCluster) -> None:
    """Time passes for properties also when nothing is committed."""
    leader = cluster.leader()
    if leader is not None:
        cluster.checks.cluster.look(leader.store, cluster.world.now_ns)
    cluster.world.later(SECOND, _look_again, cluster)


def _converge(cluster: SimCluster) -> None:
    """No more faults. Within CONVERGENCE_TICKS somebody leads, all have applied the same, and clients are answered. Jobs go on until they are done: while
    their tasks end, there is more time."""
    world = cluster.world
    world.run(world.now_ns + HEAL_NS)
    for manager in cluster.managers:
        manager.start()
    for agent in cluster.control.agents:
        agent.start()
    healed = lines_of(cluster)
    until_ns, ended = world.now_ns + CONVERGENCE_TICKS * TICK_NS, cluster.control.work_ended
    latest_ns = until_ns + JOBS_TICKS * TICK_NS
    while (missing := _missing(cluster)) and world.now_ns < until_ns:
        world.run(world.now_ns + 10 * TICK_NS)
        if cluster.control.work_ended > ended:
            until_ns, ended = min(world.now_ns + CONVERGENCE_TICKS * TICK_NS, latest_ns), cluster.control.work_ended
    if missing:
        raise Broken(f"{CONVERGENCE_TICKS} ticks after the last fault, {missing}", before=healed)
    _stays(cluster)
    leader = cluster.leader()
    assert leader is not None
    if not cluster.is_large:
        cluster.control.check_plan(leader)
    _ask_all(cluster)
    for manager in cluster.managers:
        if manager.member is not None:
            cluster.checks.raft.compare(manager)
            cluster.checks.watches.compare(manager)
    sentence = violation(call for client in cluster.clients for call in client.history)
    if sentence:
        raise Broken(sentence)


def _stays(cluster: SimCluster) -> None:
    """A leader that nothing keeps from its followers goes on leading."""
    leader = cluster.leader()
    assert leader is not None
    cluster.world.run(cluster.world.now_ns + QUIET_NS)
    now = cluster.leader()
    if now is not leader:
        raise Broken(f"{leader.name} led a healed cluster and was deposed")


def _missing(cluster: SimCluster) -> str:
    """What keeps the cluster from being whole; empty when nothing does."""
    leader = cluster.leader()
    if leader is None or leader.member is None:
        return "nobody leads"
    voters = leader.member.membership.ids
    for manager in cluster.managers:
        if manager.raft_id not in voters or manager.damage or manager.wiped:
            continue
        if manager.member is None:
            return f"{manager.name} is down"
        if manager.applied < leader.applied or manager.applied < cluster.checks.raft.last_committed:
            return f"{manager.name} has applied {manager.applied} entries of {leader.applied}"
    return cluster.control.missing(leader)


def _ask_all(cluster: SimCluster) -> None:
    """Every register is read once more: what was acknowledged must be there."""
    keys: dict[str, None] = {call.key: None for client in cluster.clients for call in client.history}
    for key in keys:
        for client in cluster.clients[:1]:
            client.read(key)
            cluster.world.run(cluster.world.now_ns + 3 * SECOND)
            last: Call = client.history[-1]
            if last.outcome.value != "done":
                raise Broken(f"a healed cluster does not answer: {last}")
