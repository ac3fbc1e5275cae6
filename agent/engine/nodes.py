"""`/nodes`: list, inspect, update, remove."""

from __future__ import annotations

from typing import Final

from agent.engine import lookup
from agent.engine.answers import json_answer
from agent.engine.call import Call, Filters, matches_labels, matches_prefix
from agent.engine.convert import mapping
from agent.engine.convert_nodes import node_json, node_spec_of
from agent.engine.convert_swarm import node_tls_json, tls_info_json
from agent.engine.services import version_of
from cluster.model.changes import Kind
from cluster.model.errors import InvalidArgument
from cluster.model.objects import Node
from cluster.model.specs import Role
from cluster.wire.calls import NodeWrite, Query, Remove
from cluster.wire.http import Response

FILTERS: Final = frozenset({"id", "label", "membership", "name", "node.label", "role"})
MEMBERSHIPS: Final = ("accepted", "pending")


async def list_(call: Call) -> Response:
    filters = call.filters(FILTERS)
    for role in filters.get("role", ()):
        if role not in list(Role):
            raise InvalidArgument(f"Invalid role filter: '{role}'")
    for membership in filters.get("membership", ()):
        if membership not in MEMBERSHIPS:
            raise InvalidArgument(f"Invalid membership filter: '{membership}'")
    nodes = (await lookup.query(call.node, Query(Kind.NODE))).nodes
    cluster = await lookup.cluster(call.node)
    usual = tls_info_json(cluster.root_ca_pem)
    return json_answer([node_json(node, node_tls_json(node, cluster) if node.tls else usual) for node in nodes if _matches(node, filters)])


def _matches(node: Node, filters: Filters) -> bool:
    memberships = filters.get("membership", MEMBERSHIPS)
    return (
        matches_prefix(node.id, filters.get("id", ()))
        and matches_prefix(node.description.hostname or node.spec.name, filters.get("name", ()))
        and matches_labels(mapping(node.description.engine_labels), filters.get("label", ()))
        and matches_labels(mapping(node.spec.labels), filters.get("node.label", ()))
        and (not filters.get("role") or node.role.value in filters["role"])
        and "accepted" in memberships
    )


async def inspect(call: Call) -> Response:
    node = await lookup.member(call.node, call.names["id"])
    return json_answer(node_json(node, node_tls_json(node, await lookup.cluster(call.node))))


async def update(call: Call) -> Response:
    fields = await call.fields()
    version, spec = version_of(call, "node"), node_spec_of(fields)
    node = await lookup.member(call.node, call.names["id"])
    await call.node.swarm.call("control.node_update", NodeWrite(node.id, version, spec))
    return Response(200)


async def remove(call: Call) -> Response:
    node = await lookup.member(call.node, call.names["id"])
    await call.node.swarm.call("control.node_remove", Remove(node.id, call.flag("force")))
    return Response(200)
