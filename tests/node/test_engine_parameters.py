"""Each parameter that the Engine API's description types is refused with another type, by 400."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests import description
from tests.description import Operation, Schema
from tests.node.engine_fuzzing import KNOWN, NAMES, ask, head
from tests.node.engine_world import World, standing_world

pytestmark = description.NEEDED
MAX_DEPTH = 8

BASES: Mapping[str, Any] = {
    "POST /containers/create": {"Image": "busybox"}, "POST /containers/{id}/update": {}, "POST /containers/{id}/exec": {"Cmd": ["true"]},
    "POST /auth": {"serveraddress": "127.0.0.1:1"},
    "POST /exec/{id}/start": {"Detach": True}, "POST /volumes/create": {}, "POST /networks/create": {"Name": "n"},
    "POST /networks/{id}/connect": {"Container": "two"}, "POST /networks/{id}/disconnect": {"Container": "two"},
    "POST /nodes/{id}/update": {"Role": "manager", "Availability": "active"},
    "POST /swarm/join": {}, "POST /swarm/update": {}, "POST /swarm/unlock": {},
    "POST /services/create": {"TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}}, "POST /services/{id}/update": {},
    "POST /secrets/create": {"Name": "s"}, "POST /secrets/{id}/update": {}, "POST /configs/create": {"Name": "c"}, "POST /configs/{id}/update": {},
}  # fmt: skip
"""Bodies that are right, into which one field of another type is put."""

AROUND: Mapping[str, Any] = {"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/x"}]}
"""What is around a field, or it would not be looked at."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with standing_world("types") as made:
        made.renew()
        yield made


def _wrong(schema: Schema, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(field, a value of the schema's shape with another type at that field)."""
    schema, _ = description.target(schema)
    if depth > MAX_DEPTH:
        return
    for part in schema.get("allOf", ()):
        yield from _wrong(part, depth)
    for name, inner in schema.get("properties", {}).items():
        kind = description.target(inner)[0].get("type", "object")
        yield name, {name: "x" if kind in ("integer", "number", "boolean") else 5}
        yield from ((f"{name}.{below}", {name: value}) for below, value in _wrong(inner, depth + 1))
    for inner, put in ((schema.get("items"), lambda value: [value]), (schema.get("additionalProperties"), lambda value: {"80/tcp": value})):
        if isinstance(inner, dict):
            kind = description.target(inner)[0].get("type", "object")
            if kind != "object" or "properties" in description.target(inner)[0]:
                yield "*", put("x" if kind in ("integer", "number", "boolean") else 5)
            yield from ((f"*.{below}", put(value)) for below, value in _wrong(inner, depth + 1))


def _merged(base: Any, change: Any) -> Any:
    """With what the lists and maps of the change need around them to be looked at."""
    if isinstance(change, dict):
        return (base if isinstance(base, dict) else {}) | {name: _merged((base or {}).get(name, AROUND.get(name)), value) for name, value in change.items()}
    if isinstance(change, list) and isinstance(base, list):
        return [_merged(base[0], value) for value in change]
    return change


def _target(operation: Operation, world: World) -> str:
    kind = NAMES.get("/" + operation.path.split("/")[1], "")
    name = "one" if kind == "container" else KNOWN[kind][-1] if kind else ""
    return operation.path.replace("{id}", world.ids.get(name.strip("@"), name)).replace("{name}", name)


def test_a_field_of_another_type_is_refused(world: World) -> None:
    taken = []
    for operation in description.operations():
        body = next((p for p in operation.parameters if p["in"] == "body"), None)
        if body is None or str(operation) not in BASES:
            continue
        for field, change in _wrong(body["schema"]):
            data = json.dumps(_merged(BASES[str(operation)], change)).encode()
            needs_version = any(p["name"] == "version" for p in operation.parameters)
            target = _target(operation, world) + ("?version=1" if needs_version else "")
            heard = ask(world.socket, head(operation.method, target, {"Content-Type": "application/json"}, len(data)) + data)
            if heard.status != 400:
                taken.append(f"{operation} {field}: {heard.status} {heard.body[:150]!r}")
    assert not taken, "\n".join(taken)


def test_a_number_in_a_query_is_a_number(world: World) -> None:
    taken = []
    for operation in description.operations():
        for parameter in operation.parameters:
            if parameter["in"] == "query" and parameter["type"] == "integer":
                others = "".join(f"&{name}=1" for name in ("stdout", "term") if any(p["name"] == name for p in operation.parameters))
                heard = ask(world.socket, head(operation.method, f"{_target(operation, world)}?{parameter['name']}=x{others}", {}, 0))
                if heard.status != 400 or b"x" not in heard.body:
                    taken.append(f"{operation} {parameter['name']}: {heard.status} {heard.body[:150]!r}")
    assert not taken, "\n".join(taken)
