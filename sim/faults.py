"""What each step of a scenario does to the world: a table from What to a function, and how it ends by itself.

Owns nothing. A step that makes no sense at its moment (the manager is down already, nobody leads) does nothing, so
that any part of a scenario is a scenario.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from cluster.model.errors import ClusterError
from manager.raft.effects import Answer
from manager.raft.membership import Membership
from sim.cluster import SimCluster
from sim.disk import NEVER
from sim.manager import Manager
from sim.operations import OPERATIONS
from sim.scenario import Step, What
from sim.traps import Moment
from sim.world import MS

AGAIN_NS: Final = 300 * MS
CATCH_UP_NS: Final = 500 * MS
CATCH_UP_TRIES: Final = 40
MANAGERS_ONLY: Final = "managers"
FLAP_NS: Final = 300 * MS

replace = msgspec.structs.replace

Act = Callable[[SimCluster, Step], None]


def apply(cluster: SimCluster, step: Step) -> None:
    """Do it now."""
    if step.what not in (What.WRITE, What.READ):
        cluster.world.note("world", str(step))
    (FAULTS.get(step.what) or OPERATIONS[step.what])(cluster, step)


def _manager(cluster: SimCluster, step: Step) -> Manager | None:
    """The one that is named; `leader` is whoever leads now."""
    return cluster.leader() if step.who == "leader" else cluster.named(step.who)


def _after(cluster: SimCluster, step: Step, action: Callable[..., None], *arguments: object) -> None:
    cluster.world.later(step.for_ms * MS, action, *arguments)


# -- machines


def _crash(cluster: SimCluster, step: Step) -> None:
    """With an `amount`, it loses power again at that operation of its start."""
    manager = _manager(cluster, step)
    if manager is None or not manager.process.alive:
        return
    manager.crash()
    if step.amount:
        _after(cluster, step, manager.disk.crash_in, step.amount)
        cluster.world.later(step.for_ms * MS + AGAIN_NS, manager.disk.crash_in, NEVER)
        cluster.world.later(step.for_ms * MS + AGAIN_NS, manager.start)
    _after(cluster, step, manager.start)


def _kill(cluster: SimCluster, step: Step) -> None:
    if (manager := _manager(cluster, step)) is not None and manager.process.alive:
        manager.kill()
        _after(cluster, step, manager.start)


def _crash_at_disk(cluster: SimCluster, step: Step) -> None:
    manager = _manager(cluster, step)
    if manager is None or not manager.process.alive:
        return
    manager.disk.crash_in(step.amount)

    def end() -> None:
        manager.disk.crash_in(NEVER)
        manager.start()

    _after(cluster, step, end)


def _crash_at_commit(cluster: SimCluster, step: Step) -> None:
    def crash(manager: Manager) -> None:
        manager.crash("loses power as soon as it has committed something")
        _after(cluster, step, manager.start)

    cluster.traps.set(Moment.COMMIT, step.amount * MS, crash)


def _pause(cluster: SimCluster, step: Step) -> None:
    manager = _manager(cluster, step)
    if manager is None or manager.process.paused or not manager.process.alive:
        return
    manager.process.pause()
    cluster.network.watch_silence(manager.process)
    _after(cluster, step, manager.process.resume)


def _jump(cluster: SimCluster, step: Step) -> None:
    if (manager := _manager(cluster, step)) is not None:
        manager.process.wall_skew_ns += step.amount * MS
        cluster.world.occurred["clock jump"] += 1


def _drift(cluster: SimCluster, step: Step) -> None:
    if (manager := _manager(cluster, step)) is not None:
        manager.process.drift_permille = step.amount
        cluster.world.occurred["clock skew"] += 1
        _after(cluster, step, setattr, manager.process, "drift_permille", 0)


# -- disks


def _sync_fails(cluster: SimCluster, step: Step) -> None:
    manager = _manager(cluster, step)
    if manager is None:
        return
    manager.disk.fail_syncs = True

    def end() -> None:
        manager.disk.fail_syncs = False
        manager.start()

    _after(cluster, step, end)


def _disk_full(cluster: SimCluster, step: Step) -> None:
    manager = _manager(cluster, step)
    if manager is None:
        return
    manager.disk.full = True

    def end() -> None:
        manager.disk.full = False
        manager.start()

    _after(cluster, step, end)


def _disk_slow(cluster: SimCluster, step: Step) -> None:
    if (manager := _manager(cluster, step)) is not None:
        manager.slow_ns = step.amount * MS
        _after(cluster, step, setattr, manager, "slow_ns", 0)


def _bit_flip(cluster: SimCluster, step: Step) -> None:
    """At rest: the manager is down for it. What it finds when it comes back, it must refuse, or not be harmed by."""
    manager = _manager(cluster, step)
    if manager is None or not cluster.may_lose(manager):
        return
    manager.kill()
    manager.suspect = True
    cluster.world.note(manager.name, f"a bit flips in {manager.disk.flip_bit() or 'nothing'}")
    _after(cluster, step, manager.start)


# -- the network


def _others(cluster: SimCluster, name: str, step: Step) -> list[str]:
    """Everybody else, or (`text` managers) the other managers only."""
    processes = [manager.name for manager in cluster.managers]
    if step.text != MANAGERS_ONLY:
        processes += [*(client.name for client in cluster.clients), *cluster.control.agent_names()]
    return [other for other in processes if other != name]


def _cut_pairs(cluster: SimCluster, step: Step, pairs: tuple[tuple[str, str], ...]) -> None:
    cluster.network.cut(pairs)
    _after(cluster, step, cluster.network.mend, pairs)


def _name(cluster: SimCluster, step: Step) -> str:
    manager = _manager(cluster, step)
    return manager.name if manager is not None else step.who


def _cut(cluster: SimCluster, step: Step) -> None:
    """`who` may be several, with commas: they still hear each other."""
    group = step.who.split(",") if "," in step.who else [_name(cluster, step)]
    pairs = [pair for name in group for other in _others(cluster, name, step) if other not in group for pair in ((name, other), (other, name))]
    _cut_pairs(cluster, step, tuple(pairs))


def _cut_at_election(cluster: SimCluster, step: Step) -> None:
    def cut(manager: Manager) -> None:
        cluster.world.note(manager.name, "is cut off")
        others = (other.name for other in cluster.managers if other is not manager)
        _cut_pairs(cluster, step, tuple(pair for other in others for pair in ((manager.name, other), (other, manager.name))))

    cluster.traps.set(Moment.ELECTED, step.amount * MS, cut)


def _cut_out(cluster: SimCluster, step: Step) -> None:
    name = _name(cluster, step)
    _cut_pairs(cluster, step, tuple((name, other) for other in _others(cluster, name, step)))


def _cut_in(cluster: SimCluster, step: Step) -> None:
    name = _name(cluster, step)
    _cut_pairs(cluster, step, tuple((other, name) for other in _others(cluster, name, step)))


def _weather(field: str) -> Act:
    def act(cluster: SimCluster, step: Step) -> None:
        weather = cluster.network.weather
        if field == "late_ns":
            weather.late_permille, weather.late_ns = 200, step.amount * MS
        else:
            setattr(weather, field, step.amount)
        _after(cluster, step, setattr, weather, "late_permille" if field == "late_ns" else field, 0)

    return act


# -- the group of managers


def _change(cluster: SimCluster, manager: Manager, change: Callable[[Membership], Membership], then: Callable[[Membership], None]) -> None:
    """Have the leader change the membership; `then` with the new one, once it is committed."""
    if manager.member is None:
        return
    try:
        new = change(manager.member.membership)
    except ClusterError:
        return

    def answered(answer: Answer) -> None:
        if isinstance(answer, ClusterError):
            cluster.world.note(manager.name, f"refuses: {answer.message}")
        else:
            then(new)

    cluster.world.note(manager.name, "is asked to make the managers " + ", ".join(f"m{m.raft_id}{' (learner)' if m.learner else ''}" for m in new.members))
    manager.change_membership(new, answered)


def _add(cluster: SimCluster, step: Step) -> None:
    leader = cluster.leader()
    if leader is None or cluster.named(step.who) is not None:
        return

    def joined(new: Membership) -> None:
        cluster.join(step.who, new.last_id)
        _promote_later(cluster, new.last_id, CATCH_UP_TRIES)

    _change(cluster, leader, lambda known: known.with_learner(step.who, f"{step.who}:2377"), joined)


def _promote_later(cluster: SimCluster, raft_id: int, tries: int) -> None:
    leader = cluster.leader()
    manager = cluster.by_raft_id(raft_id)
    if tries == 0 or manager is None or manager.lost:
        return
    if leader is None or leader.member is None or not leader.member.has_caught_up(raft_id):
        cluster.world.later(CATCH_UP_NS, _promote_later, cluster, raft_id, tries - 1)
        return
    _change(cluster, leader, lambda known: known.promoted(raft_id), lambda _new: None)


def _remove(cluster: SimCluster, step: Step) -> None:
    leader, manager = cluster.leader(), cluster.named(step.who)
    if leader is not None and manager is not None and cluster.may_lose(manager, removed=True):
        _change(cluster, leader, lambda known: known.without(manager.raft_id), lambda _new: None)


def _transfer(cluster: SimCluster, step: Step) -> None:
    leader, to = cluster.leader(), cluster.named(step.who)
    if leader is not None and to is not None and leader is not to:
        leader.transfer(to.raft_id)


def _rejoin(cluster: SimCluster, step: Step) -> None:
    """A manager loses its disk and joins again: its old id is removed, it gets a new one."""
    manager = cluster.named(step.who)
    if manager is None or not cluster.may_lose(manager):
        return
    manager.crash("loses its disk")
    manager.disk.wipe()
    manager.wiped = not cluster.parts.keeps_id
    if cluster.parts.keeps_id:
        _after(cluster, step, manager.start)
        return
    _after(cluster, step, _rejoined, cluster, manager, CATCH_UP_TRIES)


def _rejoined(cluster: SimCluster, manager: Manager, tries: int) -> None:
    """Its leader takes the old member out and then the new one in, as manager/peers.py's join does."""
    leader = cluster.leader()
    if tries == 0 or not manager.wiped:
        return
    cluster.world.later(CATCH_UP_NS, _rejoined, cluster, manager, tries - 1)
    if leader is None or leader.member is None:
        return
    old = leader.member.membership.of_node(manager.name)
    if old is not None:
        _change(cluster, leader, lambda known: known.without(old.raft_id), lambda _new: None)
        return

    def joined(new: Membership) -> None:
        if manager.wiped:
            cluster.join(manager.name, new.last_id)
            _promote_later(cluster, new.last_id, CATCH_UP_TRIES)

    _change(cluster, leader, lambda known: known.with_learner(manager.name, f"{manager.name}:2377"), joined)


# -- agents


def _agent_crash(cluster: SimCluster, step: Step) -> None:
    """The process, or (`text` machine) all of it."""
    if (agent := cluster.control.agent(step.who)) is not None and agent.process.alive:
        agent.crash(machine=step.text == "machine")
        _after(cluster, step, agent.start)


def _agent_pause(cluster: SimCluster, step: Step) -> None:
    agent = cluster.control.agent(step.who)
    if agent is not None and agent.process.alive and not agent.process.paused:
        agent.process.pause()
        cluster.network.watch_silence(agent.process)
        _after(cluster, step, agent.process.resume)


def _agent_lies(cluster: SimCluster, step: Step) -> None:
    if (agent := cluster.control.agent(step.who)) is not None and agent.process.alive:
        agent.lie()


def _agent_flaps(cluster: SimCluster, step: Step) -> None:
    """It is killed and comes back, `amount` times."""
    agent = cluster.control.agent(step.who)
    if agent is None or step.amount == 0:
        return
    if agent.process.alive:
        cluster.world.occurred["agent flaps"] += 1
        agent.crash(machine=False)
        cluster.world.later(FLAP_NS, agent.start)
    cluster.world.later(2 * FLAP_NS, _agent_flaps, cluster, replace(step, amount=step.amount - 1))


def _certificate_expires(cluster: SimCluster, step: Step) -> None:
    if (agent := cluster.control.agent(step.who)) is not None and agent.process.alive:
        agent.expire()


def _task_fails(cluster: SimCluster, step: Step) -> None:
    if (agent := cluster.control.agent(step.who)) is not None:
        agent.fail_one()


FAULTS: Final[dict[What, Act]] = {
    What.CRASH: _crash,
    What.KILL: _kill,
    What.CRASH_AT_DISK: _crash_at_disk,
    What.CRASH_AT_COMMIT: _crash_at_commit,
    What.PAUSE: _pause,
    What.JUMP: _jump,
    What.DRIFT: _drift,
    What.SYNC_FAILS: _sync_fails,
    What.DISK_FULL: _disk_full,
    What.DISK_SLOW: _disk_slow,
    What.BIT_FLIP: _bit_flip,
    What.CUT: _cut,
    What.CUT_ONE_WAY: _cut_out,
    What.CUT_IN: _cut_in,
    What.CUT_AT_ELECTION: _cut_at_election,
    What.LOSS: _weather("loss_permille"),
    What.DOUBLE: _weather("double_permille"),
    What.LATE: _weather("late_ns"),
    What.ADD: _add,
    What.REMOVE: _remove,
    What.TRANSFER: _transfer,
    What.REJOIN: _rejoin,
    What.AGENT_CRASH: _agent_crash,
    What.AGENT_PAUSE: _agent_pause,
    What.AGENT_CUT: _cut,
    What.AGENT_LIES: _agent_lies,
    What.AGENT_FLAPS: _agent_flaps,
    What.CERTIFICATE: _certificate_expires,
    What.TASK_FAILS: _task_fails,
}
