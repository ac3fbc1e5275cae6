"""Preemption: a task that fits nowhere may evict tasks of services with a strictly lower priority, never more than needed.

Owns who is evicted for whom, and that the room that comes free is kept for them: a task that waits for evicted ones to stop claims its node, so that it evicts
nobody else and nobody of a lower priority takes its place meanwhile. Claims are made anew by every plan, from the highest priority down, and are never in
the store. What is evicted goes back to waiting at once. Only room makes way (reservations and host ports): constraints, platforms, replicas per node and
encryption are not the other tasks' fault. Kubernetes chooses alike: the lowest victims, then the fewest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from cluster.model import room_reasons
from cluster.model.ids import NodeId
from cluster.model.objects import Node, Task, task_name
from cluster.model.task_state import TaskState
from manager.draft import Draft
from manager.orchestrator.slots import slot_key
from manager.orchestrator.tasks import hostname, is_live, new_task, replaces, stop
from manager.scheduler import filters
from manager.scheduler.filters import Ask
from manager.scheduler.usage import NodeUse

EVICTING: Final = 64
"""Tasks for which one plan makes room, at most; the rest wait for the next."""


NAMED: Final = 5
"""Tasks that a reason names, at most."""


class _Choice(msgspec.Struct, frozen=True, order=True):
    """One node's victims: the choice with the lowest priorities, then the fewest victims, then the least use of the node."""

    highest: int
    victims: int
    active: int
    node_id: NodeId
    tasks: tuple[Task, ...] = ()


class Claims:
    """Room on nodes that this plan keeps for tasks that wait for others to stop. Undone with the plan."""

    def __init__(self) -> None:
        self._made: list[tuple[NodeUse, Ask]] = []

    @property
    def full(self) -> bool:
        return len(self._made) >= EVICTING

    def claim(self, use: NodeUse, ask: Ask) -> None:
        use.claim(ask.reserve, ask.ports, 1)
        self._made.append((use, ask))

    def undo(self) -> None:
        for use, ask in self._made:
            use.claim(ask.reserve, ask.ports, -1)
        self._made.clear()


def make_room(draft: Draft, claims: Claims, task: Task, ask: Ask, node_ids: tuple[NodeId, ...]) -> str:
    """Claim room for a task that fits none of these nodes now: where others stop anyway, or else by evicting. In words, what it waits for; empty when no
    eviction helps. `node_ids`: those whose own attributes suit it."""
    if claims.full:
        return ""
    index, best = draft.index, None
    for node_id in node_ids:
        node, use = index.nodes[node_id], index.uses[node_id]
        if not _only_room_is_missing(ask, node, use):
            continue
        stopping = [t for t in (index.tasks[id_] for id_ in use.tasks) if not is_live(t)]
        after = use.without(stopping)
        if filters.fits(ask, node, after):
            claims.claim(use, ask)
            return room_reasons.waits(_names(stopping), hostname(node))
        choice = _choice(draft, ask, node, use, after)
        if choice is not None and (best is None or choice < best):
            best = choice
    if best is None:
        return ""
    for victim in best.tasks:
        evict(draft, victim, task, ask)
    node = index.nodes[best.node_id]
    claims.claim(index.uses[node.id], ask)
    return room_reasons.evicts(_names(best.tasks), hostname(node), best.highest, ask.priority)


def _names(tasks: Sequence[Task]) -> str:
    names = sorted(task_name(task) for task in tasks)
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _only_room_is_missing(ask: Ask, node: Node, use: NodeUse) -> bool:
    """Whether it would fit on the node if that were empty but for tasks of its own service."""
    empty = NodeUse()
    empty.by_service = use.by_service
    return filters.fits(ask, node, empty)


def _choice(draft: Draft, ask: Ask, node: Node, use: NodeUse, after: NodeUse) -> _Choice | None:
    """The least that has to go for this to fit, of what may go; None when that is not enough. `after`: the node when those have stopped that are to."""
    index = draft.index
    lower = [t for t in (index.tasks[id_] for id_ in use.tasks) if is_live(t) and index.wish(t.service_id).priority < ask.priority]
    lower.sort(key=lambda t: (index.wish(t.service_id).priority, -t.meta.created, t.id))
    gone: list[Task] = []
    for task in lower:
        gone.append(task)
        if filters.fits(ask, node, after.without(gone)):
            break
    else:
        return None
    for task in reversed(gone[:-1] if len(gone) > 1 else []):  # those with the highest priority are kept first
        rest = [t for t in gone if t.id != task.id]
        if filters.fits(ask, node, after.without(rest)):
            gone = rest
    return _Choice(max(index.wish(t.service_id).priority for t in gone), len(gone), use.active, node.id, tuple(gone))


def evict(draft: Draft, victim: Task, task: Task, ask: Ask) -> None:
    """The victim is to stop, and another takes its slot, to wait for a node, unless one does already (of an update or a move that starts first)."""
    index = draft.index
    why = f"preempted by {task_name(task)} (priority {ask.priority})"
    stop(draft, victim, TaskState.SHUTDOWN, why)
    index.agenda.retry_pending = True  # until it is committed; then what was freed says so itself
    service = index.services.get(victim.service_id)
    if service is not None and not any(is_live(t) for t in draft.tasks_in(service.id, slot_key(victim))):
        new_task(
            draft, service, slot=victim.slot, node_id="" if victim.slot else victim.node_id,
            waits=True, released_at_ns=draft.now_ns, cause=replaces(victim, why),
        )  # fmt: skip
