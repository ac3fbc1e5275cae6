"""Several Compose files, or a service and what it extends, as one. Pure: works on long forms.

Mappings are merged, lists appended, single values replaced; ports, volumes, secrets and configs are merged by what makes two of them the same. Networks,
volumes, secrets and configs of the top are replaced as a whole. Source: docker/cli's cli/compose/loader/merge.go; a health check's test is replaced (the
Compose Specification, 13-merge.md), where docker appends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from cli.compose.longforms import SERVICE_KEYS, Value, struct

_REPLACED: Final = frozenset({"command", "entrypoint", "test"})
_KEYED: Final[Mapping[str, tuple[Callable[[Value], Any], Callable[[Value], Any]]]] = {
    "ports": (lambda port: tuple(port.items()), lambda port: port.get("published", 0)),
    "volumes": (lambda mount: mount.get("target", ""), lambda mount: mount.get("target", "")),
    "secrets": (lambda one: one.get("source", ""), lambda one: one.get("source", "")),
    "configs": (lambda one: one.get("source", ""), lambda one: one.get("source", "")),
}
"""What makes two items the same, and what they are sorted by."""


def services(base: Mapping[str, Value], over: Mapping[str, Value]) -> dict[str, Value]:
    """By name, the second laid over the first."""
    both = {name: service(base[name], one) if name in base else one for name, one in over.items()}
    return dict(sorted({**base, **both}.items()))


def service(base: Value, over: Value) -> Value:
    """One service laid over another."""
    return struct(_merged(base, over), SERVICE_KEYS)


def _merged(base: Value, over: Value) -> Value:
    made = dict(base)
    for key, value in over.items():
        made[key] = _value(key, base[key], value) if key in base else value
    return made


def _value(key: str, before: Any, value: Any) -> Any:
    if key == "logging" and before.get("driver") and value.get("driver") and before["driver"] != value["driver"]:
        return value
    if key == "networks":
        return {**before, **{name: _network(before.get(name), one) for name, one in value.items()}}
    if key == "depends_on" and type(before) is not type(value):
        return _merged(_conditions(before), _conditions(value))
    if key in _KEYED and isinstance(value, list):
        same, order = _KEYED[key]
        by_key = {same(item): item for item in before} | {same(item): item for item in value}
        return sorted(by_key.values(), key=order)
    if isinstance(value, dict) and isinstance(before, dict):
        return _merged(before, value)
    if isinstance(value, list) and isinstance(before, list) and key not in _REPLACED:
        return [*before, *(item for item in value if item not in before)] if key == "depends_on" else [*before, *value]
    return value


def _network(before: Value | None, value: Value | None) -> Value | None:
    if value is None or before is None:
        return value if value is not None else before
    return {**{key: item for key, item in before.items() if key != "aliases"}, **value}


def _conditions(value: Any) -> Value:
    return value if isinstance(value, dict) else {name: {"condition": "service_started"} for name in value}
