"""What a committed event asks the planner to look at.

Owns the way from a change of the store to marks on the agenda; never decides what is to be done there. Marks are as
narrow as the change: a task marks its slot, a node its own tasks' slots, a service all of its slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from cluster.model.changes import Object
from cluster.model.ids import NodeId
from cluster.model.objects import Cluster, Network, Node, Service, Task
from cluster.model.placement_labels import Rebalance
from cluster.model.specs import ServiceModeKind
from cluster.model.task_state import FAILED, READY, REJECTED, RUNNING, is_final, is_wished
from manager.index import FAILURES, Index, attributes
from manager.orchestrator.dependencies import awaited
from manager.orchestrator.slots import slot_key
from manager.scheduler.usage import holds_node
from manager.store import Event


def take(index: Index, events: Sequence[Event]) -> None:
    """Take committed events in, in the store's order, and mark what they touch."""
    for event in index.settle(events):
        before, after = event.before, event.after
        if after is None:
            index.drop(event.kind, event.id)
        else:
            index.put(after)
        if type(after) is Task:  # most are: a match takes longer
            _mark_task(index, after, cast("Task | None", before), after)
        else:
            _mark(index, before, after)


def _mark(index: Index, before: Object | None, after: Object | None) -> None:
    obj = after if after is not None else before
    match obj:
        case Task():
            _mark_task(index, obj, obj, None)
        case Node():
            _mark_node(index, obj.id, before, after)
        case Service():
            if isinstance(before, Service) and after is not None and obj.spec.mode.kind is ServiceModeKind.REPLICATED:
                index.agenda.touch_service(obj.id)  # a slot's tasks go by what they were made from
            else:
                index.agenda.touch_all(obj.id)
            _retry_all(index)
            if after is None:
                index.unallocated.pop(obj.id, None)
            if isinstance(before, Service) and before.spec_version != getattr(after, "spec_version", None):
                index.failures.pop((obj.id, before.spec_version), None)
        case Network():
            index.refused.pop(obj.id, None)
            for network_id in (obj.id, *index.refused):
                index.agenda.networks[network_id] = None
            for node_id in index.nodes if obj.spec.ingress else index.attached.get(obj.id, {}):
                index.agenda.nodes[node_id] = None
            _retry_all(index)
        case Cluster():
            _mark_cluster(index, before, after)
        case None:
            pass


def _mark_task(index: Index, task: Task, before: Task | None, after: Task | None) -> None:
    if after is not None and after.service_id in index.one_off and _waits_as_asked(index, after):
        index.agenda.services.pop(after.service_id, None)
    else:
        index.agenda.touch(task.service_id, slot_key(task))
    if index.dependencies.dependents and awaited(index, task.service_id):
        index.agenda.retry_pending = True
    if after is not None and after.desired_state is READY:
        index.arm(after)
    if before is None and task.id in index.pending:
        index.agenda.retry[task.id] = None
    if before is None or not before.node_id:
        return
    freed = after is None or (holds_node(before) and not holds_node(after))
    if freed or (after is not None and is_wished(before.desired_state) and not is_wished(after.desired_state)):
        index.agenda.retry_pending = True
    failed = after is not None and after.status.state in (FAILED, REJECTED)
    if failed and after is not None and not is_final(before.status.state):
        nodes = index.failures.setdefault((after.service_id, after.spec_version), {})
        nodes[after.node_id] = (*nodes.get(after.node_id, ()), after.status.timestamp_ns)[-FAILURES:]


def _waits_as_asked(index: Index, task: Task) -> bool:
    """Whether it is plain that all is done for the task's service, and that it gets a node is all that is missing: so most tasks of one-off services come."""
    return not task.node_id and task.desired_state is RUNNING and not is_final(task.status.state) and index.one_off_of(task) is not None


def _mark_node(index: Index, node_id: NodeId, before: Object | None, after: Object | None) -> None:
    index.agenda.nodes[node_id] = None
    if isinstance(before, Node) and isinstance(after, Node) and attributes(before) == attributes(after):
        return
    use = index.uses.get(node_id)
    for task_id in use.tasks if use is not None else ():
        task = index.tasks[task_id]
        index.agenda.touch(task.service_id, slot_key(task))
    for service_id in index.global_services:
        index.agenda.touch(service_id, node_id)
    for service_id, wish in index.wishes.items():
        if wish.rebalance is not Rebalance.OFF:
            index.agenda.touch_service(service_id)
    index.agenda.retry_pending = True


def _mark_cluster(index: Index, before: Object | None, after: Object | None) -> None:
    limits = [c.spec.task_history_limit for c in (before, after) if isinstance(c, Cluster)]
    if len(set(limits)) > 1:
        for service_id in index.services:
            index.agenda.touch_all(service_id)


def _retry_all(index: Index) -> None:
    """Ports or networks came or went: what could not be allocated may be now."""
    index.agenda.retry_pending = True
    for service_id in index.unallocated:
        index.agenda.touch_all(service_id)
