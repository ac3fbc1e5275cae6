"""`/events`: one JSON object a line, from `since` to `until` or for ever."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Final

import trio

from agent.engine import task_events
from agent.engine.answers import json_line, stream_answer
from agent.engine.call import Call, Filters, matches_labels
from agent.engine.convert import SECOND_NS, mapping, time_parameter_ns
from agent.engine.convert_events import event_json
from agent.events import Event
from cluster.model.errors import InvalidArgument
from cluster.wire.calls import WatchKinds
from cluster.wire.http import Response

LONG_AGO_NS: Final = 1
"""Until the beginning of time: 0 is until for ever."""

_FOLLOWED: Final = ("health_status", "exec_create", "exec_start")
_NAMED: Final = ("config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume")


async def events(call: Call) -> Response:
    filters = call.any_filters()
    since_ns = time_parameter_ns(call.text("since")) if call.text("since") else None
    until_ns = whole_second(time_parameter_ns(call.text("until")), time.time_ns()) or (LONG_AGO_NS if call.text("until") else 0)
    if since_ns and until_ns and until_ns < since_ns:
        raise InvalidArgument(f"`since` time ({call.text('since')}) cannot be after `until` time ({call.text('until')})")

    if task_events.TYPE in filters.get("type", ()):
        return await _of_tasks(call, filters, since_ns, until_ns)

    async def lines() -> AsyncIterator[bytes]:
        async with call.node.events.subscribe(since_ns) as found:
            while (event := await _next_until(found, until_ns)) is not None:
                if matches(event, filters):
                    yield json_line(event_json(event))

    return stream_answer(lines())


async def _of_tasks(call: Call, filters: Filters, since_ns: int | None, until_ns: int) -> Response:
    """Docker has no such events: they come from the managers, and only when they alone are asked for."""
    if len(filters["type"]) > 1:
        raise InvalidArgument("events of tasks come by themselves: the filter type=task can't be combined with another type")
    if not call.node.swarm.is_manager:
        await call.node.swarm.call("control.watch", WatchKinds(()))  # raises Docker's sentence for this node before any header goes out

    async def lines() -> AsyncIterator[bytes]:
        async with aclosing(task_events.task_events(call, filters, since_ns, until_ns)) as found:
            async for event in found:
                yield json_line(event_json(event))

    return stream_answer(lines())


def whole_second(until_ns: int, now_ns: int) -> int:
    """Clients say "now" in whole seconds, rounded down: what has happened since in that second counts too. Pure."""
    if until_ns % SECOND_NS or not until_ns:
        return until_ns
    return max(until_ns, min(until_ns + SECOND_NS - 1, now_ns))


async def _next_until(found: AsyncIterator[Event], until_ns: int) -> Event | None:
    """The next event; None at the end, or when `until_ns` (0: never) has come."""
    if not until_ns:
        return await anext(found, None)
    event: Event | None = None
    left_s = (until_ns - time.time_ns()) / SECOND_NS
    with trio.move_on_after(max(0.0, left_s)):
        event = await anext(found, None)
    return event if event is not None and event.time_ns <= until_ns else None


def matches(event: Event, filters: Filters) -> bool:
    """Pure. Different names must all match, values of one name are alternatives."""
    attributes = mapping(event.attributes)
    return (
        _one_of(event.type, filters.get("type", ()))
        and _is_action(event.action, filters.get("event", ()))
        and _one_of(event.scope, filters.get("scope", ()))
        and matches_labels(attributes, filters.get("label", ()))
        and all(_is_actor(event, attributes, filters[kind]) for kind in _NAMED if kind in filters)
        and _is_image(event, attributes, filters.get("image", ()))
    )


def _one_of(value: str, wanted: tuple[str, ...]) -> bool:
    return not wanted or value in wanted


def _is_action(action: str, wanted: tuple[str, ...]) -> bool:
    """As a whole, but for those that are followed by something else: of them the first word is enough."""
    return not wanted or any(action == w or (w in _FOLLOWED and action.startswith(w)) for w in wanted)


def _is_actor(event: Event, attributes: Mapping[str, str], wanted: tuple[str, ...]) -> bool:
    """By the beginning of its id or name, whatever it is: Docker's rule."""
    name = attributes.get("name", "")
    return any(actor.startswith(w.removeprefix("/")) for w in wanted for actor in (event.actor_id, name))


def _is_image(event: Event, attributes: Mapping[str, str], wanted: tuple[str, ...]) -> bool:
    """By id, or by name with or without its tag."""
    name = attributes.get("name" if event.type == "image" else "image", "")
    repository, _, tag = name.rpartition(":")
    names = {event.actor_id, name, repository if repository and "/" not in tag else name}
    return not wanted or bool(names & set(wanted))
