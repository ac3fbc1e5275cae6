"""Rebalancing: tasks are moved from the nodes that hold most of a service to those that hold least, until no two that suit it differ by more than one.

Owns which tasks are moved and how many at a time; where they go is the scheduler's. Moves keep to the rules of the service's updates: as many at once as its
parallelism, and in its order. Asked for by a label (cluster/model/placement_labels.py): `auto` as long as it stands, `once` until it is done, which takes the
label away. Services that pack or have spread preferences are left as they are: even is not what they ask for.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cluster.model.ids import NodeId
from cluster.model.objects import Service, Task
from cluster.model.placement_labels import REBALANCE, Rebalance, Strategy
from cluster.model.specs import UpdateConfig, UpdateOrder
from cluster.model.task_state import TaskState
from manager.draft import Draft
from manager.orchestrator import update
from manager.orchestrator.tasks import is_live, new_task, replaces, stop
from manager.scheduler import filters
from manager.scheduler.ranking import failures

BECAUSE: Final = "moved to balance the service over its nodes"


def advance(draft: Draft, service: Service) -> None:
    """Take the next steps, if the service asks for any and no update of it is under way."""
    wish = draft.index.wishes.get(service.id)
    if wish is None or wish.rebalance is Rebalance.OFF or update.is_under_way(service) or draft.full:
        return
    config, slots = service.spec.update or UpdateConfig(), draft.index.slots.of(service.id)
    busy = len(slots.idle()) + len(slots.doubled())
    free = (config.parallelism or slots.number_kept) - busy
    moved = 0
    for _ in range(free):
        task = _next(draft, service)
        if task is None:
            break
        _move(draft, service, config, task)
        moved += 1
    if wish.rebalance is Rebalance.ONCE and not busy and not moved:
        labels = tuple(pair for pair in service.spec.labels if pair[0] != REBALANCE)
        draft.put(msgspec.structs.replace(service, spec=msgspec.structs.replace(service.spec, labels=labels)))


def _move(draft: Draft, service: Service, config: UpdateConfig, task: Task) -> None:
    """Another task takes the slot: before this one stops (restart.py, when the other runs), or after it."""
    start_first = config.order is UpdateOrder.START_FIRST
    if not start_first:
        stop(draft, task, TaskState.SHUTDOWN, BECAUSE)
    new_task(draft, service, slot=task.slot, waits=not start_first, released_at_ns=draft.now_ns, cause=replaces(task, BECAUSE))


def _next(draft: Draft, service: Service) -> Task | None:
    """A task on a node that holds at least two more than another one that could take it; None when all is even. Where the service failed often lately the
    scheduler puts nothing while it has a choice: who moved a task for such a node would move for ever."""
    index = draft.index
    slots = index.slots.of(service.id)
    leaving = _leaving(draft, service)
    held = {node_id: len(keys) - leaving.get(node_id, 0) for node_id, keys in slots.nodes.items()}
    if not held:
        return None
    fullest = min(held, key=lambda node_id: (-held[node_id], node_id))
    movable = [t for key in slots.nodes[fullest] if slots.tally(key)[1] == 1 and (t := draft.tasks_in(service.id, key)[0]).status.state is TaskState.RUNNING]
    if not movable:
        return None
    task = max(movable, key=lambda t: t.slot)
    wish, parsed = index.wish(service.id), draft.constraints_of(task.spec)
    if isinstance(parsed, str) or wish.strategy is Strategy.PACK or (task.spec.placement is not None and task.spec.placement.spread):
        return None
    ask = filters.ask_of(msgspec.structs.replace(task, spec_version=service.spec_version), parsed, service, wish)  # as the one that takes its place
    low_enough = held[fullest] - 2
    for node_id in index.classes.of(ask.static).nodes:
        use = index.uses[node_id]
        is_low = use.by_service.get(service.id, 0) <= low_enough
        if is_low and not failures(index, ask, node_id, draft.now_ns) and filters.fits(ask, index.nodes[node_id], use):
            return task
    return None


def _leaving(draft: Draft, service: Service) -> dict[NodeId, int]:
    """Tasks by node that are to stop once those that were moved run."""
    slots, found = draft.index.slots.of(service.id), dict[NodeId, int]()
    for key in slots.doubled():
        for task in [task for task in draft.tasks_in(service.id, key) if is_live(task)][1:]:
            found[task.node_id] = found.get(task.node_id, 0) + 1
    return found
