"""The names of what a daemon has, by kind: for shells that complete, and for mistakes that are near to one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from cli.api import Api

_Source = tuple[str, Callable[[Any], Iterable[str]]]
_SOURCES: Final[dict[str, _Source]] = {
    "service": ("/services", lambda one: [one["Spec"]["Name"]]),
    "secret": ("/secrets", lambda one: [one["Spec"]["Name"]]),
    "config": ("/configs", lambda one: [one["Spec"]["Name"]]),
    "node": ("/nodes", lambda one: [one["Description"]["Hostname"]]),
    "network": ("/networks", lambda one: [one["Name"]]),
    "volume": ("/volumes", lambda one: [one["Name"]]),
    "stack": ("/services", lambda one: [label] if (label := (one["Spec"].get("Labels") or {}).get("com.docker.stack.namespace")) else []),
    "container": ("/containers/json", lambda one: [name.lstrip("/") for name in one["Names"]]),
    "image": ("/images/json", lambda one: one.get("RepoTags") or ()),
}
KINDS: Final = (*_SOURCES, "task")
STATES: Final[dict[str, tuple[str, ...]]] = {"running": ("running", "paused", "restarting"), "stopped": ("created", "exited", "dead"), "paused": ("paused",)}
"""Containers by what can be done with them."""


def names(api: Api, kind: str) -> Iterator[str]:
    """All of a kind, or all containers in a state; of tasks those that are wanted. Raises CliFailure where the daemon can't say."""
    if kind == "task":
        yield from _tasks(api)
        return
    states = STATES.get(kind)
    kind = "container" if states else kind
    where, names_of = _SOURCES[kind]
    found: Any = api.get(where, **({"all": True} if kind == "container" else {}))
    for one in (found["Volumes"] if kind == "volume" else found) or ():
        if not states or one["State"] in states:
            yield from names_of(one)


def _tasks(api: Api) -> Iterator[str]:
    services = {one["ID"]: one["Spec"]["Name"] for one in api.get("/services")}
    for one in api.get("/tasks", filters='{"desired-state":["running"]}'):
        name = services.get(one.get("ServiceID"))
        if name:
            yield f"{name}.{one.get('Slot') or one.get('NodeID')}"
