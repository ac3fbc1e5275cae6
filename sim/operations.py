"""What clients and users ask of the cluster in a scenario: a table from What to a function. Users' wishes go through the
real manager/control, at whoever leads; what cannot be done then is not done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from cluster.model.changes import Change, Kind
from cluster.model.errors import ClusterError
from cluster.model.objects import Service
from cluster.model.placement_labels import PRIORITY, REBALANCE, STRATEGY
from cluster.model.specs import (
    Availability,
    ContainerSpec,
    DependencyFile,
    EndpointSpec,
    FailureAction,
    Placement,
    PortConfig,
    PublishMode,
    Resources,
    RestartCondition,
    RestartPolicy,
    ServiceMode,
    ServiceModeKind,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
    UpdateOrder,
)
from cluster.wire.calls import Ids, NodeWrite, Remove, ServiceWrite
from manager.control import nodes, services
from manager.raft.effects import Answer
from manager.store import Store
from sim.cluster import SimCluster
from sim.control_plane import INGRESS_NODES, SECRETS
from sim.draws import Draws
from sim.scenario import Shape, Step, What
from sim.world import MS

Decision = Callable[[Store, Any, int, Draws], tuple[tuple[Change, ...], Ids]]

RETRY_NS: Final = 300 * MS
TRIES: Final = 10
PATIENT_TRIES: Final = 1000
MIB: Final = 1 << 20
FIRST_PORT: Final = 8000
FEW_AGENTS: Final = 20


def service_spec(name: str, replicas: int, variant: int, shape: Shape) -> ServiceSpec:
    """One of many services, by number: the same number is the same spec. Every third service is global, where nodes are few. Jobs are called j1, j2, ..."""
    if name.startswith("j"):
        return _job_spec(name, variant, shape)
    draws = Draws(variant).fork("service")
    is_global = int(name.removeprefix("s")) % 3 == 0 and shape.agents <= FEW_AGENTS
    port = draws.choice((None, None, None, PublishMode.INGRESS, PublishMode.HOST if is_global else None))
    if shape.agents > INGRESS_NODES:
        port = None  # there is no network that could carry it
    limited = not is_global and draws.chance(250)
    # where a new task needs what the old one holds, it can't start first; and there are nodes enough for all replicas
    exclusive = limited or port is PublishMode.HOST
    placement = draws.choice((None, Placement(spread=("node.labels.zone",)), Placement(("node.labels.zone!=z9",))))
    if limited:
        placement = Placement(max_replicas=2 + 2 * shape.replicas // max(1, shape.agents))
    task = TaskSpec(
        ContainerSpec(f"image:{variant}", secrets=_secrets(variant)),
        reservations=Resources(0, draws.choice((16, 64)) * MIB) if draws.chance(500) else None,
        restart=RestartPolicy(delay_ns=draws.choice((0, 200, 1000)) * MS),
        placement=placement,
    )
    update = UpdateConfig(
        parallelism=draws.choice((0, 1, 2)),
        failure_action=FailureAction.CONTINUE,
        monitor_ns=draws.choice((100, 1000)) * MS,
        order=UpdateOrder.STOP_FIRST if exclusive else draws.choice((UpdateOrder.STOP_FIRST, UpdateOrder.START_FIRST)),
    )
    mode = ServiceMode(ServiceModeKind.GLOBAL) if is_global else ServiceMode(ServiceModeKind.REPLICATED, replicas or shape.replicas)
    labels = () if shape.policy else _placement_labels(variant)  # somebody's own placement is not ours to bend
    return ServiceSpec(name, task, mode=mode, update=update, endpoint=_endpoint(name, port), labels=labels)


def _placement_labels(variant: int) -> tuple[tuple[str, str], ...]:
    """What Docker's API has no fields for: some services pack, some are moved when nodes come, some may evict others."""
    asked = ((STRATEGY, "pack", 7), (REBALANCE, "auto", 5), (PRIORITY, str(variant % 4), 3))
    return tuple((label, value) for label, value, every in asked if variant % every == 1)


def _job_spec(name: str, variant: int, shape: Shape) -> ServiceSpec:
    """Every second job is global, where nodes are few. Each change of one makes it run again."""
    draws = Draws(variant).fork("job")
    total = draws.between(1, 2 * shape.replicas)
    mode = ServiceMode(ServiceModeKind.REPLICATED_JOB, total, draws.between(1, total))
    if int(name.removeprefix("j")) % 2 == 0 and shape.agents <= FEW_AGENTS:
        mode = ServiceMode(ServiceModeKind.GLOBAL_JOB)
    restart = RestartPolicy(RestartCondition.ON_FAILURE, delay_ns=draws.choice((0, 200, 1000)) * MS)
    return ServiceSpec(name, TaskSpec(ContainerSpec(f"image:{variant}"), restart=restart), mode=mode)


def _secrets(variant: int) -> tuple[DependencyFile, ...]:
    """Of three variants two use one of the cluster's secrets: most updates change who may know which."""
    name = f"secret{variant % SECRETS + 1}"
    return (DependencyFile(name, name, name),) if variant % 3 else ()


def _endpoint(name: str, mode: PublishMode | None) -> EndpointSpec | None:
    """A port of the node's that is the service's own, or one of all nodes that the allocator chooses."""
    if mode is None:
        return None
    number = FIRST_PORT + int(name.removeprefix("s")) if mode is PublishMode.HOST else 0
    return EndpointSpec(ports=(PortConfig(target_port=80, published_port=number, publish_mode=mode),))


def _decide(cluster: SimCluster, decision: Decision, request: Callable[[Store], object], tries: int = TRIES) -> None:
    """As manager/control/server.py, and again for a user who does not give up."""
    leader = cluster.leader()

    def again() -> None:
        if tries > 1:
            cluster.world.later(RETRY_NS, _decide, cluster, decision, request, tries - 1)

    def answered(answer: Answer) -> None:
        if isinstance(answer, ClusterError):
            again()

    if leader is None or not leader.store.all(Kind.CLUSTER):
        again()
        return
    asked = request(leader.store)
    if asked is None:
        return
    try:
        changes, _ = decision(leader.store, asked, leader.wall_ns(), leader.draws)
    except ClusterError as error:
        cluster.world.note(leader.name, f"refuses: {error.message}")
        return
    leader.propose(changes, answered)


def _service(cluster: SimCluster, step: Step) -> None:
    spec = service_spec(step.who, step.amount, _variant(step), cluster.shape)
    _decide(cluster, services.create, lambda _store: ServiceWrite(spec))


def _variant(step: Step) -> int:
    return int(step.text or 0)


def _update(cluster: SimCluster, step: Step) -> None:
    def request(store: Store) -> ServiceWrite | None:
        service = store.by_name(Kind.SERVICE, step.who)
        if service is None:
            return None
        replicas = service.spec.mode.replicas or 0
        return ServiceWrite(service_spec(step.who, replicas, _variant(step), cluster.shape), id=service.id, version=service.meta.version)

    _decide(cluster, services.update, request)


def _scale(cluster: SimCluster, step: Step) -> None:
    def request(store: Store) -> ServiceWrite | None:
        service = store.by_name(Kind.SERVICE, step.who)
        if service is None or service.spec.mode.kind is not ServiceModeKind.REPLICATED:
            return None
        return ServiceWrite(_scaled(service, step.amount), id=service.id, version=service.meta.version)

    _decide(cluster, services.update, request)


def _scaled(service: Service, replicas: int) -> ServiceSpec:
    return msgspec.structs.replace(service.spec, mode=ServiceMode(ServiceModeKind.REPLICATED, replicas))


def _remove_service(cluster: SimCluster, step: Step) -> None:
    def request(store: Store) -> Remove | None:
        service = store.by_name(Kind.SERVICE, step.who)
        return Remove(service.id) if service else None

    _decide(cluster, services.remove, request)


def _availability(cluster: SimCluster, step: Step) -> None:
    """Drained or paused, and after a while active again."""

    def to(availability: Availability, tries: int) -> None:
        def request(store: Store) -> NodeWrite | None:
            node = store.get(Kind.NODE, step.who)
            return NodeWrite(node.id, node.meta.version, msgspec.structs.replace(node.spec, availability=availability)) if node else None

        _decide(cluster, lambda store, asked, now_ns, _rng: nodes.update(store, asked, now_ns, {}), request, tries)

    to(Availability(step.text), 1)  # tried again, it might come after what ends it
    cluster.world.later(step.for_ms * MS, to, Availability.ACTIVE, PATIENT_TRIES)


def _remove_node(cluster: SimCluster, step: Step) -> None:
    """By force; its agent's machine is switched off first, as its owner should."""
    agent = cluster.control.agent(step.who)
    if agent is None:
        return
    agent.crash(machine=True)
    agent.removed = True
    _decide(cluster, nodes.remove, lambda store: Remove(step.who, force=True) if store.get(Kind.NODE, step.who) else None)


def _client(cluster: SimCluster, step: Step) -> None:
    client = next((client for client in cluster.clients if client.name == step.who), None)
    if client is None:
        return
    if step.what is What.WRITE:
        client.write(step.text, step.amount)
    else:
        client.read(step.text)


OPERATIONS: Final[dict[What, Callable[[SimCluster, Step], None]]] = {
    What.WRITE: _client,
    What.READ: _client,
    What.SERVICE: _service,
    What.UPDATE: _update,
    What.SCALE: _scale,
    What.REMOVE_SERVICE: _remove_service,
    What.AVAILABILITY: _availability,
    What.REMOVE_NODE: _remove_node,
}
