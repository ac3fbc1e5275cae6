"""Generic resources between the API and the model: pure. Source: Engine API 1.51, GenericResources."""

from __future__ import annotations

from collections.abc import Iterable

from agent.engine.convert import Json
from agent.engine.fields import Fields
from cluster.model.specs import GenericResource


def generic_of(fields: Fields) -> tuple[GenericResource, ...]:
    """Entries that are neither named nor counted are nothing, as in Docker. Raises InvalidArgument."""
    found: list[GenericResource] = []
    for one in fields.objects("GenericResources"):
        if one.truthy("NamedResourceSpec"):
            named = one.section("NamedResourceSpec")
            found.append(GenericResource(named.text("Kind"), 1, named.text("Value")))
        elif one.truthy("DiscreteResourceSpec"):
            counted = one.section("DiscreteResourceSpec")
            found.append(GenericResource(counted.text("Kind"), counted.integer("Value")))
    return tuple(found)


def generic_json(resources: Iterable[GenericResource]) -> list[Json]:
    return [
        {"NamedResourceSpec": {"Kind": one.kind, "Value": one.name}} if one.name else {"DiscreteResourceSpec": {"Kind": one.kind, "Value": one.count}}
        for one in resources
    ]
