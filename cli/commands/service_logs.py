"""`festoon service logs`: lines of every task, each behind the task's and its node's name. Source: docker/cli's
service/logs.go."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from cli.api import Api, reference
from cli.failures import CliFailure
from cli.flags import option, switch
from cli.log_output import copy, each_frame, write
from cli.output import short_id
from cli.tasks import Names
from cli.units import parse_since
from cli.usage import command

MAX_LINE_BYTES: Final = 1024 * 1024
"""A line that grows longer is printed in pieces."""

_PREFIX: Final = "com.docker.swarm."


@command("logs", "SERVICE|TASK", summary="Fetch the logs of a service or task", least=1, most=1)
@switch("--details", help="Show extra details provided to logs")
@switch("--follow", "-f", help="Follow log output")
@switch("--no-resolve", help="Do not map IDs to Names in output")
@switch("--no-task-ids", help="Do not include task IDs in output")
@switch("--no-trunc", help="Do not truncate output")
@switch("--raw", help="Do not neatly format logs")
@option("--since", help='Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)', default="")
@option("--tail", "-n", help="Number of lines to show from the end of the logs", default="all")
@switch("--timestamps", "-t", help="Show timestamps")
def logs(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    name = arguments[0]
    where, found = _target(api, name)
    try:
        since = parse_since(flags["since"], time.time()) if flags["since"] else None
    except ValueError as e:
        raise CliFailure(f'invalid value for "since": {e}') from e
    query = {
        "stdout": True,
        "stderr": True,
        "follow": bool(flags["follow"]),
        "since": since,
        "tail": flags["tail"],
        "timestamps": bool(flags["timestamps"]),
        "details": not flags["raw"] or bool(flags["details"]),
    }
    spec = found["Spec"].get("TaskTemplate") or found["Spec"]
    tty = bool((spec.get("ContainerSpec") or {}).get("TTY"))
    if tty and not flags["raw"]:
        raise CliFailure("tty service logs only supported with --raw")
    with api.stream("GET", f"{where}/logs", **query) as answer:
        if flags["raw"]:
            copy(answer, raw=tty)
            return 0
        printer = _Printer(api, flags, _replica_digits(found))
        each_frame(answer, printer.take)
        printer.finish()
    return 0


def _target(api: Api, name: str) -> tuple[str, Mapping[str, Any]]:
    found = api.find(f"/services/{reference(name, 'service')}")
    if found is not None:
        return f"/services/{found['ID']}", found
    found = api.find(f"/tasks/{reference(name, 'task')}")
    if found is not None:
        return f"/tasks/{found['ID']}", found
    raise CliFailure(f"no such task or service: {name}")


def _replica_digits(found: Mapping[str, Any]) -> int:
    mode = found["Spec"].get("Mode") or {}
    replicas = (mode.get("Replicated") or {}).get("Replicas") or found.get("Slot") or 1
    return len(str(replicas))


class _Printer:
    """Puts lines together, per stream, and prints each behind its task's name."""

    def __init__(self, api: Api, flags: Mapping[str, Any], digits: int) -> None:
        self._api = api
        self._flags = flags
        self._digits = digits
        self._names = Names(api, resolve=not flags["no_resolve"])
        self._known: dict[str, str] = {}
        self._begun = {1: bytearray(), 2: bytearray()}

    def take(self, stream: int, payload: bytes) -> None:
        buffer = self._begun.setdefault(stream, bytearray())
        buffer += payload
        *whole, rest = bytes(buffer).split(b"\n")
        for line in whole:
            self._print(stream, line + b"\n")
        if len(rest) > MAX_LINE_BYTES:
            self._print(stream, rest + b"\n")
            rest = b""
        self._begun[stream] = bytearray(rest)

    def finish(self) -> None:
        for stream, rest in self._begun.items():
            if rest:
                self._print(stream, bytes(rest))

    def _print(self, stream: int, line: bytes) -> None:
        stamp = b""
        if self._flags["timestamps"]:
            stamp, _, line = line.partition(b" ")
            stamp += b" "
        details, _, text = line.partition(b" ")
        facts = _facts(details.decode(errors="replace"))
        head = self._head(facts).encode()
        shown = details + b" " if self._flags["details"] else b""
        write(stream, stamp + head + b"    | " + shown + text)

    def _head(self, facts: Mapping[str, str]) -> str:
        task_id, node_id = facts.get(f"{_PREFIX}task.id", ""), facts.get(f"{_PREFIX}node.id", "")
        if task_id not in self._known:
            self._known[task_id] = self._described(task_id, node_id, facts.get(f"{_PREFIX}service.id", ""))
        return self._known[task_id]

    def _described(self, task_id: str, node_id: str, service_id: str) -> str:
        task = self._api.find(f"/tasks/{task_id}") or {"ServiceID": service_id, "NodeID": node_id}
        shown_id = task_id if self._flags["no_trunc"] else short_id(task_id)
        name = self._names.task(task)
        if self._flags["no_resolve"]:
            name = shown_id
        elif not self._flags["no_task_ids"]:
            name = f"{name}.{shown_id}"
        padding = " " * max(self._digits - len(str(task.get("Slot") or 0)), 0)
        return f"{name}@{self._names.node(node_id)}{padding}"


def _facts(details: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in details.split(","))
    return {unquote(key): unquote(value) for key, _, value in pairs}
