"""What must hold of the cluster after every commit (SwarmKit's TLA+ specification and further invariants).

Owns the sums that are kept by change: what nodes carry, which addresses and ports are given. `check_state` looks at
everything, now and then. Source: swarmkit's design notes and specification.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from cluster.model.changes import Kind
from cluster.model.objects import Node, NodeState, Service, Task
from cluster.model.specs import PortConfig, PublishMode
from cluster.model.task_state import AGENT, MANAGER, TaskState, is_final
from manager.orchestrator import constraints
from manager.scheduler.usage import holds_node
from manager.store import Batch, Event, Store
from sim.failure import Broken
from sim.properties import Properties

ALLOWED: Final = {state: MANAGER.get(state, frozenset()) | AGENT.get(state, frozenset()) for state in TaskState}
"""Observed state -> the next, whoever moves it on. Reports may be merged, so the agent's row holds later states too."""


class ClusterChecks:
    """Every log entry is looked at once, when the first manager has applied it."""

    def __init__(self, properties: Properties, *, every_ns: int) -> None:
        self._properties = properties
        self._seen = 0
        self._every_ns = every_ns
        self._looked_ns = 0
        self._memory: Counter[str] = Counter()
        self._cpus: Counter[str] = Counter()
        self._addresses: dict[tuple[str, str], str] = {}
        self._host_ports: dict[tuple[str, str, int], str] = {}

    def feed(self, store: Store, batches: Iterable[Batch], now_ns: int) -> None:
        """`store`: after the batches."""
        fresh = False
        for batch in batches:
            if batch.index <= self._seen:
                continue
            self._seen, fresh = batch.index, True
            for event in batch.events:
                if event.kind is Kind.TASK:
                    self._task(store, event)
        if fresh:
            self.look(store, now_ns)
        if fresh and now_ns - self._looked_ns >= self._every_ns:
            self._looked_ns = now_ns
            check_state(store)

    def look(self, store: Store, now_ns: int) -> None:
        """Ask other people's properties."""
        if self._properties.wanted:
            self._properties.look(store, now_ns)

    def _task(self, store: Store, event: Event) -> None:
        before, after = event.before, event.after
        was, now = (task if isinstance(task, Task) else None for task in (before, after))
        if was is not None and now is not None:
            check_step(was, now)
        elif was is not None and may_run(store, was):
            raise Broken(f"task {was.id} was forgotten while it may run on {was.node_id}", *_states(was, None))
        self._hold(store, was, now)

    def _hold(self, store: Store, was: Task | None, now: Task | None) -> None:
        held, holds = (task is not None and holds_node(task) for task in (was, now))
        if held and holds and was is not None and now is not None and (was.networks, was.endpoint) == (now.networks, now.endpoint):
            return
        if held and was is not None:
            self._count(was, -1)
        if holds and now is not None:
            self._count(now, 1)
            if not held:
                self._fits(store, now)

    def _count(self, task: Task, sign: int) -> None:
        if task.spec.reservations is not None:
            self._memory[task.node_id] += sign * task.spec.reservations.memory_bytes
            self._cpus[task.node_id] += sign * task.spec.reservations.nano_cpus
        for attachment in task.networks:
            key = (attachment.network_id, attachment.address)
            if sign < 0:
                self._addresses.pop(key, None)
            elif self._addresses.setdefault(key, task.id) != task.id:
                raise Broken(f"address {attachment.address} belongs to the tasks {self._addresses[key]} and {task.id}")
        for port in task.endpoint.ports if task.endpoint else ():
            if port.publish_mode is not PublishMode.HOST:
                continue
            place = (task.node_id, port.protocol, port.published_port)
            if sign < 0:
                self._host_ports.pop(place, None)
            elif self._host_ports.setdefault(place, task.id) != task.id:
                raise Broken(f"port {port.published_port} of node {task.node_id} belongs to two tasks")

    def _fits(self, store: Store, task: Task) -> None:
        """A placement satisfies what was asked for, as things are at its commit."""
        node = store.get(Kind.NODE, task.node_id)
        if node is None:
            return
        have = node.description.resources
        if self._memory[node.id] > have.memory_bytes or self._cpus[node.id] > have.nano_cpus:
            raise Broken(f"node {node.id} has promised more than it has, with task {task.id}")
        texts = task.spec.placement.constraints if task.spec.placement else ()
        if not constraints.satisfied(constraints.parse_all(texts), node):
            raise Broken(f"task {task.id} is on node {node.id}, which does not satisfy its constraints")


def check_step(before: Task, after: Task) -> None:
    """One commit of one task."""
    if (after.service_id, after.slot) != (before.service_id, before.slot):
        raise Broken(f"task {after.id} changed its place", *_states(before, after))
    if before.node_id and after.node_id != before.node_id:
        raise Broken(f"task {after.id} moved from {before.node_id} to {after.node_id}", *_states(before, after))
    if after.desired_state < before.desired_state:
        raise Broken(f"what is wished of task {after.id} went back", *_states(before, after))
    state, new = before.status.state, after.status.state
    if new is not state and new not in ALLOWED[state]:
        raise Broken(f"task {after.id} went from {state.name} to {new.name}", *_states(before, after))


def may_run(store: Store, task: Task) -> bool:
    if is_final(task.status.state) or task.status.state < TaskState.ASSIGNED:
        return False
    node = store.get(Kind.NODE, task.node_id)
    return node is not None and node.status.state is not NodeState.DOWN


def check_state(store: Store) -> None:
    """The store as a whole is sound."""
    tasks = store.all(Kind.TASK)
    for task in tasks:
        if task.status.state is TaskState.REMOVE:
            raise Broken(f"task {task.id} is observed as REMOVE")
        if task.status.state >= TaskState.ASSIGNED and task.status.state not in (TaskState.REJECTED, TaskState.SHUTDOWN) and not task.node_id:
            raise Broken(f"task {task.id} is {task.status.state.name} on no node")
    _check_slots(tasks)
    _check_addresses(store, tasks)
    _check_ports(store)


def _check_slots(tasks: Iterable[Task]) -> None:
    """At most one task is wished to run per slot; a start-first update has two, of two specs."""
    live: dict[tuple[str, object], list[Task]] = {}
    for task in tasks:
        if task.desired_state is TaskState.RUNNING:
            live.setdefault((task.service_id, task.slot or task.node_id), []).append(task)
    for (_, key), found in live.items():
        if len(found) > 2 or len({task.spec_version for task in found}) != len(found):
            raise Broken(f"{len(found)} tasks are wished to run in slot {key}: " + ", ".join(task.id for task in found))


def _check_addresses(store: Store, tasks: Iterable[Task]) -> None:
    taken: Counter[tuple[str, str]] = Counter()
    for network in store.all(Kind.NETWORK):
        if network.gateway:
            taken[network.id, network.gateway] += 1
    for node in store.all(Kind.NODE):
        taken.update((a.network_id, a.address.partition("/")[0]) for a in node.attachments)
    for service in store.all(Kind.SERVICE):
        for vip in service.endpoint.virtual_ips if service.endpoint else ():
            if vip.address:
                taken[vip.network_id, vip.address.partition("/")[0]] += 1
    for task in tasks:
        if holds_node(task):
            taken.update((n.network_id, n.address.partition("/")[0]) for n in task.networks if n.address)
    for (network_id, address), count in taken.items():
        if count > 1:
            raise Broken(f"address {address} of network {network_id} was given {count} times")


def _check_ports(store: Store) -> None:
    ports = Counter((port.protocol, port.published_port) for service in store.all(Kind.SERVICE) for port in _ingress(service))
    for (protocol, number), count in ports.items():
        if count > 1:
            raise Broken(f"ingress port {number}/{protocol} was given {count} times")


def _ingress(service: Service) -> list[PortConfig]:
    return [port for port in (service.endpoint.ports if service.endpoint else ()) if port.publish_mode is PublishMode.INGRESS]


def _states(before: Task | None, after: Task | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (in_words(before),), (in_words(after),)


def in_words(item: Task | Node | None) -> str:
    """One line."""
    match item:
        case Task():
            where = f" on {item.node_id}" if item.node_id else ""
            return f"{item.service_name}.{item.slot or item.node_id} {item.id}{where}: {item.status.state.name}, wished {item.desired_state.name}"
        case Node():
            return f"node {item.id}: {item.status.state.value}, {item.spec.availability.value}"
        case _:
            return "(gone)"
