"""The planner: one pass that allocates, orchestrates and schedules. The only place that decides what runs where.

`plan` takes the events of committed batches in and returns what to propose next, as one log entry. It is pure: the
time and the randomness come in, and the index is the only thing that it changes, in this way:

- The events are taken in for good, and mark what they touch (services, slots, nodes, networks).
- The plan's own changes are not: what was committed comes back as events with the next call, which is how a plan takes
  effect. The index is as before once the next call begins, or whoever reads it has asked for that (`Index.settle`).
- A mark stays until a plan has looked there and had nothing to change. So a plan that the store refused, or that was
  never proposed, is made again by the next call, with whatever came in meanwhile.

So the leader's loop is: wait for events or for the deadline; plan with all events since the last call; propose when
there are changes. Events must be complete and in the store's order. Work is proportional to the events: nothing is
searched through, except that a task for which there is no node is explained node by node.

A plan is bounded (`manager.draft.PLAN_BYTES`). What did not fit is left to the next call; the deadline is then
`now_ns`.
"""

from __future__ import annotations

from contextlib import ExitStack
from random import Random
from typing import Final

import msgspec

from cluster.model.changes import Change
from cluster.model.ids import ServiceId
from cluster.model.specs import ServiceModeKind
from manager import marking
from manager.allocator import endpoints, networks
from manager.draft import Draft, Reason, Touched, Why
from manager.index import Index
from manager.orchestrator import global_service, jobs, reaper, replicated
from manager.orchestrator.agenda import ServiceMarks
from manager.scheduler.place import place
from manager.store import Event

_REPLICATED: Final = ServiceModeKind.REPLICATED

__all__ = ["Plan", "Reason", "dry_run", "plan"]


class Plan(msgspec.Struct, frozen=True):
    """What to propose as one log entry; why tasks are where they are or nowhere (by task id; networks that could not
    be allocated by network id); and when to plan again without any event (None: not at all)."""

    changes: tuple[Change, ...]
    reasons: dict[str, Why]
    deadline_ns: int | None


def plan(index: Index, batch: tuple[Event, ...], now_ns: int, rng: Random) -> Plan:
    """Take `batch` in and plan. `now_ns`: Unix time, not before that of the last call. See the module."""
    marking.take(index, batch)
    index.begin()
    with ExitStack() as undo:
        undo.callback(index.rollback)
        made = _pass(index, now_ns, rng)
        undo.pop_all()
    index.hold(len(made.changes))
    return made


def dry_run(index: Index, batch: tuple[Event, ...], now_ns: int, rng: Random) -> Plan:
    """What `plan` would say after these events; the index stays exactly as it is."""
    index.settle(())
    marks = index.marks()
    index.begin()
    try:
        marking.take(index, batch)
        index.begin()
        try:
            return _pass(index, now_ns, rng)
        finally:
            index.rollback()
    finally:
        index.rollback()
        index.set_marks(marks)


def _pass(index: Index, now_ns: int, rng: Random) -> Plan:
    agenda = index.agenda
    agenda.wake(now_ns)
    draft = Draft(index, now_ns, rng)
    networks.allocate(draft, tuple(agenda.networks))
    networks.attach_nodes(draft, tuple(agenda.nodes))
    done: list[ServiceId] = []
    for service_id, marks in tuple(agenda.services.items()):
        if draft.full:
            break
        if replicated.is_at_rest(draft, service_id):
            draft.at_rest.append(service_id)
            continue
        _service(draft, service_id, marks)
        if not draft.full:
            done.append(service_id)
    moved = tuple(draft.moved)
    place(draft)
    changes, touched = draft.changes()
    for service_id in moved:
        if service_id in touched.slots or service_id in touched.services:
            agenda.touch_again(service_id)
    _settle(draft, done, touched)
    deadline_ns = now_ns if draft.full else agenda.next_deadline_ns()
    return Plan(changes, draft.reasons, deadline_ns)


def _service(draft: Draft, service_id: ServiceId, marks: ServiceMarks) -> None:
    """Everything that one service's marks ask for."""
    index = draft.index
    service = index.services.get(service_id)
    if marks.every:
        marks.slots.update(dict.fromkeys(index.slots.of(service_id).keys))
        if service_id in index.global_services:
            marks.slots.update(dict.fromkeys(index.nodes))
        marks.every = False
    if service is None:
        reaper.remove_service(draft, service_id, tuple(marks.slots))
        return
    if marks.itself:
        service = endpoints.allocate(draft, service)
    kind, slots = service.spec.mode.kind, tuple(marks.slots)
    if kind is _REPLICATED:  # most are: a match takes longer
        replicated.reconcile(draft, service, slots, itself=marks.itself)
    elif kind is ServiceModeKind.GLOBAL:
        global_service.reconcile(draft, service, slots, itself=marks.itself)
    else:
        jobs.reconcile(draft, service, slots)


def _settle(draft: Draft, done: list[ServiceId], touched: Touched) -> None:
    """Take away the marks of what was looked at and needs no change."""
    agenda = draft.index.agenda
    for service_id in tuple(draft.looked):
        changed = touched.slots.get(service_id, {})
        agenda.settle_service(service_id, [key for key in draft.looked[service_id] if key not in changed], itself=False)
    for service_id in done:
        if service_id not in touched.slots and service_id not in touched.services:
            agenda.settle_service(service_id, (), itself=True)
    for service_id in draft.at_rest:
        if service_id not in touched.slots and service_id not in touched.services:
            del agenda.services[service_id]
    index, moving = draft.index, set[ServiceId]()
    if draft.tried:
        moving = {index.tasks[id_].service_id for id_ in index.placed} | touched.slots.keys()
    agenda.settle(
        [id_ for id_ in agenda.networks if id_ not in touched.networks],
        [id_ for id_ in agenda.nodes if id_ not in touched.nodes and id_ not in draft.unattached],
        [id_ for id_ in draft.tried if (task := index.tasks.get(id_)) is None or task.service_id not in moving],
    )
    agenda.nodes.update(draft.unattached)
