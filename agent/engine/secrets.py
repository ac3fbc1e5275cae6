"""`/secrets` and `/configs`: there are none; creation says so."""

from __future__ import annotations

from agent.engine import lookup
from agent.engine.answers import json_answer, unserved
from agent.engine.call import Call
from cluster.model.errors import NotFound
from cluster.wire.http import Response


async def list_(call: Call) -> Response:
    """Empty on managers. Raises Unavailable elsewhere, as every list of the cluster's objects does."""
    await lookup.cluster(call.node)
    return json_answer([])


async def inspect(call: Call) -> Response:
    await lookup.cluster(call.node)
    kind = "secret" if "/secrets/" in call.request.path else "config"
    raise NotFound(f"{kind} {call.names['id']} not found")


async def create(call: Call) -> Response:
    await lookup.cluster(call.node)
    return unserved("secrets and configs are not served: bind a file of the node (type=bind) or give an environment variable")

