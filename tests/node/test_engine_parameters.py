"""Each parameter that the Engine API's description types is refused with another type, each that it bounds or enumerates with a value beyond, by 400."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest

from tests import description
from tests.description import Operation, Schema
from tests.node.engine_fuzzing import KNOWN, NAMES, Heard, ask, head
from tests.node.engine_world import World, standing_world

pytestmark = description.NEEDED
MAX_DEPTH = 8

BASES: Mapping[str, Any] = {
    "POST /containers/create": {"Image": "busybox"}, "POST /containers/{id}/update": {}, "POST /containers/{id}/exec": {"Cmd": ["true"]},
    "POST /auth": {"serveraddress": "127.0.0.1:1"},
    "POST /exec/{id}/start": {"Detach": True}, "POST /volumes/create": {}, "POST /networks/create": {"Name": "n"},
    "POST /networks/{id}/connect": {"Container": "two"}, "POST /networks/{id}/disconnect": {"Container": "two"},
    "POST /nodes/{id}/update": {"Role": "manager", "Availability": "active"},
    "POST /swarm/join": {"ListenAddr": "0.0.0.0:2377"}, "POST /swarm/update": {}, "POST /swarm/unlock": {},
    "POST /services/create": {"TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}}, "POST /services/{id}/update": {},
    "POST /secrets/create": {"Name": "s"}, "POST /secrets/{id}/update": {}, "POST /configs/create": {"Name": "c"}, "POST /configs/{id}/update": {},
}  # fmt: skip
"""Bodies that are right, into which one field of another type is put."""

TAKEN: Mapping[str, str] = {
    ".BlkioWeight": "a weight that the kernel does not know is dropped with a warning before it is looked at",
    ".MemorySwappiness": "-1 stands for nothing",
    ".LogConfig.Type": "500, as Docker: a client that hears 404 would look for the image",
    ".ContainerSpec.Isolation": "of Windows; what is not known there is the default",
    ".EndpointSpec.Ports.*.Protocol": "an update's version is looked at first",
}
"""Fields whose values beyond the bounds Docker takes, or refuses otherwise, and why."""

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


def _beyond(schema: Schema, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(field, a value of the schema's shape in which that field is less or more than it may be, or none of those that it may be)."""
    schema, _ = description.target(schema)
    if depth > MAX_DEPTH:
        return
    for part in schema.get("allOf", ()):
        yield from _beyond(part, depth)
    for limit, step in (("minimum", -1), ("maximum", 1)):
        if isinstance(schema.get(limit), int):
            yield "", schema[limit] + step
    if schema.get("type") == "string" and "enum" in schema:
        yield "", "nosuch"
    for name, inner in schema.get("properties", {}).items():
        yield from ((f".{name}{below}", {name: value}) for below, value in _beyond(inner, depth + 1))
    for inner, put in ((schema.get("items"), lambda value: [value]), (schema.get("additionalProperties"), lambda value: {"80/tcp": value})):
        if isinstance(inner, dict):
            yield from ((f".*{below}", put(value)) for below, value in _beyond(inner, depth + 1))


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


def _answers(world: World, changes: Callable[[Schema], Iterator[tuple[str, Any]]]) -> Iterator[tuple[str, str, Heard]]:
    """(operation, field, answer) for each change of each body that is right."""
    for operation in description.operations():
        body = next((p for p in operation.parameters if p["in"] == "body"), None)
        if body is None or str(operation) not in BASES:
            continue
        version = "?version=1" if any(p["name"] == "version" for p in operation.parameters) else ""
        for field, change in changes(body["schema"]):
            data = json.dumps(_merged(BASES[str(operation)], change)).encode()
            target = _target(operation, world) + version
            yield str(operation), field, ask(world.socket, head(operation.method, target, {"Content-Type": "application/json"}, len(data)) + data)


def _taken(answers: Iterable[tuple[str, str, Heard]]) -> str:
    return "\n".join(f"{operation} {field}: {heard.status} {heard.body[:150]!r}" for operation, field, heard in answers if heard.status != 400)


def test_a_field_of_another_type_is_refused(world: World) -> None:
    assert not _taken(_answers(world, _wrong))


def test_a_value_beyond_its_bounds_is_refused(world: World) -> None:
    answers = list(_answers(world, _beyond))
    assert len(answers) > 30
    assert not _taken(answer for answer in answers if not answer[1].endswith(tuple(TAKEN)))


def test_a_number_in_a_query_is_a_number(world: World) -> None:
    taken = []
    for operation in description.operations():
        for parameter in operation.parameters:
            if parameter["in"] == "query" and parameter["type"] == "integer":
                others = "".join(f"&{name}=1" for name in ("stdout", "term") if any(p["name"] == name for p in operation.parameters))
                heard = ask(world.socket, head(operation.method, f"{_target(operation, world)}?{parameter['name']}=x{others}", {}, 0))
                if heard.status != 400 or not any(words in heard.body for words in (b"x", b"invalid secret version", b"invalid config version")):
                    taken.append(f"{operation} {parameter['name']}: {heard.status} {heard.body[:150]!r}")
    assert not taken, "\n".join(taken)


WORDS: tuple[tuple[str, str, Any, int, str], ...] = (
    ("OPTIONS", "/info", None, 200, ""),
    ("POST", "/containers/create", {}, 400, "config cannot be empty in order to create a container"),
    ("POST", "/containers/create", {"HostConfig": {}}, 400, "config cannot be empty in order to create a container"),
    ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"Memory": -1}}, 400, "Minimum memory limit allowed is 6MB"),
    ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"ShmSize": -1}}, 400, "SHM size can not be less than 0"),
    ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"ExtraHosts": ["x"]}}, 400, 'bad format for add-host: "x"'),
    ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"ExtraHosts": ["x:y"]}}, 400, 'invalid IP address in add-host: "y"'),
    ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "9-8"}]}}}, 400,
     'invalid port specification: "9-8"'),
    ("POST", "/containers/create?platform=bad", {"Image": "busybox"}, 400, '"bad": unknown operating system or architecture: invalid argument'),
    ("POST", "/containers/create?platform=linux/", {"Image": "busybox"}, 400,
     '"" is an invalid component of "linux/": platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument'),
    ("POST", "/v1.41/containers/create", {"Image": "busybox", "NetworkingConfig": {"EndpointsConfig": {"host": {}, "none": {}}}}, 400,
     "Container cannot be connected to network endpoints: host, none"),
    ("POST", "/containers/one/resize", None, 400, 'strconv.Atoi: parsing "": invalid syntax'),
    ("POST", "/containers/one/rename?name=bad%20name", None, 400,
     "Error when allocating new name: Invalid container name (/bad name), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
    ("GET", f"/containers/one/archive?path=/{'x' * 256}", None, 404, f"Could not find the file /{'x' * 256} in container one"),
    ("GET", f"/containers/one/archive?path=/{'x/' * 2048}", None, 404, f"Could not find the file /{'x/' * 2048} in container one"),
    ("GET", "/system/df?type=nosuch", None, 400, "unknown object type: nosuch"),
    ("POST", "/v1.41/build/prune?filters=%7B%22nosuch%22:%5B%22x%22%5D%7D", None, 400, "failed to prune build cache: Invalid filter 'nosuch'"),
    ("POST", "/build/prune?filters=%7B%22until%22:%5B%22x%22%5D%7D", None, 400,
     "failed to prune build cache: \"until\" filter expects a duration (e.g., '24h'): time: invalid duration \"x\""),
    ("POST", "/build/prune?filters=%7B%22id%22:%5B%22x%22,%22y%22%5D%7D", None, 400, "failed to prune build cache: filters expect only one value"),
    ("POST", "/build/prune?filters=%7B%22label%22:%5B%22x%22,%22y%22%5D,%22until%22:%5B%221h%22%5D%7D", None, 200, ""),
    ("POST", "/containers/nosuch/resize", None, 400, 'strconv.Atoi: parsing "": invalid syntax'),
    ("GET", "/containers/json?filters=null", None, 200, ""),
    ("GET", "/v1.41/containers/one/stats?one-shot=1", None, 400, "cannot have stream=true and one-shot=true"),
    ("GET", "/containers/one/logs?stdout=1&since=x", None, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
    ("GET", "/containers/one/logs?stdout=1&until=99999999999999999999", None, 400,
     'strconv.ParseInt: parsing "99999999999999999999": value out of range'),
    ("POST", "/swarm/update?version=99999999999999999999", {}, 400,
     "invalid swarm version '99999999999999999999': strconv.ParseUint: parsing \"99999999999999999999\": value out of range"),
    ("POST", "/swarm/update?version=1&rotateWorkerToken=x", {}, 400, "invalid value for rotateWorkerToken: x"),
    ("POST", "/secrets/kept/update?version=x", {}, 400, "invalid secret version"),
    ("PUT", "/volumes/vol-one?version=x", {}, 400, "invalid swarm object version 'x': strconv.ParseUint: parsing \"x\": invalid syntax"),
    ("POST", "/services/web/update?version=1", {"Name": "web", "TaskTemplate": {"ContainerSpec": {}}}, 400, "ContainerSpec: image reference must be provided"),
    ("DELETE", "/networks/bridge", None, 403, "bridge is a pre-defined network and cannot be removed"),
    ("GET", "/events?since=1&until=1&filters=%7B%22nosuch%22:%5B%22x%22%5D%7D", None, 200, ""),
    ("GET", "/events?since=1&until=0", None, 400, "`since` time (1) cannot be after `until` time (0)"),
    ("GET", "/events?until=0", None, 200, ""),
    ("POST", "/containers/create?name=/a/b", {"Image": "busybox"}, 400, "Invalid container name (/a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
    ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"LogConfig": {"Type": "nosuch"}}}, 400,
     'error looking up logging plugin nosuch: plugin "nosuch" not found'),
    ("POST", "/containers/one/exec", {"Cmd": "true"}, 400, "invalid JSON: Cmd must be a list of strings"),
    ("POST", "/images/create?fromImage=a&tag=b!c", None, 400, "invalid tag format"),
    ("POST", "/build/cancel?id=x", None, 501, "building images is not served: build with buildah, podman or docker and load the archive (docker load -i)"),
    ("POST", "/images/busybox/tag?repo=a&tag=b:c", None, 400, "invalid tag format"),
    ("GET", "/volumes?filters=%7B%22dangling%22:%5B%22x%22%5D%7D", None, 400, "invalid filter 'dangling=[x]'"),
    ("GET", "/networks/bridge?verbose=x", None, 400, 'invalid value for verbose: x: strconv.ParseBool: parsing "x": invalid syntax'),
    ("GET", "/networks/bridge?scope=x", None, 404, "network bridge not found"),
    ("POST", "/networks/bridge/disconnect", {}, 400, 'invalid name or ID supplied: ""'),
    ("POST", "/networks/bridge/disconnect", {"Container": "nosuch", "Force": True}, 404, "endpoint nosuch not found"),
    ("POST", "/commit", None, 400, 'invalid name or ID supplied: ""'),
    ("GET", "/services?status=x", None, 400, 'invalid value for status: x: strconv.ParseBool: parsing "x": invalid syntax'),
    ("POST", "/secrets/create", {}, 400, "name must be provided"),
    ("POST", "/networks/create", {"Name": "b", "IPAM": {"Config": [{"Subnet": "10.250.0.0/24", "Gateway": "x"}]}}, 400,
     "invalid gateway address x in Ipam configuration"),
    ("POST", "/swarm/init", {}, 400, 'invalid ListenAddr "": invalid empty address'),
    ("POST", "/swarm/join", {}, 400, 'invalid ListenAddr "": invalid empty address'),
)  # fmt: skip


@pytest.mark.parametrize(("method", "target", "body", "status", "words"), WORDS)
def test_what_can_not_be_is_refused_in_dockers_words(world: World, method: str, target: str, body: Any, status: int, words: str) -> None:
    data = b"" if body is None else json.dumps(body).encode()
    heard = ask(world.socket, head(method, target, {"Content-Type": "application/json"}, len(data)) + data)
    assert (heard.status, words) == (status, json.loads(heard.body)["message"] if words else "")


@pytest.mark.parametrize(("content_type", "body", "status", "words"), [
    ("text/plain", b"{}", 400, "unsupported Content-Type header (text/plain): must be 'application/json'"),
    ("", b"{}", 400, "malformed Content-Type header (): mime: no media type"),
    ("application/json; charset=utf-8", b'{"Name": "vol-one"}', 201, ""),
    ("", b"", 201, ""),
    ("application/json", b"null", 201, ""),
])  # fmt: skip
def test_a_body_says_that_it_is_json(world: World, content_type: str, body: bytes, status: int, words: str) -> None:
    heard = ask(world.socket, head("POST", "/volumes/create", {"Content-Type": content_type} if content_type else {}, len(body)) + body)
    assert (heard.status, words) == (status, json.loads(heard.body).get("message", ""))


def test_fields_come_and_go_with_the_version(world: World) -> None:
    image, listed = (world.json("GET", f"/v1.43/images{path}") for path in ("/busybox/json", "/json"))
    assert "VirtualSize" in image
    assert "VirtualSize" in listed[0]
    assert "VirtualSize" not in world.json("GET", "/images/busybox/json")
    assert world.json("GET", "/images/json")[0]["Containers"] > 0
    assert "FirewallBackend" not in world.json("GET", "/v1.48/info")
    world.json("POST", "/networks/net-one/connect", {"Container": "one", "EndpointConfig": {"Aliases": ["first"]}})
    new, old = (world.json("GET", f"{version}/containers/one/json")["NetworkSettings"]["Networks"]["net-one"] for version in ("", "/v1.43"))
    short = world.json("GET", "/containers/one/json")["Id"][:12]
    assert (new["Aliases"], new["DNSNames"]) == (["first"], ["one", "first", short])
    assert (old["Aliases"], "DNSNames" in old) == (["first", short], False)


def test_disk_usage_is_told_of_what_is_asked_for(world: World) -> None:
    found = world.json("GET", "/system/df?type=volume&type=container")
    assert (found["Images"], found["BuildCache"], found["LayersSize"]) == (None, None, 0)
    assert found["Volumes"]
    assert found["Containers"]
    whole = world.json("GET", "/v1.41/system/df?type=volume")
    sizes = {image["Id"]: image["Size"] for image in whole["Images"]}
    assert all(each["SizeRootFs"] == each["SizeRw"] + sizes[each["ImageID"]] for each in whole["Containers"])


def test_an_update_by_an_old_version_leaves_the_number_of_processes(world: World) -> None:
    for version, limit, kept in (("", 32, 32), ("/v1.39", 16, 32), ("/v1.40", 0, 0)):
        world.json("POST", f"{version}/containers/one/update", {"PidsLimit": limit})
        assert world.json("GET", "/containers/one/json")["HostConfig"]["PidsLimit"] == kept


def test_sizes_that_images_share_are_told_to_who_asks(world: World) -> None:
    for target, known in (("/images/json", False), ("/images/json?shared-size=1", True), ("/v1.41/images/json?shared-size=1", False)):
        assert all((image["SharedSize"] >= 0) is known for image in world.json("GET", target))
