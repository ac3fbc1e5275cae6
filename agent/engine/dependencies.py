"""`/secrets` and `/configs`: list, create, inspect, change labels, remove. The managers decide; this converts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from agent.engine import lookup
from agent.engine.answers import json_answer
from agent.engine.call import Call, matches_labels, matches_prefix
from agent.engine.convert import mapping
from agent.engine.convert_dependencies import dependency_json, spec_of
from agent.engine.services import version_of
from cluster.model.changes import Kind
from cluster.model.errors import NotFound
from cluster.model.objects import Config, Secret
from cluster.wire.calls import DependencyWrite, Ids, Objects, Query, Remove
from cluster.wire.http import Response

FILTERS: Final = frozenset({"id", "label", "name", "names"})
Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Routes:
    """The handlers of one kind."""

    list_: Handler
    create: Handler
    inspect: Handler
    update: Handler
    remove: Handler


def routes(kind: Kind) -> Routes:
    word = kind.name.lower()

    async def list_(call: Call) -> Response:
        filters = call.filters(FILTERS)
        found = _of(kind, await lookup.query(call.node, Query(kind)))
        shown = (
            item
            for item in found
            if matches_prefix(item.id, filters.get("id", ()))
            and matches_prefix(item.spec.name, filters.get("name", ()))
            and (not filters.get("names") or item.spec.name in filters["names"])
            and matches_labels(mapping(item.spec.labels), filters.get("label", ()))
        )
        return json_answer([dependency_json(item) for item in shown])

    async def create(call: Call) -> Response:
        answer = await call.node.swarm.call(f"control.{word}_create", DependencyWrite(spec_of(await call.fields())))
        assert isinstance(answer, Ids)
        return json_answer({"ID": answer.id}, 201)

    async def inspect(call: Call) -> Response:
        return json_answer(dependency_json(await _find(call)))

    async def update(call: Call) -> Response:
        spec, version = spec_of(await call.fields()), version_of(call, word)
        found = await _find(call)
        await call.node.swarm.call(f"control.{word}_update", DependencyWrite(spec, found.id, version))
        return Response(200)

    async def remove(call: Call) -> Response:
        await call.node.swarm.call(f"control.{word}_remove", Remove((await _find(call)).id))
        return Response(204)

    async def _find(call: Call) -> Secret | Config:
        reference = call.names["id"]
        found = _of(kind, await lookup.query(call.node, Query(kind, reference=reference)))
        if not found:
            raise NotFound(f"{word} {reference} not found")
        return found[0]

    return Routes(list_, create, inspect, update, remove)


def _of(kind: Kind, objects: Objects) -> tuple[Secret, ...] | tuple[Config, ...]:
    return objects.secrets if kind is Kind.SECRET else objects.configs


SECRETS: Final = routes(Kind.SECRET)
CONFIGS: Final = routes(Kind.CONFIG)
