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
KINDS: Final = tuple(_SOURCES)


def names(api: Api, kind: str) -> Iterator[str]:
    """All of a kind. Raises CliFailure where the daemon can't say."""
    where, names_of = _SOURCES[kind]
    found: Any = api.get(where, **({"all": True} if kind == "container" else {}))
    for one in (found["Volumes"] if kind == "volume" else found) or ():
        yield from names_of(one)
