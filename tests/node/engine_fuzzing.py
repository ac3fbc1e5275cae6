"""Random requests to the Engine API, drawn from its description: parameters and bodies of the types that it names, of others, and of none; names that mean
something on the node and names that do not. And the client that sends their bytes and reads what comes."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from tests import description
from tests.description import Operation, Schema

PATIENCE_S = 3.0
"""Until a head. Stopping a container that does not listen takes as long as it is told, asking a registry that is not there two seconds."""

SILENCE_S = 0.05
"""After which a stream has said enough."""

MAX_DEPTH = 6
NOT_DRAWN = frozenset({"ForceNewCluster", "force"})
"""The one would make another cluster in the middle of the run, the other let the node leave it (and removes what the others are about)."""

NAMES: Mapping[str, str] = {
    "/containers": "container", "/exec": "exec", "/images": "image", "/distribution": "image", "/networks": "network", "/volumes": "volume",
    "/nodes": "node", "/services": "service", "/tasks": "task", "/secrets": "secret", "/configs": "config",
}  # fmt: skip
KNOWN: Mapping[str, tuple[str, ...]] = {
    "container": ("one", "two"), "exec": ("@exec1@", "@exec2@"), "image": ("busybox", "busybox:latest"), "network": ("net-one", "net-two", "far", "ingress"),
    "volume": ("vol-one", "vol-two"), "node": ("self", "@node@"), "service": ("web", "@service@"), "task": ("@task@",), "secret": ("kept", "@secret@"),
    "config": ("kept", "@config@"),
}  # fmt: skip
"""What the node has, by kind; between two @ what has another id each time."""

FILTERS = (
    "ancestor", "before", "capability", "container", "dangling", "desired-state", "driver", "event", "exited", "expose", "health", "id", "image",
    "is-official", "is-task", "label", "label!", "membership", "mode", "name", "network", "node", "publish", "reference", "role", "runtime", "scope", "service",
    "since", "stars", "status", "type", "until", "volume", "_up-to-date", "nonsense",
)  # fmt: skip
VERSIONS = ("", "", "/v1.24", "/v1.30", "/v1.41", "/v1.43", "/v1.44", "/v1.47", "/v1.51", "/v1.52", "/v1.23", "/v0.1", "/v99999.9")
TEXTS = (
    "", "0", "1", "-1", "true", "false", "a", "busybox", "busybox:latest", "127.0.0.1:1/x", "local", "bridge", "overlay", "host", "none", "default", "tmpfs",
    "bind", "/tmp", "/", "../..", "..", "80/tcp", "80-90/udp", "99999/tcp", "10.1.2.3", "10.99.0.0/24", "fd00::/64", "::1", "02:42:ac:11:00:02", "KILL", "999",
    "SIGTERM", "on-failure", "always", "no", "1m", "5s", "9" * 30, "1e400", "NaN", "\0", "\n", "%s", "é", "\U0001f600", "x" * 300, "a=b", "=", ":", "{{", "²",
    "{{.Node.Hostname}}", "json-file", "nosuch", "container:nosuch", "service:x", "ctrl-p,ctrl-q", "2024-01-01T00:00:00Z", "1700000000.5", "linux/arm64",
    "all", "CAP_SYS_ADMIN",
)  # fmt: skip
INTEGERS = (0, 1, -1, 2, 80, 256, 1 << 16, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, -(1 << 63), 1 << 64, 10**30)

texts = st.sampled_from(TEXTS) | st.text(st.characters(exclude_characters="/", codec="utf-8"), max_size=6)
integers = st.sampled_from(INTEGERS) | st.integers(-5, 5000)
junk = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@dataclass(frozen=True)
class Sent:
    """One request. Its text is what a failure shows."""

    operation: str
    raw: bytes

    def __repr__(self) -> str:
        return f"{self.raw[:2000]!r}"


@st.composite
def values(draw: st.DrawFn, schema: Schema, depth: int = 0) -> Any:
    """Of the schema's type, or now and then of another."""
    schema, _ = description.target(schema)
    if draw(st.integers(0, 11)) == 0 or depth > MAX_DEPTH:
        return draw(junk)
    if "enum" in schema and draw(st.booleans()):
        return draw(st.sampled_from(schema["enum"]))
    if "allOf" in schema:
        whole: dict[str, Any] = {}
        for part in schema["allOf"]:
            found = draw(values(part, depth))
            whole |= found if isinstance(found, dict) else {}
        return whole
    kind = schema.get("type", "object" if "properties" in schema else "")
    if kind == "array":
        return [draw(values(schema.get("items", {}), depth + 1)) for _ in range(draw(st.integers(0, 3)))]
    if kind == "object":
        chosen = {}
        if names := [name for name in schema.get("properties", {}) if name not in NOT_DRAWN]:
            few = st.lists(st.sampled_from(names), max_size=5, unique=True)
            chosen = {name: draw(values(schema["properties"][name], depth + 1)) for name in draw(few)}
        if isinstance(every := schema.get("additionalProperties"), dict):
            chosen |= {draw(texts): draw(values(every, depth + 1)) for _ in range(draw(st.integers(0, 2)))}
        return chosen
    return draw({"string": texts, "integer": integers, "number": integers | st.floats(allow_nan=False), "boolean": st.booleans()}.get(kind, junk))


@st.composite
def requests(draw: st.DrawFn, operations: tuple[Operation, ...]) -> Sent:
    """One request to one of the operations."""
    operation = draw(st.sampled_from(operations))
    query: list[tuple[str, str]] = []
    headers: dict[str, str] = {}
    body = b""
    path = operation.path
    for parameter in operation.parameters:
        name = parameter["name"]
        if parameter["in"] == "path":
            kind = NAMES["/" + operation.path.split("/")[1]]
            chosen = draw(st.sampled_from(KNOWN[kind]) if draw(st.integers(0, 5)) else texts)
            path = path.replace("{" + name + "}", quote(chosen or "x", safe=":@"))
        elif parameter["in"] == "query" and name not in NOT_DRAWN and draw(st.integers(0, 2)):
            query += [(name, _text(draw, name, parameter)) for _ in range(draw(st.sampled_from((1, 1, 1, 2))))]
        elif parameter["in"] == "header" and draw(st.booleans()):
            headers[name] = base64.urlsafe_b64encode(json.dumps(draw(junk)).encode()).decode() if draw(st.booleans()) else quote(draw(texts))
        elif parameter["in"] == "body" and draw(st.integers(0, 9)):
            headers["Content-Type"] = "application/json"
            body = _body(draw, parameter.get("schema", {}))
    target = draw(st.sampled_from(VERSIONS)) + path + ("?" + "&".join(f"{name}={quote(value)}" for name, value in query) if query else "")
    return Sent(str(operation), head(operation.method, target, headers, len(body)) + body)


def head(method: str, target: str, headers: Mapping[str, str], length: int) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items()), f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode()


def _text(draw: st.DrawFn, name: str, parameter: Mapping[str, Any]) -> str:
    if name == "filters":
        if draw(st.integers(0, 4)) == 0:
            return str(draw(texts))
        given = st.lists(texts, max_size=2) | st.dictionaries(texts, st.booleans(), max_size=2) | junk
        return json.dumps(draw(st.dictionaries(st.sampled_from(FILTERS), given, max_size=2)))
    value = draw(values(parameter))
    return value if isinstance(value, str) else json.dumps(value)


def _body(draw: st.DrawFn, schema: Schema) -> bytes:
    if schema.get("format") == "binary" or draw(st.integers(0, 19)) == 0:
        return bytes(draw(st.binary(max_size=600)))
    value = draw(values(schema))
    if isinstance(value, dict):  # what leads further than to the first refusal
        also = {"Image": "busybox", "Name": draw(texts), "Container": draw(st.sampled_from(KNOWN["container"])), "Cmd": ["true"], "Data": "YQ=="}
        value = {name: one for name, one in also.items() if draw(st.booleans())} | value
    whole = json.dumps(value).encode()
    return whole if draw(st.integers(0, 19)) else whole[: len(whole) // 2]


@dataclass(frozen=True)
class Heard:
    """The answer, as far as it came. `status` 0: none."""

    status: int
    headers: str
    body: bytes


def ask(path: Path, raw: bytes, *, last: bool = False) -> Heard:
    """Send these bytes over a connection of their own and read until the answer is whole, or says no more. `last`: and say that no more of them come, without
    which the other side waits for the rest of half a request."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(PATIENCE_S)
        asking.connect(str(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was said
            asking.sendall(raw)
            if last:
                asking.shutdown(socket.SHUT_WR)
        data = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while not _whole(data, raw.startswith(b"HEAD ")) and (piece := asking.recv(1 << 16)):
                data += piece
                if b"\r\n\r\n" in data:
                    asking.settimeout(SILENCE_S)
    top, _, body = data.partition(b"\r\n\r\n")
    first = top.split(b" ", 2)
    return Heard(int(first[1]) if len(first) > 1 else 0, top.decode("latin-1"), body)


def _whole(data: bytes, without_body: bool) -> bool:
    top, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    lower = top.lower()
    if without_body or b" 204 " in top[:14] or b" 304 " in top[:14]:
        return True
    if b"content-length: " in lower:
        return len(body) >= int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
    return b"transfer-encoding: chunked" in lower and body.endswith(b"0\r\n\r\n")
