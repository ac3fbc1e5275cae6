"""Whether a store as a whole is sound: what must hold in every state, looked at all at once. Pure; tests of the planner look with
the same eyes.

Source: swarmkit's TLA+ specification, and what its allocator and scheduler promise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cluster.model import schedule
from cluster.model.changes import Kind
from cluster.model.objects import Service, Task
from cluster.model.specs import PortConfig, PublishMode, ServiceModeKind
from cluster.model.task_state import TaskState, is_wished
from manager.index import Index
from manager.orchestrator import rebalance
from manager.orchestrator.jobs import totals
from manager.orchestrator.slots import is_active
from manager.orchestrator.tasks import has_completed
from manager.scheduler.generic import sums
from manager.scheduler.usage import holds_node
from manager.store import Store
from sim.failure import Broken


def check_state(store: Store) -> None:
    """The store as a whole is sound."""
    tasks = store.all(Kind.TASK)
    for task in tasks:
        if task.status.state is TaskState.REMOVE:
            raise Broken(f"task {task.id} is observed as REMOVE")
        if task.status.state >= TaskState.ASSIGNED and task.status.state not in (TaskState.REJECTED, TaskState.SHUTDOWN) and not task.node_id:
            raise Broken(f"task {task.id} is {task.status.state.name} on no node")
    _check_nodes(store, tasks)
    _check_slots(tasks)
    _check_jobs(store)
    _check_addresses(store, tasks)
    _check_ports(store)


def _check_nodes(store: Store, tasks: Iterable[Task]) -> None:
    """No node has promised more than it has, and none has two of what there is one of."""
    memory: Counter[str] = Counter()
    cpus: Counter[str] = Counter()
    ports: Counter[tuple[str, str, int]] = Counter()
    replicas: Counter[tuple[str, str]] = Counter()
    generic: Counter[tuple[str, str]] = Counter()
    names: Counter[tuple[str, str, str]] = Counter()
    for task in tasks:
        if not holds_node(task):
            continue
        if task.spec.reservations is not None:
            memory[task.node_id] += task.spec.reservations.memory_bytes
            cpus[task.node_id] += task.spec.reservations.nano_cpus
            for asked in task.spec.reservations.generic:
                generic[task.node_id, asked.kind] += asked.count
        names.update((task.node_id, given.kind, given.name) for given in task.generic if given.name)
        ports.update((task.node_id, p.protocol, p.published_port) for p in (task.endpoint.ports if task.endpoint else ()) if p.publish_mode is PublishMode.HOST)
        most = task.spec.placement.max_replicas if task.spec.placement else 0
        if most and is_wished(task.desired_state):
            replicas[task.node_id, task.service_id] += 1
            if replicas[task.node_id, task.service_id] > most:
                raise Broken(f"node {task.node_id} has more than {most} tasks of service {task.service_name}")
    for (node_id, protocol, number), count in ports.items():
        if count > 1:
            raise Broken(f"port {number}/{protocol} of node {node_id} was given {count} times")
    for node in store.all(Kind.NODE):
        have = node.description.resources
        if memory[node.id] > have.memory_bytes or cpus[node.id] > have.nano_cpus:
            raise Broken(f"node {node.id} has promised more than it has")
        there = Counter(dict(sums(have.generic)))
        if any(count > there[kind] for (node_id, kind), count in generic.items() if node_id == node.id):
            raise Broken(f"node {node.id} has promised more generic resources than it has")
    if twice := [place for place, count in names.items() if count > 1]:
        raise Broken(f"two tasks were given the same: {twice[0]}")


def _check_slots(tasks: Iterable[Task]) -> None:
    """At most one task is wished to run per slot; a start-first update has two, of two specs, and one that is moved start-first has two for a while: the
    first, and the one that takes its place or the place of another that was to."""
    live: dict[tuple[str, object], list[Task]] = {}
    moves: dict[tuple[str, object], int] = {}  # index at which the latest one began
    for task in tasks:
        slot: tuple[str, object] = (task.service_id, task.slot or task.node_id)
        if TaskState.RUNNING <= task.desired_state <= TaskState.COMPLETE and not has_completed(task):
            live.setdefault(slot, []).append(task)
        if task.cause.endswith((rebalance.BECAUSE, " is drained")):
            moves[slot] = max(task.meta.created, moves.get(slot, 0))
    for slot, found in live.items():
        key = slot[1]
        two_specs = len({task.spec_version for task in found}) == len(found)
        moved = moves.get(slot, 0) > min(task.meta.created for task in found)
        if len(found) > 2 or not (two_specs or moved):
            raise Broken(f"{len(found)} tasks are wished to run in slot {key}: " + ", ".join(task.id for task in found))


def _check_jobs(store: Store) -> None:
    """No more of a job's tasks than may run at once, in no other slots than it has. (A scheduled one goes on when its numbers change.)"""
    for service in store.all(Kind.SERVICE):
        if service.spec.mode.kind is not ServiceModeKind.REPLICATED_JOB or schedule.of(service.spec.labels):
            continue
        concurrent, total = totals(service)
        own = [t for t in store.tasks_of_service(service.id) if t.job_iteration == service.job_iteration and t.desired_state < TaskState.REMOVE]
        if any(not 1 <= task.slot <= total for task in own):
            raise Broken(f"job {service.spec.name} of {total} has tasks in slots {sorted({task.slot for task in own})}")
        active = {task.slot for task in own if is_active(task)}
        if len(active) > concurrent:
            raise Broken(f"job {service.spec.name} has {len(active)} tasks under way where {concurrent} may be")


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
        if holds_node(task):
            taken.update((n.network_id, n.address.partition("/")[0]) for n in task.networks if n.address)
    for (network_id, address), count in taken.items():
        if count > 1:
            raise Broken(f"address {address} of network {network_id} was given {count} times")
    for (network_id, mark), count in marks.items():
        if count > 1:
            raise Broken(f"mark {mark} of network {network_id} was given {count} times")


def _check_ports(store: Store) -> None:
    ports = Counter((port.protocol, port.published_port) for service in store.all(Kind.SERVICE) for port in _ingress(service))
    for (protocol, number), count in ports.items():
        if count > 1:
            raise Broken(f"ingress port {number}/{protocol} was given {count} times")


def _ingress(service: Service) -> list[PortConfig]:
    return [port for port in (service.endpoint.ports if service.endpoint else ()) if port.publish_mode is PublishMode.INGRESS]


def shape(index: Index) -> dict[str, object]:
    """Everything of an index that is a function of the store's objects, to compare with one that was rebuilt."""
    return {
        "clusters": index.clusters,
        "nodes": index.nodes,
        "services": index.services,
        "tasks": index.tasks,
        "networks": index.networks,
        "uses": {
            id_: (set(u.tasks), u.cpus, u.memory, u.active, dict(u.by_service), dict(u.ports), dict(u.generic), dict(u.names))
            for id_, u in index.uses.items()
        },
        "slots": {id_: ({k: set(s.ids(k)) for k in s.keys}, {k: s.tally(k) for k in s.kept}, s.over) for id_, s in index.slots.each()},
        "addresses": index.addresses.used,
        "ports": {k: set(v) for k, v in index.ports.ports.items()},
        "marks": index.ports.marks,
        "pending": set(index.pending),
        "one-off": index.one_off,
        "global": set(index.global_services),
        "ingress": set(index.ingress),
        "attached": {k: set(v) for k, v in index.attached.items()},
    }


def check_index(store: Store, index: Index) -> None:
    """What the planner keeps by change is what it would be, made anew: addresses, ports, marks, slots and what nodes carry."""
    anew = Index.build(item for kind in Kind for item in store.all(kind))
    for id_, task in index.held():
        anew.drop(Kind.TASK, id_) if task is None else anew.put(task)
    kept, made = shape(index), shape(anew)
    if wrong := [name for name in made if kept[name] != made[name]]:
        raise Broken(f"the planner's {' and '.join(wrong)} are not what the store says")
