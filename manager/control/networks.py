"""Networks of the swarm, as users write them: create and remove. Pure; subnets and VNIs are the planner's.

Source: SwarmKit controlapi/network.go and moby's daemon/network.go for the sentences.
"""

from __future__ import annotations

from ipaddress import ip_network
from random import Random

from cluster.model.changes import Change, Kind, created, deleted
from cluster.model.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound
from cluster.model.ids import ID_RANDOM_BYTES, NetworkId, make_id
from cluster.model.objects import Meta, Network, NodeState, Service, Task
from cluster.model.specs import NetworkSpec, PublishMode
from cluster.model.task_state import is_final, is_wished
from cluster.wire.calls import Ids, NetworkWrite, Remove
from manager.control import validate
from manager.store import Store


def create(store: Store, request: NetworkWrite, now_ns: int, rng: Random) -> tuple[tuple[Change, ...], Ids]:
    """A new overlay, or a network that each node makes for itself. Raises InvalidArgument (bad spec, subnet taken), PermissionDenied
    (a predefined name), Conflict (name taken, a second ingress)."""
    spec = request.spec
    validate.network_spec(spec)
    if store.by_name(Kind.NETWORK, spec.name) is not None:
        raise Conflict(f"network with name {spec.name} already exists")
    for other in store.all(Kind.NETWORK):
        if spec.ingress and other.spec.ingress:
            raise Conflict(f"ingress network ({other.id}) is already present")
        if spec.driver == other.spec.driver == "overlay":
            _refuse_overlap(spec, other)
    network = Network(
        id=NetworkId(make_id(rng.randbytes(ID_RANDOM_BYTES))),
        spec=spec,
        meta=Meta(created_at_ns=now_ns, updated_at_ns=now_ns),
    )
    return (created(network),), Ids(network.id)


def remove(store: Store, request: Remove, now_ns: int, rng: Random) -> tuple[tuple[Change, ...], Ids]:
    """The network goes. Raises NotFound, FailedPrecondition while a service or a task that still runs uses it."""
    network = store.get(Kind.NETWORK, request.id)
    if network is None:
        raise NotFound(f"network {request.id} not found")
    for service in store.all(Kind.SERVICE):
        if network.spec.ingress and _needs_ingress(service):
            raise FailedPrecondition(f"ingress network cannot be removed because service {service.id} depends on it")
        if any(a.target == network.id for a in (*service.spec.task.networks, *service.spec.networks)):
            raise FailedPrecondition(f"network {network.id} is in use by service {service.id}")
    for task in store.all(Kind.TASK):
        # The planner stops the tasks of a service that has gone, in a moment or by now: who removes a stack must not run into its not having done so yet.
        stays = store.get(Kind.SERVICE, task.service_id) is not None
        if stays and any(a.network_id == network.id for a in task.networks) and _may_hold(task):
            raise FailedPrecondition(f"network {network.id} is in use by task {task.id}")
    for node in store.all(Kind.NODE):
        if node.status.state is not NodeState.DOWN and (held := next((c for c in node.containers if c.network_id == network.id), None)):
            raise FailedPrecondition(f"network {network.id} is in use by task {held.id}")
    return (deleted(network),), Ids(network.id)


def _refuse_overlap(spec: NetworkSpec, other: Network) -> None:
    taken = other.subnets or [c.subnet for c in other.spec.ipam if c.subnet]
    for config in spec.ipam:
        for subnet in taken:
            if config.subnet and ip_network(config.subnet).overlaps(ip_network(subnet)):
                raise InvalidArgument(f"invalid pool request: Pool overlaps with other one on this address space: {config.subnet}")


def _needs_ingress(service: Service) -> bool:
    ports = service.spec.endpoint.ports if service.spec.endpoint else ()
    return any(p.publish_mode is PublishMode.INGRESS for p in ports)


def _may_hold(task: Task) -> bool:
    """Whether the task has, or may still get, an interface on its networks. One that is to stop does not count: its node keeps the network for as long as
    a container there is on it."""
    return not is_final(task.status.state) and is_wished(task.desired_state)
