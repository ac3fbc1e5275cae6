"""What must hold after every commit of the planner (swarm-facts: SwarmKit's TLA+ specification and further invariants)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cluster.model.changes import Kind
from cluster.model.objects import NodeState, Task
from cluster.model.specs import PublishMode
from cluster.model.task_state import MANAGER, TaskState, is_final
from manager.index import Index
from manager.orchestrator import constraints
from manager.orchestrator.restart import MAX_STOP_WAIT_NS, delay_ns
from manager.store import Event, Store


def check_steps(store: Store, events: Iterable[Event], now_ns: int) -> None:
    """Each of the planner's own steps is one that it may take. `store`: after them."""
    for event in events:
        if event.kind is not Kind.TASK:
            continue
        before, after = event.before, event.after
        if isinstance(before, Task) and isinstance(after, Task):
            assert after.desired_state >= before.desired_state, "a wish went back"
            assert (after.service_id, after.slot) == (before.service_id, before.slot)
            assert not before.node_id or after.node_id == before.node_id
            if after.status.state is not before.status.state:
                assert after.status.state in MANAGER[before.status.state], (before.status.state, after.status.state)
            if before.desired_state < TaskState.RUNNING and after.desired_state is TaskState.RUNNING:
                _check_release(store, before, now_ns)
        elif isinstance(before, Task):
            assert not _may_run(store, before), "a task was forgotten that may still run"
        elif isinstance(after, Task):
            assert after.status.state <= TaskState.ASSIGNED
            _check_placement(store, after)
        if isinstance(after, Task) and isinstance(before, Task) and not before.node_id:
            _check_placement(store, after)


def _may_run(store: Store, task: Task) -> bool:
    if is_final(task.status.state) or task.status.state < TaskState.ASSIGNED:
        return False
    node = store.get(Kind.NODE, task.node_id)
    return node is not None and node.status.state is not NodeState.DOWN


def _check_release(store: Store, task: Task, now_ns: int) -> None:
    if now_ns >= task.released_at_ns + MAX_STOP_WAIT_NS:
        return
    if task.released_at_ns > now_ns + delay_ns(task):
        return  # by a clock that ran ahead
    assert now_ns >= task.released_at_ns, "released before its time"
    for other in store.tasks_of_service(task.service_id):
        same_slot = (other.slot or other.node_id) == (task.slot or task.node_id)
        if same_slot and other.id != task.id and other.desired_state > TaskState.RUNNING:
            assert not _may_run(store, other), "released while the task before it may run"


def _check_placement(store: Store, task: Task) -> None:
    if task.status.state is not TaskState.ASSIGNED:
        return
    node = store.get(Kind.NODE, task.node_id)
    assert node is not None
    assert node.status.state is NodeState.READY
    assert node.spec.availability.value == "active"
    texts = task.spec.placement.constraints if task.spec.placement else ()
    assert constraints.satisfied(constraints.parse_all(texts), node)


def check_state(store: Store) -> None:
    """The store as a whole is sound."""
    tasks = store.all(Kind.TASK)
    for task in tasks:
        assert task.status.state is not TaskState.REMOVE
        if task.status.state >= TaskState.ASSIGNED and task.status.state not in (TaskState.REJECTED, TaskState.SHUTDOWN):
            assert task.node_id
    _check_nodes(store, tasks)
    _check_slots(store, tasks)
    _check_addresses(store, tasks)
    _check_ports(store)


def _holds(task: Task) -> bool:
    return bool(task.node_id) and TaskState.ASSIGNED <= task.status.state <= TaskState.RUNNING


def _check_nodes(store: Store, tasks: Iterable[Task]) -> None:
    memory: Counter[str] = Counter()
    ports: Counter[tuple[str, str, int]] = Counter()
    replicas: Counter[tuple[str, str]] = Counter()
    for task in tasks:
        if not _holds(task):
            continue
        memory[task.node_id] += task.spec.reservations.memory_bytes if task.spec.reservations else 0
        for port in task.endpoint.ports if task.endpoint else ():
            if port.publish_mode is PublishMode.HOST:
                ports[task.node_id, port.protocol, port.published_port] += 1
        limit = task.spec.placement.max_replicas if task.spec.placement else 0
        if limit and task.desired_state <= TaskState.RUNNING:
            replicas[task.node_id, task.service_id] += 1
            assert replicas[task.node_id, task.service_id] <= limit
    assert all(count == 1 for count in ports.values()), "a host port twice on one node"
    for node in store.all(Kind.NODE):
        assert memory[node.id] <= node.description.resources.memory_bytes


def _check_slots(store: Store, tasks: Iterable[Task]) -> None:
    """At most one task is wished to run per slot; a start-first update has two, of two specs."""
    live: dict[tuple[str, object], list[Task]] = {}
    for task in tasks:
        if task.desired_state is TaskState.RUNNING:
            live.setdefault((task.service_id, task.slot or task.node_id), []).append(task)
    for (_, key), found in live.items():
        assert len(found) <= 2, f"{len(found)} tasks are wished to run in slot {key}"
        assert len({t.spec_version for t in found}) == len(found), f"two tasks of one spec in slot {key}"


def _check_addresses(store: Store, tasks: Iterable[Task]) -> None:
    taken: Counter[tuple[str, str]] = Counter()
    marks: Counter[tuple[str, int]] = Counter()
    for network in store.all(Kind.NETWORK):
        if network.gateway:
            taken[network.id, network.gateway] += 1
    for node in store.all(Kind.NODE):
        taken.update((a.network_id, a.address.partition("/")[0]) for a in node.attachments)
    for service in store.all(Kind.SERVICE):
        for vip in service.endpoint.virtual_ips if service.endpoint else ():
            if vip.address:
                taken[vip.network_id, vip.address.partition("/")[0]] += 1
                marks[vip.network_id, vip.mark] += 1
    for task in tasks:
        if _holds(task):
            taken.update((n.network_id, n.address.partition("/")[0]) for n in task.networks if n.address)
    assert not [a for a, count in taken.items() if count > 1], "an address was given twice"
    assert not [m for m, count in marks.items() if count > 1], "a mark was given twice"


def _check_ports(store: Store) -> None:
    ports = Counter(
        (port.protocol, port.published_port)
        for service in store.all(Kind.SERVICE)
        for port in (service.endpoint.ports if service.endpoint else ())
        if port.publish_mode is PublishMode.INGRESS
    )
    assert not [p for p, count in ports.items() if count > 1], "an ingress port was given twice"


def shape(index: Index) -> dict[str, object]:
    """Everything of an index that is a function of the store's objects, to compare with one that was rebuilt."""
    return {
        "clusters": index.clusters,
        "nodes": index.nodes,
        "services": index.services,
        "tasks": index.tasks,
        "networks": index.networks,
        "uses": {
            id_: (set(u.tasks), u.cpus, u.memory, u.active, dict(u.by_service), dict(u.ports))
            for id_, u in index.uses.items()
        },
        "slots": {
            id_: ({k: set(v) for k, v in s.tasks.items()}, dict(s.kept)) for id_, s in index.slots.services.items()
        },
        "addresses": index.addresses.used,
        "ports": {k: set(v) for k, v in index.ports.ports.items()},
        "marks": index.ports.marks,
        "pending": set(index.pending),
        "global": set(index.global_services),
        "ingress": set(index.ingress),
        "attached": {k: set(v) for k, v in index.attached.items()},
    }
