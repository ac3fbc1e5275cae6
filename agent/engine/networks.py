"""`/networks`: this node's own and the cluster's, in one list. A worker shows of the cluster's those that it takes part in."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from agent.engine import lookup
from agent.engine.answers import json_answer
from agent.engine.call import Call, Filters, matches_labels, matches_pattern, matches_prefix
from agent.engine.convert import Json, mapping
from agent.engine.convert_create import wish_of
from agent.engine.convert_networks import (
    GATEWAY_BRIDGE,
    PREDEFINED,
    Members,
    NetworkRequest,
    check_configuration,
    local_network_json,
    network_json,
    network_request_of,
    node_network,
    node_network_json,
    sandbox_endpoint_id,
    services_json,
)
from agent.engine.until import until_ns
from agent.events import Event, pruned
from agent.membership import NOT_IN_SWARM
from agent.network_requests import ONE_INSTANCE, config_of, subnet_of
from agent.records import Attachment, LocalNetwork
from cluster.model.assignments import NetworkItem
from cluster.model.changes import Kind
from cluster.model.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from cluster.model.objects import Network
from cluster.model.specs import NODE_NETWORKS, SWARM_DRIVERS
from cluster.model.twins import twin
from cluster.wire.calls import Ids, NetworkWrite, Query, Remove
from cluster.wire.http import Response

if TYPE_CHECKING:
    from agent.node import Node

FILTERS: Final = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
PRUNE_FILTERS: Final = frozenset({"label", "label!", "until"})
TYPES: Final = ("builtin", "custom")
PEER_NAME_LENGTH: Final = 12  # as Docker's
IPV4_TOLD: Final = (1, 47)  # the first version that has EnableIPv4
DEFAULT_IPV6: Final = (1, 46)  # the first version whose daemons have default pools of IPv6
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}


async def list_(call: Call) -> Response:
    filters = call.filters(FILTERS)
    for kind in filters.get("type", ()):
        if kind not in TYPES:
            raise InvalidArgument(f"invalid filter: 'type'='{kind}'")
    users = _users(call.node)
    found: list[Json] = []
    found += [
        local_network_json(local)
        for local in call.node.networks.locals.all()
        if not local.swarm and _matches(filters, local.id, local.name, local.driver, "local", mapping(local.labels), local.name in users)
    ]
    for network in await cluster_networks(call.node):
        spec = network.spec
        if filters.get("name") and spec.name not in filters["name"]:
            continue  # Docker's managers are asked for whole names
        if _matches(filters, network.id, spec.name, spec.driver, "swarm", mapping(spec.labels), network.id in users):
            found.append(network_json(network, own=call.node.networks.locals.get(network.id)))
    return json_answer([_as_of(call, shown) for shown in found])


def _as_of(call: Call, shown: Json) -> Json:
    """Without the field that this version of the API does not have."""
    return shown if call.version >= IPV4_TOLD else {name: value for name, value in shown.items() if name != "EnableIPv4"}


async def cluster_networks(node: Node) -> tuple[Network, ...]:
    """All of the cluster's on a manager, the assigned ones on a worker, none outside a swarm."""
    if node.swarm.is_manager:
        return (await lookup.query(node, Query(Kind.NETWORK))).networks
    return tuple(item.network for item in node.networks.assigned.all())


def _users(node: Node) -> set[str]:
    attachments = [a for record in node.containers.records() for a in record.attachments]
    return {a.network_id for a in attachments} | {a.network_name for a in attachments}


def _matches(
    filters: Filters, identifier: str, name: str, driver: str, scope: str, labels: dict[str, str], used: bool
) -> bool:
    builtin = name in PREDEFINED
    names = filters.get("name", ())
    dangling = _dangling(filters)
    return (
        matches_prefix(identifier, filters.get("id", ()))
        and (not names or any(matches_pattern(name, wanted) for wanted in names))
        and (not filters.get("driver") or driver in filters["driver"])
        and (not filters.get("scope") or scope in filters["scope"])
        and (not filters.get("type") or ("builtin" if name in PREDEFINED else "custom") in filters["type"])
        and matches_labels(labels, filters.get("label", ()))
        and (dangling is None or (not used and not builtin) is dangling)
    )


def _dangling(filters: Filters) -> bool | None:
    values = filters.get("dangling")
    if not values:
        return None
    if len(values) == 1 and values[0] in _TRUTHS:
        return _TRUTHS[values[0]]
    raise InvalidArgument('invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")')


async def inspect(call: Call) -> Response:
    scope, verbose = call.text("scope"), call.strict_flag("verbose")
    if scope not in ("", "local", "global", "swarm"):
        raise NotFound(f"network {call.names['id']} not found")
    name = node_network(call.names["id"])
    if name in NODE_NETWORKS and (scope == "swarm" or (scope != "local" and name != call.names["id"])):
        return json_answer(_as_of(call, node_network_json(call.node.networks.locals.find(name))))
    found = await find(call.node, call.names["id"], scope)
    if isinstance(found, LocalNetwork):
        return json_answer(_as_of(call, local_network_json(found, local_members(call.node, found))))
    if (made := call.node.networks.locals.get(found.id)) is not None:
        return json_answer(_as_of(call, network_json(found, local_members(call.node, made), own=made)))
    assigned = call.node.networks.assigned.get(found.id)
    if assigned is None:
        return json_answer(_as_of(call, network_json(found)))
    shown = network_json(found, swarm_members(call.node, assigned), _peers(call.node, found.id))
    if verbose:
        tables = call.node.networks.assigned.tables
        own_ids = {a.address.partition("/")[0]: a.endpoint_id for _, a in swarm_members(call.node, assigned)}
        shown["Services"] = services_json(found, tables.balancers.values(), tables.endpoints.values(), own_ids)
    return json_answer(_as_of(call, shown))


def _peers(node: Node, network_id: str) -> dict[str, str]:
    """The nodes that take part in an overlay, and where their tunnels end."""
    own = {node.swarm.node_id[:PEER_NAME_LENGTH]: node.networks.vtep}
    endpoints = node.networks.assigned.tables.endpoints.values()
    return own | {e.node_id[:PEER_NAME_LENGTH]: e.node_address for e in endpoints if e.network_id == network_id and e.node_address}


async def find(node: Node, reference: str, scope: str = "") -> LocalNetwork | Network:
    """A local network, else one of the cluster's. Raises NotFound `network X not found`."""
    if scope != "swarm":
        try:
            local = node.networks.locals.find(reference)
        except NotFound:
            if scope == "local":
                raise
        else:
            if not local.swarm:
                return local
    if node.swarm.is_manager:
        return await lookup.network(node, reference)
    return node.networks.assigned.find(reference).network


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
        attachment = _sandbox_attachment(item.network.id, item.network.spec.name, item.lb_address)
        members.append((None, msgspec.structs.replace(attachment, address6=twin(item.network, item.lb_address))))
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
    return Attachment(
        network_id=network_id, network_name=name, interface="", address=address, mac=mac, endpoint_id=sandbox_endpoint_id(network_id, address)
    )


async def create(call: Call) -> Response:
    request = network_request_of(await call.fields())
    spec = request.spec
    local_names = {network.name for network in call.node.networks.locals.all() if not network.swarm}
    if request.driver == "overlay" and request.scope == "local":
        raise PermissionDenied("cannot downgrade network scope for overlay networks")
    swarm = (request.driver == "overlay" and not request.config_only) or request.scope not in ("", "local")
    if swarm and spec.name == "none":
        raise PermissionDenied(f"operation is not permitted on predefined {spec.name} network ")
    if not spec.name or (spec.name in local_names and (swarm or spec.name not in PREDEFINED)):
        raise Conflict(f"network with name {spec.name} already exists")
    if swarm:
        return await _create_in_cluster(call, request)
    if spec.name in (*PREDEFINED, "default"):
        raise PermissionDenied(f"operation is not permitted on predefined {spec.name} network ")
    if spec.ingress:
        raise PermissionDenied("Ingress network can only be global scope network")
    if not spec.name.strip():
        raise InvalidArgument(f"invalid name: {spec.name}")
    if not request.config_only:
        _check_drivers(request)
    if await _cluster_has(call.node, spec.name):
        raise Conflict(f"network with name {spec.name} already exists")
    check_configuration(request)
    default6 = call.version >= DEFAULT_IPV6
    network = await call.node.networks.create(spec, config_only=request.config_only, config_from=request.config_from, default6=default6)
    call.node.events.publish(Event("network", "create", network.id, (("name", network.name), ("type", network.driver))))
    return json_answer({"Id": network.id, "Warning": ""}, 201)


def _check_drivers(request: NetworkRequest) -> None:
    """Of a network that is made now; a configuration's are not looked at. Raises PermissionDenied, InvalidArgument, NotFound."""
    if request.driver in ("host", "null"):
        raise PermissionDenied(ONE_INSTANCE.format(request.driver))
    if request.spec.ipam_driver == "null":
        raise InvalidArgument("ipv4 pool is empty")
    for plugin, own in ((request.driver, "bridge"), (request.spec.ipam_driver, "default")):
        if plugin != own:
            raise NotFound(f'plugin "{plugin}" not found')


async def _create_in_cluster(call: Call, request: NetworkRequest) -> Response:
    if request.scope not in ("", "swarm", "global"):
        raise Unavailable(NOT_IN_SWARM)
    if request.scope == "swarm" and not call.node.swarm.node_id:
        raise InvalidArgument("cannot create a swarm scoped network when swarm is not active")
    if request.driver == "null":
        raise NotFound("error during lookup of plugin null")
    if request.driver in ("macvlan", "ipvlan"):
        raise InvalidArgument(f"networks of the {request.driver} driver are not served: use overlay, bridge or host")
    if request.driver not in SWARM_DRIVERS:
        raise NotFound(f'plugin "{request.driver}" not found')
    if request.spec.ipam_driver != "default":
        raise NotFound(f"error during lookup of plugin {request.spec.ipam_driver}")
    check_configuration(request)
    spec = msgspec.structs.replace(request.spec, config_from=request.config_from)
    if request.config_from and request.driver == "overlay":  # one for all nodes: this node's configuration
        taken = config_of(call.node.networks.locals.all(), request.config_from)
        spec = msgspec.structs.replace(spec, ipam=taken.ipam, ipv6=taken.ipv6, internal=taken.internal, driver_opts=taken.options)
    for config in spec.ipam:
        if config.subnet:
            subnet_of(config.subnet)
    answer = await call.node.swarm.call("control.network_create", NetworkWrite(spec))
    assert isinstance(answer, Ids)
    return json_answer({"Id": answer.id, "Warning": " ".join(answer.warnings)}, 201)


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
        call.node.events.publish(Event("network", "destroy", found.id, (("name", found.name), ("type", found.driver))))
    else:
        await call.node.swarm.call("control.network_remove", Remove(found.id))
    return Response(204)


async def prune(call: Call) -> Response:
    """Local networks that a user made and no container uses; on a manager also the cluster's that no service uses."""
    filters = call.filters(PRUNE_FILTERS)
    before_ns = until_ns(filters, time.time_ns())
    users = _users(call.node)
    gone: list[str] = []
    for local in call.node.networks.locals.all():
        in_use = local.name == GATEWAY_BRIDGE and call.node.swarm.node_id  # by the ingress sandbox; outside a swarm by nobody
        kept = local.name in PREDEFINED or in_use or local.config_only or local.swarm
        if not kept and local.id not in users and _prunable(mapping(local.labels), local.created_at_ns, filters, before_ns):
            try:
                await call.node.networks.remove(local.id)
            except PermissionDenied:
                continue  # a configuration that others use, or taken in between
            call.node.events.publish(Event("network", "destroy", local.id, (("name", local.name), ("type", local.driver))))
            gone.append(local.name)
    if call.node.swarm.is_manager:
        gone += await _prune_cluster(call.node, filters, before_ns)
    call.node.events.publish(pruned("network"))
    return json_answer({"NetworksDeleted": gone})


async def _prune_cluster(node: Node, filters: Filters, before_ns: int | None) -> list[str]:
    networks = (await lookup.query(node, Query(Kind.NETWORK))).networks
    services = (await lookup.query(node, Query(Kind.SERVICE))).services
    used = {n.target for service in services for n in (*service.spec.task.networks, *service.spec.networks)}
    gone: list[str] = []
    for network in networks:
        if not network.spec.ingress and network.id not in used and _prunable(mapping(network.spec.labels), network.meta.created_at_ns, filters, before_ns):
            try:
                await node.swarm.call("control.network_remove", Remove(network.id))
            except (Conflict, FailedPrecondition, NotFound):
                continue  # a container is on it, a service took it in between, or somebody else has removed it
            gone.append(network.spec.name)
    return gone


def _prunable(labels: dict[str, str], created_ns: int, filters: Filters, before_ns: int | None) -> bool:
    if before_ns is not None and created_ns >= before_ns:
        return False
    unwanted: Iterable[str] = filters.get("label!", ())
    return matches_labels(labels, filters.get("label", ())) and not any(matches_labels(labels, (u,)) for u in unwanted)


async def connect(call: Call) -> Response:
    fields = await call.fields()
    await call.node.containers.connections.connect(fields.text("Container"), wish_of(call.names["id"], fields.section("EndpointConfig")))
    return Response(200)


async def disconnect(call: Call) -> Response:
    fields = await call.fields()
    await call.node.containers.connections.disconnect(call.names["id"], fields.text("Container"), force=fields.flag("Force"))
    return Response(200)
