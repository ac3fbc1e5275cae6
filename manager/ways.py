"""Where a probe has to be sent from, and who has to watch it: containers, tasks and services by the words of a user. Pure, reads the store only.

A service as the source stands for its first running task; as the target for its virtual address, and for all nodes with a task of its.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from cluster.model.changes import Kind
from cluster.model.errors import InvalidArgument, NotFound
from cluster.model.ids import NetworkId, NodeId
from cluster.model.objects import Service, Task, VirtualIp, container_name
from cluster.model.specs import PublishMode
from cluster.model.task_state import TaskState, is_wished
from cluster.model.twins import twin
from manager.store import Store

ID_PREFIX_MIN: Final = 4  # characters of a container's id by which a user may mean it


@dataclass(frozen=True, slots=True)
class Place:
    """One container: where it runs and what it is called on which network (addresses plain)."""

    node_id: NodeId
    container_id: str
    name: str
    addresses: tuple[tuple[NetworkId, str], ...]


@dataclass(frozen=True, slots=True)
class Way:
    """`container_id` empty: from the node's own namespace. `port` 0: an echo request, else a connection to `ports[0]`."""

    title: str
    node_id: NodeId
    container_id: str
    address: str
    nodes: tuple[NodeId, ...]
    ports: tuple[int, ...] = ()


def between(store: Store, source: str, target: str) -> Way:
    """Raises NotFound, InvalidArgument."""
    start = next(iter(_meant(store, source)))
    try:
        address = str(ip_address(target))
    except ValueError:
        return _to_named(store, start, target)
    return Way(f"{start.name} to {address}", start.node_id, start.container_id, address, _nodes(start.node_id, _holders(store, address)))


def _holders(store: Store, address: str) -> Iterator[NodeId]:
    """The nodes of the containers with that address, of either family, or behind it where it is a service's virtual one."""

    def has(network_id: NetworkId, one: str) -> bool:
        network = store.get(Kind.NETWORK, network_id)
        return address == one or (network is not None and address == twin(network, one))

    yield from (place.node_id for place in _places(store) if any(has(*one) for one in place.addresses))
    for service in store.all(Kind.SERVICE):
        if any(has(v.network_id, v.address.partition("/")[0]) for v in (service.endpoint.virtual_ips if service.endpoint is not None else ())):
            yield from (task.node_id for task in _running(store, service))


def _to_named(store: Store, start: Place, target: str) -> Way:
    ends = tuple(_meant(store, target))
    own = [network_id for network_id, _ in start.addresses]
    virtual = {v.network_id: v.address.partition("/")[0] for v in _virtual(store, target)}
    theirs = virtual or dict(ends[0].addresses)
    shared = next((n for n in own if theirs.get(n)), None)
    if shared is None:
        raise InvalidArgument(f"{start.name} and {target} share no overlay network")
    address = theirs[shared]
    return Way(f"{start.name} to {target} ({address})", start.node_id, start.container_id, address, _nodes(start.node_id, (e.node_id for e in ends)))


def to_port(store: Store, port: int, node_id: NodeId) -> Way:
    """A connection to a TCP port that a service publishes through the mesh, from the node itself. Raises NotFound, InvalidArgument."""
    for service in store.all(Kind.SERVICE):
        for config in service.endpoint.ports if service.endpoint is not None else ():
            if config.publish_mode is PublishMode.INGRESS and config.published_port == port and config.protocol == "tcp":
                node = store.get(Kind.NODE, node_id)
                address = node.status.address if node is not None else ""
                nodes = _nodes(node_id, (t.node_id for t in _running(store, service)))
                return Way(f"port {port}", node_id, "", address, nodes, (port, config.target_port))
    raise NotFound(f"no service publishes TCP port {port} through the mesh")


def holder(store: Store, reference: str) -> tuple[NodeId, str]:
    """(node, what it is called there) of a container, a task, a service's first task, or a network with a task (its first). Raises NotFound."""
    network = store.by_name(Kind.NETWORK, reference) or store.get(Kind.NETWORK, NetworkId(reference))
    if network is None:
        try:
            place = next(_meant(store, reference))
        except NotFound:
            raise NotFound(f"no such task, container or network: {reference}") from None
        return place.node_id, place.container_id
    for place in _places(store):
        if any(network_id == network.id for network_id, _ in place.addresses):
            return place.node_id, network.id
    raise NotFound(f"network {network.spec.name} has no running task")


def _nodes(first: NodeId, others: Iterable[NodeId]) -> tuple[NodeId, ...]:
    return tuple(dict.fromkeys((first, *others)))


def _virtual(store: Store, reference: str) -> Iterator[VirtualIp]:
    service = _service(store, reference)
    yield from (v for v in (service.endpoint.virtual_ips if service is not None and service.endpoint is not None else ()) if v.address)


def _service(store: Store, reference: str) -> Service | None:
    return store.by_name(Kind.SERVICE, reference) or store.get(Kind.SERVICE, reference)


def _running(store: Store, service: Service) -> list[Task]:
    tasks = (t for t in store.tasks_of_service(service.id) if t.status.state is TaskState.RUNNING and t.node_id)
    return sorted(tasks, key=lambda t: (not is_wished(t.desired_state), t.slot, t.id))


def _meant(store: Store, reference: str) -> Iterator[Place]:
    """A running container by its name or id, a task, or each task of a service. Raises NotFound when nothing runs by that word."""
    service = _service(store, reference)
    if service is not None:
        found = [_of_task(task) for task in _running(store, service)]
    else:
        found = [place for place in _places(store) if _is_called(place, reference)]
        if not found:
            found = [_of_task(task) for task in (store.find(Kind.TASK, reference),) if task.status.state is TaskState.RUNNING]
    if not found:
        raise NotFound(f"nothing runs by the name {reference}")
    yield from found


def _is_called(place: Place, reference: str) -> bool:
    return reference in (place.name, place.container_id) or (len(reference) >= ID_PREFIX_MIN and place.container_id.startswith(reference))


def _places(store: Store) -> Iterator[Place]:
    for task in store.all(Kind.TASK):
        if task.status.state is TaskState.RUNNING and task.status.container_id:
            yield _of_task(task)
    for node in store.all(Kind.NODE):
        by_container: dict[str, list[tuple[NetworkId, str]]] = {}
        names = {held.container_id: held.names[0] if held.names else held.container_id[:12] for held in node.containers}
        for held in node.containers:
            if held.address:
                by_container.setdefault(held.container_id, []).append((held.network_id, held.address.partition("/")[0]))
        for container_id, addresses in by_container.items():
            yield Place(node.id, container_id, names[container_id], tuple(addresses))


def _of_task(task: Task) -> Place:
    addresses = tuple((n.network_id, n.address.partition("/")[0]) for n in task.networks if n.address)
    return Place(task.node_id, task.status.container_id, container_name(task), addresses)
