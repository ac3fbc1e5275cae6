"""Generic resources: what a node's administrator says that it has (graphics processors, licences), by kind; counted, or one by one with names. Pure.

Owns what of a node's is free and which names a task gets; nothing of it is known to the kernel, so only the sums here keep two tasks from one thing.
What a task asks of one kind is summed, however many entries say it. Source: SwarmKit's api/genericresource.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cluster.model.specs import GenericResource

Name = tuple[str, str]
"""(kind, name)"""


def sums(resources: Iterable[GenericResource]) -> tuple[tuple[str, int], ...]:
    """(kind, how many), by kind."""
    found: dict[str, int] = {}
    for one in resources:
        found[one.kind] = found.get(one.kind, 0) + one.count
    return tuple(sorted(found.items()))


def lacking(asked: tuple[tuple[str, int], ...], have: tuple[GenericResource, ...], used: Mapping[str, int]) -> list[str]:
    """What is not free, in words; empty when all is."""
    there = dict(sums(have))
    return [
        f"{kind}: {count} asked, {max(0, there.get(kind, 0) - used.get(kind, 0))} of {there.get(kind, 0)} free"
        for kind, count in asked
        if used.get(kind, 0) + count > there.get(kind, 0)
    ]


def chosen(asked: tuple[tuple[str, int], ...], have: tuple[GenericResource, ...], held: Mapping[Name, int]) -> tuple[GenericResource, ...]:
    """What a task gets: names in the node's order where it has names, else the number."""
    given: list[GenericResource] = []
    for kind, count in asked:
        free = [one for one in have if one.kind == kind and one.name and (kind, one.name) not in held]
        given += free[:count] or [GenericResource(kind, count)]
    return tuple(given)
