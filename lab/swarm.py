"""`festoon lab up --swarm`: init on the first manager and join the others, through the nodes' own Engine API.

Owns no state: a node that is in a swarm already is left as it is. Source: Docker Engine API, /swarm.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cluster.wire.http_client import ConnectionFailed, HttpClient
from lab import machines
from lab.layout import LabError, Layout, Machine

LISTEN_ADDRESS = "0.0.0.0:2377"
SWARM_PORT = 2377


def form(layout: Layout) -> Iterator[str]:
    """Make one swarm of the lab's machines; the names of those that were not in one before, as they come in. Raises LabError."""
    first, others = layout.machines[0], layout.machines[1:]
    if role_of(layout.name, first) == "":
        _ask(layout, first, "POST", "/swarm/init", _listening(first))
        yield first.name
    waiting = [machine for machine in others if role_of(layout.name, machine) == ""]
    if not waiting:
        return
    tokens = _ask(layout, first, "GET", "/swarm")["JoinTokens"]
    for machine in waiting:
        token = tokens["Manager" if machine.role == "manager" else "Worker"]
        join = {"RemoteAddrs": [f"{first.address}:{SWARM_PORT}"], "JoinToken": token}
        _ask(layout, machine, "POST", "/swarm/join", {**_listening(machine), **join})
        yield machine.name


def role_of(name: str, machine: Machine) -> str:
    """`manager`, `worker`, or empty for a node that is in no swarm. Raises LabError when the node does not answer."""
    try:
        answer = _client(name, machine).request("HEAD", "/_ping")
    except ConnectionFailed as error:
        raise LabError(f"{machine.name} does not answer: {error}") from None
    swarm = next((value for key, value in answer.headers if key.lower() == "swarm"), "")
    state, _, role = swarm.partition("/")
    return role if state != "inactive" else ""


def _listening(machine: Machine) -> dict[str, Any]:
    return {"ListenAddr": LISTEN_ADDRESS, "AdvertiseAddr": machine.address}


def _ask(layout: Layout, machine: Machine, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    try:
        answer = _client(layout.name, machine).request(method, path, body=content, headers=(("Content-Type", "application/json"),))
        document = json.loads(answer.body) if answer.body else None
    except ConnectionFailed as error:
        raise LabError(f"{machine.name} does not answer: {error}") from None
    except ValueError:
        raise LabError(f"{machine.name} answered {method} {path} with something that is no JSON") from None
    if answer.status >= 400:
        message = document.get("message", "") if isinstance(document, dict) else ""
        raise LabError(f"{machine.name}: {message or f'{method} {path}: status {answer.status}'}")
    return document


def _client(name: str, machine: Machine) -> HttpClient:
    return HttpClient(machines.socket_of(name, machine.name))
