"""Mistakes of SwarmKit's orchestrators, scheduler and allocator, each as a small change of ours: test_planner_mutants.py shows that a property catches it.

Owns the mistakes: where each is put, and the function that makes it. Nowhere in the product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from cluster.model.objects import Service, Task, TaskStatus
from cluster.model.task_state import TaskState
from manager import marking, planner
from manager.allocator import endpoints, ports
from manager.draft import Draft, Reason
from manager.index import Index
from manager.orchestrator import reaper
from manager.orchestrator.slots import slot_key
from manager.scheduler import filters, generic, place, preemption
from manager.scheduler.filters import Ask
from manager.scheduler.usage import NodeUse
from manager.store import transaction


class Mutant(NamedTuple):
    """`module.name` is to be `mistake`."""

    module: Any
    name: str
    mistake: Callable[..., Any]


def _frees_for_all(use: NodeUse, reserve: Any, wanted: Any, sign: int) -> None:
    use.cpus += sign * reserve.nano_cpus
    use.memory += sign * reserve.memory_bytes
    for port in wanted:
        if sign > 0:
            use.ports[port] = use.ports.get(port, 0) + 1
        else:
            use.ports.pop(port, None)


def _settles_what_was_refused(draft: Draft, done: list[Any], touched: Any) -> None:
    agenda = draft.index.agenda
    for service_id in tuple(agenda.services):
        agenda.settle_service(service_id, tuple(agenda.services[service_id].slots), itself=True)
    agenda.settle(tuple(agenda.networks), tuple(agenda.nodes), tuple(agenda.retry))


def _marks_the_first_violator(index: Index, node_id: Any, before: object, after: object) -> None:
    for task_id in list(index.uses[node_id].tasks)[:1]:
        task = index.tasks[task_id]
        index.agenda.touch(task.service_id, slot_key(task))


def _sums_nothing(resources: Any) -> tuple[tuple[str, int], ...]:
    return tuple((one.kind, one.count) for one in resources)


_chosen = generic.chosen


def _gives_again(asked: Any, have: Any, _held: Any) -> Any:
    return _chosen(asked, have, {})


def _last_report_wins(task: Task, status: TaskStatus) -> tuple[TaskStatus, tuple[TaskStatus, ...]]:
    return status, task.history


def _frees_what_the_store_holds(draft: Draft, service: Service) -> Service:
    endpoint = endpoints._endpoint(draft, service)
    if isinstance(endpoint, str):
        draft.index.unallocated[service.id] = endpoint
        endpoint = None
    if endpoint != service.endpoint:
        draft.put(msgspec.structs.replace(service, endpoint=endpoint))
    return draft.index.services[service.id]


_all_verdicts = filters.verdicts


def _first_verdict(ask: Ask, node: Any, use: NodeUse) -> Any:
    return _all_verdicts(ask, node, use)[:1]


def _says_nothing_while_new(draft: Draft, task: Task, state: TaskState, reason: Reason) -> None:
    draft.reasons[task.id] = reason


def _evicts_all_lower(draft: Draft, ask: Ask, node: Any, use: NodeUse, after: NodeUse) -> Any:
    lower = tuple(t for t in (draft.index.tasks[i] for i in use.tasks) if draft.index.wish(t.service_id).priority < ask.priority and t.desired_state <= 512)
    return preemption._Choice(0, len(lower), use.active, node.id, lower) if lower and filters.fits(ask, node, after.without(lower)) else None


def _evicts_equals(draft: Draft, ask: Ask, node: Any, use: NodeUse, after: NodeUse) -> Any:
    equal = [t for t in (draft.index.tasks[i] for i in use.tasks) if draft.index.wish(t.service_id).priority <= ask.priority and t.desired_state <= 512]
    for task in equal:
        if filters.fits(ask, node, after.without([task])):
            return preemption._Choice(0, 1, use.active, node.id, (task,))
    return None


MUTANTS: Final = {
    "one holder's end frees a host port for all": Mutant(NodeUse, "claim", _frees_for_all),
    "a node that was drained meanwhile gets the task": Mutant(transaction.Transaction, "_check_node", lambda *_: None),
    "what a refused plan was to do is lost": Mutant(planner, "_settle", _settles_what_was_refused),
    "tasks on their way out are deleted while they run": Mutant(reaper, "is_final", lambda state: True),
    "the constraint enforcer stops after the first violator": Mutant(marking, "_mark_node", _marks_the_first_violator),
    "a later, lower status overwrites a higher one": Mutant(transaction, "merged_status", _last_report_wins),
    "a new port renumbers the others": Mutant(ports, "_kept", lambda port, before: 0),
    "a failed update of ports frees those that it had": Mutant(endpoints, "allocate", _frees_what_the_store_holds),
    "only the first filter is told": Mutant(filters, "verdicts", _first_verdict),
    "nobody says why a task is still new": Mutant(place, "_wait", _says_nothing_while_new),
    "more is evicted than needed": Mutant(preemption, "_choice", _evicts_all_lower),
    "generic resources are checked entry by entry": Mutant(generic, "sums", _sums_nothing),
    "a name that is in use is given again": Mutant(generic, "chosen", _gives_again),
    "equals are evicted": Mutant(preemption, "_choice", _evicts_equals),
}
