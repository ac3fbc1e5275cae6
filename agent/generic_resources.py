"""Generic resources of this node, as `festoond --node-generic-resource` takes them: `gpu=2`, or `gpu=UUID1` once for each. Pure.

Source: moby's daemon flag --node-generic-resource, SwarmKit's api/genericresource (Parse, EnvFormat).
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.model.errors import InvalidArgument
from cluster.model.specs import GenericResource

_START = "could not parse GenericResource: "


def parse(terms: Iterable[str]) -> tuple[GenericResource, ...]:
    """Terms may hold several, with commas between. Raises InvalidArgument in Docker's words."""
    values: dict[str, list[str]] = {}
    for term in (part for text in terms for part in text.split(",")):
        kind, equals, value = (part.strip() for part in term.partition("="))
        if not (kind and equals and value) or "=" in value:
            raise InvalidArgument(f"{_START}incorrect term {term}, missing '=' or malformed expression")
        values.setdefault(kind, []).append(value)
    return tuple(one for kind, given in values.items() for one in _of_kind(kind, given))


def _of_kind(kind: str, values: list[str]) -> tuple[GenericResource, ...]:
    numbers = [value for value in values if value.lstrip("+-").isdecimal()]
    if len(values) == 1 and numbers:
        if int(numbers[0]) < 0:
            raise InvalidArgument(f"{_START}cannot ask for negative resource {kind}")
        return (GenericResource(kind, int(numbers[0])),)
    if numbers:
        raise InvalidArgument(f"{_START}mixed discrete and named resources in expression '{kind}=[{' '.join(values)}]'")
    return tuple(GenericResource(kind, 1, name) for name in dict.fromkeys(values))


def environment(given: Iterable[GenericResource]) -> tuple[str, ...]:
    """What a task's program is told of what it was given: DOCKER_RESOURCE_GPU=UUID1,UUID2."""
    values: dict[str, list[str]] = {}
    for one in given:
        values.setdefault(one.kind, []).append(one.name or str(one.count))
    return tuple(f"DOCKER_RESOURCE_{kind.upper()}={','.join(named)}" for kind, named in values.items())
