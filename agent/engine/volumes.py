"""`/volumes`: this node keeps none yet; lists are empty and creation says so."""

from __future__ import annotations

from agent.engine.answers import json_answer, unserved
from agent.engine.call import Call
from cluster.model.errors import NotFound
from cluster.wire.http import Response


async def list_(_call: Call) -> Response:
    return json_answer({"Volumes": [], "Warnings": []})


async def inspect(call: Call) -> Response:
    raise NotFound(f"get {call.names['name']}: no such volume")


async def create(_call: Call) -> Response:
    return unserved("named volumes are not served: mount a folder of the node (type=bind) or memory (type=tmpfs)")


async def prune(_call: Call) -> Response:
    return json_answer({"VolumesDeleted": [], "SpaceReclaimed": 0})
