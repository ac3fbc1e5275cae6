"""What must hold of the cluster after every commit (SwarmKit's TLA+ specification and further invariants).

Owns the sums that are kept by change: what nodes carry, which addresses and ports are given. soundness.py looks at everything,
now and then. Source: swarmkit's design notes and specification.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cluster.model.changes import Kind
from cluster.model.objects import Node, Service, Task
from cluster.model.specs import PublishMode
from manager.scheduler.usage import holds_node
from manager.store import Batch, Event, Store
from sim.checks.soundness import check_state
from sim.checks.tasks import check_step, check_suits, may_run, states
from sim.failure import Broken
from sim.properties import Properties


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
        fresh, batches = False, tuple(batches)
        for place, batch in enumerate(batches, 1):
            if batch.index <= self._seen:
                continue
            self._seen, fresh = batch.index, True
            for event in batch.events:
                if event.kind is Kind.TASK:
                    self._task(store, event, batches[place:])
                elif isinstance(event.before, Service) and isinstance(event.after, Service):
                    _check_service(event.before, event.after)
        if fresh:
            self.look(store, now_ns)
        if fresh and now_ns - self._looked_ns >= self._every_ns:
            self._looked_ns = now_ns
            check_state(store)

    def look(self, store: Store, now_ns: int) -> None:
        """Ask other people's properties."""
        if self._properties.wanted:
            self._properties.look(store, now_ns)

    def _task(self, store: Store, event: Event, later: tuple[Batch, ...]) -> None:
        before, after = event.before, event.after
        was, now = (task if isinstance(task, Task) else None for task in (before, after))
        if was is not None and now is not None:
            check_step(was, now)
        elif was is not None and may_run(store, was):
            raise Broken(f"task {was.id} was forgotten while it may run on {was.node_id}", *states(was, None))
        self._hold(store, was, now, later)

    def _hold(self, store: Store, was: Task | None, now: Task | None, later: tuple[Batch, ...]) -> None:
        held, holds = (task is not None and holds_node(task) for task in (was, now))
        if held and holds and was is not None and now is not None and (was.networks, was.endpoint) == (now.networks, now.endpoint):
            return
        if held and was is not None:
            self._count(was, -1)
        if holds and now is not None:
            self._count(now, 1)
            if not held:
                self._fits(_node_before(store, now.node_id, later), now)

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

    def _fits(self, node: Node | None, task: Task) -> None:
        """A placement satisfies what was asked for, as things are at its commit."""
        if node is None:
            return
        have = node.description.resources
        if self._memory[node.id] > have.memory_bytes or self._cpus[node.id] > have.nano_cpus:
            raise Broken(f"node {node.id} has promised more than it has, with task {task.id}")
        check_suits(node, task)


def _node_before(store: Store, id: str, later: tuple[Batch, ...]) -> Node | None:
    """The node as it was before these batches, which the store has seen already: several entries may be committed at once."""
    for event in (event for batch in later for event in batch.events):
        if event.kind is Kind.NODE and event.id == id:
            return event.before if isinstance(event.before, Node) else None
    return store.get(Kind.NODE, id)


def _check_service(before: Service, after: Service) -> None:
    """A service keeps its mode, and the ports that it leaves to the allocator keep their numbers."""
    if after.spec.mode.kind is not before.spec.mode.kind:
        raise Broken(f"service {after.spec.name} went from {before.spec.mode.kind.value} to {after.spec.mode.kind.value}")
    was, now = _chosen(before), _chosen(after)
    for key in was:
        if key in now and was[key] != now[key]:
            raise Broken(f"the port of service {after.spec.name} for {key[1]} went from {was[key]} to {now[key]}")


def _chosen(service: Service) -> dict[tuple[str, int], int]:
    """Numbers that the allocator has given, by protocol and target."""
    asked = service.spec.endpoint.ports if service.spec.endpoint else ()
    free = {(port.protocol, port.target_port) for port in asked if port.published_port == 0 and port.publish_mode is PublishMode.INGRESS}
    given = service.endpoint.ports if service.endpoint else ()
    shared = [port for port in given if port.publish_mode is PublishMode.INGRESS]
    return {(port.protocol, port.target_port): port.published_port for port in shared if (port.protocol, port.target_port) in free}
