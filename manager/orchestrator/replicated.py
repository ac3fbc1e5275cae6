"""Replicated services: as many occupied slots as replicas.

Owns which slots there are: what runs in them is restart.py's and update.py's. Growing takes the lowest free numbers
from 1; shrinking takes slots first that do not run, then from the nodes that hold most of the service, the highest
number first. Source: SwarmKit's `manager/orchestrator/replicated`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from cluster.model.ids import NodeId, ServiceId
from cluster.model.objects import Service
from cluster.model.task_state import REMOVE
from manager.draft import Draft
from manager.orchestrator import rebalance, restart, update
from manager.orchestrator.agenda import SlotKey
from manager.orchestrator.reaper import reap
from manager.orchestrator.slots import ServiceSlots, in_order
from manager.orchestrator.tasks import new_task, stop


def is_at_rest(draft: Draft, service_id: ServiceId) -> bool:
    """Whether this is a one-off service with just the task that it asks for, on its way to run or running where it may: mostly it is so, and then `reconcile`
    would find nothing to do."""
    task_id = draft.index.slots.lone(service_id) if service_id in draft.index.one_off else None
    if task_id is None:
        return False
    task = draft.index.tasks[task_id]
    return draft.index.one_off_of(task) is not None and restart.is_at_rest(draft, task)


def reconcile(draft: Draft, service: Service, keys: Iterable[SlotKey], *, itself: bool) -> None:
    """Bring the service's slots to what it asks for. `keys`: the slots to look at; `itself`: whether its update is to be looked at, too."""
    slots = draft.index.slots.of(service.id)
    wanted = 1 if service.spec.mode.replicas is None else service.spec.mode.replicas
    if slots.number_kept > wanted:
        _shrink(draft, service, slots.number_kept - wanted)
    looked, tasks = draft.looked.setdefault(service.id, []), draft.index.tasks
    for key in in_order(keys):
        if draft.full:
            return
        only = slots.only(key)
        if only is None or not restart.is_at_rest(draft, tasks[only]):
            if slots.is_kept(key):
                restart.check(draft, service, key, draft.tasks_in(service.id, key))
            reap(draft, service.id, key)
        looked.append(key)
    _grow(draft, service, wanted)
    if itself or update.is_under_way(service):
        update.advance(draft, service)
    rebalance.advance(draft, service)


def _grow(draft: Draft, service: Service, wanted: int) -> None:
    slots = draft.index.slots.of(service.id)
    missing = wanted - slots.number_kept
    if missing <= 0:
        return
    cause = f"scaled up to {wanted}" if slots.keys else "service created"
    while missing > 0 and not draft.full:
        new_task(draft, service, slot=draft.index.slots.of(service.id).lowest_free(), cause=cause)
        missing -= 1


def _shrink(draft: Draft, service: Service, surplus: int) -> None:
    """Give up this many slots."""
    slots = draft.index.slots.of(service.id)
    victims = in_order(slots.idle())[::-1][:surplus]
    victims += _from_the_fullest(slots, surplus - len(victims))
    for key in victims:
        if draft.full:
            return
        for task in draft.tasks_in(service.id, key):
            stop(draft, task, REMOVE, "scaled down")
        reap(draft, service.id, key)


def _from_the_fullest(slots: ServiceSlots, number: int) -> list[SlotKey]:
    """This many slots that run: of the node that holds most of them, the highest first, again and again."""
    found: dict[SlotKey, None] = {}
    if number <= 0:
        return []
    left: dict[NodeId, list[int]] = {}
    heap = [(-len(keys), -max(key for key in keys if isinstance(key, int)), node_id) for node_id, keys in slots.nodes.items()]
    heapq.heapify(heap)
    while len(found) < number and heap:
        _, _, node_id = heapq.heappop(heap)
        keys = left.get(node_id)
        if keys is None:
            keys = left[node_id] = sorted(key for key in slots.nodes[node_id] if isinstance(key, int))
        found[keys.pop()] = None
        if keys:
            heapq.heappush(heap, (-len(keys), -keys[-1], node_id))
    return list(found)
