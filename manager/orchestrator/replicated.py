"""Replicated services: as many occupied slots as replicas.

Owns which slots there are: what runs in them is restart.py's and update.py's. Growing takes the lowest free numbers
from 1; shrinking takes slots first that do not run, then from the nodes that hold most of the service, the highest
number first. Source: SwarmKit's `manager/orchestrator/replicated`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from cluster.model.ids import NodeId
from cluster.model.objects import Service
from cluster.model.task_state import TaskState
from manager.draft import Draft
from manager.orchestrator import restart, update
from manager.orchestrator.agenda import SlotKey
from manager.orchestrator.reaper import reap
from manager.orchestrator.slots import in_order
from manager.orchestrator.tasks import is_live, new_task, stop


def reconcile(draft: Draft, service: Service, keys: Iterable[SlotKey] | None) -> None:
    """Bring the service's slots to what it asks for. `keys`: the slots to look at, None for all."""
    slots = draft.index.slots.of(service.id)
    wanted = 1 if service.spec.mode.replicas is None else service.spec.mode.replicas
    if len(slots.kept) > wanted:
        _shrink(draft, service, len(slots.kept) - wanted)
    for key in in_order(slots.tasks if keys is None else keys):
        if draft.full:
            return
        if key in slots.kept:
            restart.check(draft, service, key, draft.tasks_in(service.id, key))
        reap(draft, service.id, key)
    _grow(draft, service, wanted)
    if keys is None or update.is_under_way(service):
        update.advance(draft, service)


def _grow(draft: Draft, service: Service, wanted: int) -> None:
    kept = draft.index.slots.of(service.id).kept
    missing = wanted - len(kept)
    if missing <= 0:
        return
    cause = f"scaled up to {wanted}" if draft.index.slots.of(service.id).tasks else "service created"
    slot = 0
    while missing > 0 and not draft.full:
        slot += 1
        if slot not in draft.index.slots.of(service.id).kept:
            new_task(draft, service, slot=slot, cause=cause)
            missing -= 1


def _shrink(draft: Draft, service: Service, surplus: int) -> None:
    """Give up this many slots."""
    idle: list[SlotKey] = []
    by_node: dict[NodeId, list[int]] = {}
    for key in draft.index.slots.of(service.id).kept:
        running = [
            t for t in draft.tasks_in(service.id, key) if is_live(t) and t.status.state is TaskState.RUNNING
        ]
        if running and isinstance(key, int):
            by_node.setdefault(running[0].node_id, []).append(key)
        else:
            idle.append(key)
    victims = in_order(idle)[::-1][:surplus]
    heap = [(-len(slots), -max(slots), node_id) for node_id, slots in by_node.items()]
    for slots in by_node.values():
        slots.sort()
    heapq.heapify(heap)
    while len(victims) < surplus and heap:
        _, _, node_id = heapq.heappop(heap)
        slots = by_node[node_id]
        victims.append(slots.pop())
        if slots:
            heapq.heappush(heap, (-len(slots), -slots[-1], node_id))
    for key in victims:
        if draft.full:
            return
        for task in draft.tasks_in(service.id, key):
            stop(draft, task, TaskState.REMOVE, "scaled down")
        reap(draft, service.id, key)
