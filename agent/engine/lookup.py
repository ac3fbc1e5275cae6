"""Asking the managers: one object by its reference, or all of a kind, with Docker's sentence when it is not there."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import TYPE_CHECKING

from cluster.model.changes import Kind
from cluster.model.errors import NotFound
from cluster.model.ids import NetworkId
from cluster.model.objects import Cluster, Network, Node, Service, Task
from cluster.wire.calls import Objects, Query

if TYPE_CHECKING:
    from agent.node import Node as ThisNode


async def query(node: ThisNode, request: Query) -> Objects:
    """Raises Unavailable where no manager answers or this node is none."""
    return await node.swarm.query(request)


async def _referenced(node: ThisNode, kind: Kind, reference: str) -> Objects:
    try:
        return await query(node, Query(kind, reference=reference))
    except NotFound as error:
        raise NotFound(f"{kind.name.lower()} {reference} not found") from error


async def service(node: ThisNode, reference: str) -> Service:
    found = (await _referenced(node, Kind.SERVICE, reference)).services
    if not found:
        raise NotFound(f"service {reference} not found")
    return found[0]


async def task(node: ThisNode, reference: str) -> Task:
    found = (await _referenced(node, Kind.TASK, reference)).tasks
    if not found:
        raise NotFound(f"task {reference} not found")
    return found[0]


async def network(node: ThisNode, reference: str) -> Network:
    found = (await _referenced(node, Kind.NETWORK, reference)).networks
    if not found:
        raise NotFound(f"network {reference} not found")
    return found[0]


async def member(node: ThisNode, reference: str) -> Node:
    """A node of the cluster."""
    found = (await _referenced(node, Kind.NODE, reference)).nodes
    if not found:
        raise NotFound(f"node {reference} not found")
    return found[0]


async def nodes(node: ThisNode) -> tuple[Node, ...]:
    return (await query(node, Query(Kind.NODE))).nodes


async def cluster(node: ThisNode) -> Cluster:
    return (await query(node, Query(Kind.CLUSTER))).clusters[0]


async def networks_of(node: ThisNode, tasks: Iterable[Task]) -> dict[str, Network]:
    """The networks that these tasks are attached to; no call where there are none."""
    return await _networks(node, {item.network_id for task in tasks for item in task.networks})


async def networks_of_service(node: ThisNode, found: Service) -> dict[str, Network]:
    """The networks that the service has a virtual address on; no call where there are none."""
    return await _networks(node, {v.network_id for v in found.endpoint.virtual_ips if v.address} if found.endpoint is not None else set())


async def _networks(node: ThisNode, wanted: Set[NetworkId]) -> dict[str, Network]:
    if not wanted:
        return {}
    found = await query(node, Query(Kind.NETWORK, ids=tuple(sorted(wanted))))
    return {item.id: item for item in found.networks}
