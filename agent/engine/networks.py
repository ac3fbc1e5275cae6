"""`/networks`: this node's own and the cluster's, in one list. A worker shows of the cluster's those that it takes part in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from agent.engine import lookup
from agent.engine.answers import json_answer, unserved
from agent.engine.call import Call, Filters, matches_labels, matches_prefix, truth
from agent.engine.convert import Json, mapping
from agent.engine.convert_networks import GATEWAY_BRIDGE, Members, local_network_json, network_json, network_request_of
from agent.records import Attachment, LocalNetwork
from cluster.model.assignments import NetworkItem
from cluster.model.changes import Kind
from cluster.model.errors import Conflict, InvalidArgument, NotFound, PermissionDenied, Unavailable
from cluster.model.objects import Network
from cluster.wire.calls import Ids, NetworkWrite, Query, Remove
from cluster.wire.http import Response

if TYPE_CHECKING:
    from agent.node import Node

FILTERS: Final = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
PRUNE_FILTERS: Final = frozenset({"label", "label!", "until"})
PREDEFINED: Final = ("bridge", "host", "none")
TYPES: Final = ("builtin", "custom")
_CONNECT: Final = "networks of an existing container can't be changed yet: name them when it is created (--network)"


async def list_(call: Call) -> Response:
    filters = call.filters(FILTERS)
    for kind in filters.get("type", ()):
        if kind not in TYPES:
            raise InvalidArgument(f"invalid filter 'type={kind}'")
    users = _users(call.node)
    found: list[Json] = []
    found += [
        local_network_json(local)
        for local in call.node.networks.local()
        if _matches(filters, local.id, local.name, local.driver, "local", mapping(local.labels), local.name in users)
    ]
    for network in await cluster_networks(call.node):
        spec = network.spec
        if _matches(filters, network.id, spec.name, spec.driver, "swarm", mapping(spec.labels), network.id in users):
            found.append(network_json(network))
    return json_answer(found)


async def cluster_networks(node: Node) -> tuple[Network, ...]:
    """All of the cluster's on a manager, the assigned ones on a worker, none outside a swarm."""
    if node.swarm.is_manager:
        return (await lookup.query(node, Query(Kind.NETWORK))).networks
    return tuple(item.network for item in node.networks.assigned())


def _users(node: Node) -> set[str]:
    attachments = [a for record in node.containers.records() for a in record.attachments]
    return {a.network_id for a in attachments} | {a.network_name for a in attachments}


def _matches(
    filters: Filters, identifier: str, name: str, driver: str, scope: str, labels: dict[str, str], used: bool
) -> bool:
    builtin = name in (*PREDEFINED, GATEWAY_BRIDGE, "ingress")
    names = filters.get("name", ())
    dangling = truth(filters, "dangling")
    return (
        matches_prefix(identifier, filters.get("id", ()))
        and (not names or any(wanted in name for wanted in names))
        and (not filters.get("driver") or driver in filters["driver"])
        and (not filters.get("scope") or scope in filters["scope"])
        and (not filters.get("type") or ("builtin" if name in PREDEFINED else "custom") in filters["type"])
        and matches_labels(labels, filters.get("label", ()))
        and (dangling is None or (not used and not builtin) is dangling)
    )


async def inspect(call: Call) -> Response:
    scope = call.text("scope")
    found = await find(call.node, call.names["id"], scope)
    if isinstance(found, LocalNetwork):
        return json_answer(local_network_json(found, local_members(call.node, found)))
    assigned = next((item for item in call.node.networks.assigned() if item.network.id == found.id), None)
    return json_answer(network_json(found, swarm_members(call.node, assigned) if assigned is not None else ()))


async def find(node: Node, reference: str, scope: str = "") -> LocalNetwork | Network:
    """A local network, else one of the cluster's. Raises NotFound `network X not found`."""
    if scope != "swarm":
        try:
            return node.networks.find(reference)
        except NotFound:
            if scope == "local":
                raise
    if node.swarm.is_manager:
        return await lookup.network(node, reference)
    return node.networks.assigned_to(reference).network


def local_members(node: Node, network: LocalNetwork) -> Members:
    """Who is on a local network; docker_gwbridge has the ingress sandbox too."""
    members = list(_attached(node, network.id))
    if network.name == GATEWAY_BRIDGE and node.swarm.node_id:
        address = node.networks.desired().ingress_sandbox_address
        members.append((None, _sandbox_attachment(network.id, network.name, address)))
    return members


def swarm_members(node: Node, item: NetworkItem) -> Members:
    """Who is on an overlay on this node, and its load balancer's endpoint."""
    members = list(_attached(node, item.network.id))
    if item.lb_address:
        members.append((None, _sandbox_attachment(item.network.id, item.network.spec.name, item.lb_address)))
    return members


def _attached(node: Node, network_id: str) -> Members:
    return [
        (record, attachment)
        for record in node.containers.records()
        if node.containers.is_running(record)
        for attachment in record.attachments
        if attachment.network_id == network_id
    ]


def _sandbox_attachment(network_id: str, name: str, address: str) -> Attachment:
    octets = address.partition("/")[0].split(".")
    mac = "02:42:" + ":".join(f"{int(octet):02x}" for octet in octets) if len(octets) == 4 else ""
    return Attachment(network_id=network_id, network_name=name, interface="", address=address, mac=mac)


async def create(call: Call) -> Response:
    request = network_request_of(await call.fields())
    if not request.spec.name:
        raise InvalidArgument("network name cannot be empty")
    if any(network.name == request.spec.name for network in call.node.networks.local()) and request.spec.name not in PREDEFINED:
        raise Conflict(f"network with name {request.spec.name} already exists")
    if request.driver == "overlay":
        answer = await call.node.swarm.call("control.network_create", NetworkWrite(request.spec))
        assert isinstance(answer, Ids)
        return json_answer({"Id": answer.id, "Warning": " ".join(answer.warnings)}, 201)
    if request.spec.name in PREDEFINED:
        raise PermissionDenied(f"operation is not permitted on predefined {request.spec.name} network ")
    if request.driver in ("host", "null"):
        raise PermissionDenied(f'only one instance of "{request.driver}" network is allowed')
    if request.driver != "bridge":
        raise NotFound(f'could not find plugin {request.driver} in v2 plugin registry: plugin "{request.driver}" not found')
    if await _cluster_has(call.node, request.spec.name):
        raise Conflict(f"network with name {request.spec.name} already exists")
    spec = request.spec
    ipam = spec.ipam[0] if spec.ipam else None
    network = await call.node.networks.create(
        spec.name,
        subnet=ipam.subnet if ipam else "",
        gateway=ipam.gateway if ipam else "",
        labels=spec.labels,
        options=spec.driver_opts,
        internal=spec.internal,
        attachable=spec.attachable,
    )
    return json_answer({"Id": network.id, "Warning": ""}, 201)


async def _cluster_has(node: Node, name: str) -> bool:
    """Whether the cluster has a network of this name, as far as this node can know: one name means one network."""
    if not node.swarm.is_manager:
        return False
    try:
        known = (await lookup.query(node, Query(Kind.NETWORK))).networks
    except Unavailable:
        return False  # without a leader a node's own networks can still be made
    return any(network.spec.name == name for network in known)


async def remove(call: Call) -> Response:
    found = await find(call.node, call.names["id"])
    if isinstance(found, LocalNetwork):
        await call.node.networks.remove(found.id)
    else:
        await call.node.swarm.call("control.network_remove", Remove(found.id))
    return Response(204)


async def prune(call: Call) -> Response:
    """Local networks that a user made and no container uses; on a manager also the cluster's that no service uses."""
    filters = call.filters(PRUNE_FILTERS)
    users = _users(call.node)
    gone: list[str] = []
    for local in call.node.networks.local():
        builtin = local.name in (*PREDEFINED, GATEWAY_BRIDGE)
        if not builtin and local.id not in users and _prunable(mapping(local.labels), filters):
            await call.node.networks.remove(local.id)
            gone.append(local.name)
    if call.node.swarm.is_manager:
        gone += await _prune_cluster(call.node, filters)
    return json_answer({"NetworksDeleted": gone})


async def _prune_cluster(node: Node, filters: Filters) -> list[str]:
    networks = (await lookup.query(node, Query(Kind.NETWORK))).networks
    services = (await lookup.query(node, Query(Kind.SERVICE))).services
    used = {n.target for service in services for n in (*service.spec.task.networks, *service.spec.networks)}
    gone: list[str] = []
    for network in networks:
        if not network.spec.ingress and network.id not in used and _prunable(mapping(network.spec.labels), filters):
            try:
                await node.swarm.call("control.network_remove", Remove(network.id))
            except Conflict:
                continue  # a service took it in between
            gone.append(network.spec.name)
    return gone


def _prunable(labels: dict[str, str], filters: Filters) -> bool:
    unwanted: Iterable[str] = filters.get("label!", ())
    return matches_labels(labels, filters.get("label", ())) and not any(matches_labels(labels, (u,)) for u in unwanted)


async def connect(_call: Call) -> Response:
    return unserved(_CONNECT)
