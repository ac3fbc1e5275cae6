"""Tasks in `service ps` and `node ps`: their names, order and columns; and the names of nodes and services behind
ids.

Owns how a task reads; the pure part takes the objects, `Names` asks the daemon for those that it needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cli.api import Api
from cli.configuration import format_of
from cli.failures import ApiFailure
from cli.listing import TABLE, Listing
from cli.output import ellipsis, natural, short_id
from cli.units import human_duration, parse_time

MAX_ERROR_LENGTH: Final = 30
LISTING: Final = Listing(
    {
        "ID": "ID",
        "Name": "NAME",
        "Image": "IMAGE",
        "Node": "NODE",
        "DesiredState": "DESIRED STATE",
        "CurrentState": "CURRENT STATE",
        "Error": "ERROR",
        "Ports": "PORTS",
    },
    ("ID", "Name", "Image", "Node", "DesiredState", "CurrentState", "Error", "Ports"),
    quiet="ID",
    kind="*task.taskContext",
    raw="id: {{.ID}}\nname: {{.Name}}\nimage: {{.Image}}\nnode: {{.Node}}\ndesired_state: {{.DesiredState}}\ncurrent_state: {{.CurrentState}}\n"
    "error: {{.Error}}\nports: {{.Ports}}\n",
)


class Names:
    """Names of nodes and services by id, each asked for once; the id itself where there is none any more, or with
    `resolve` off."""

    def __init__(self, api: Api, *, resolve: bool = True) -> None:
        self._api = api
        self.settings = api.settings
        self._resolve = resolve
        self._known: dict[str, str] = {}

    def node(self, node_id: str) -> str:
        return self._name(f"/nodes/{node_id}", node_id) if node_id else ""

    def service(self, service_id: str) -> str:
        return self._name(f"/services/{service_id}", service_id)

    def task(self, task: Mapping[str, Any]) -> str:
        """`test.1`, or `test.<node id>` for a task of a global service."""
        slot = task.get("Slot") or task.get("NodeID", "")
        return f"{self.service(task.get('ServiceID', ''))}.{slot}"

    def _name(self, path: str, fallback: str) -> str:
        if not self._resolve:
            return fallback
        if path not in self._known:
            try:
                found = self._api.find(path)
            except ApiFailure:
                found = None  # a manager that cannot be asked now: the id says as much
            self._known[path] = _named(found) or fallback
        return self._known[path]


def _named(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    spec = found.get("Spec") or {}
    return str(spec.get("Name") or (found.get("Description") or {}).get("Hostname") or "")


def render(tasks: Sequence[Mapping[str, Any]], names: Names, form: str, *, quiet: bool, trunc: bool, now: float) -> str:
    """The whole list, sorted by name and then newest first; earlier tasks of a slot are indented in tables."""
    form = format_of(names.settings, "tasksFormat", form, quiet=quiet)
    named = sorted(tasks, key=lambda t: t.get("CreatedAt", ""), reverse=True)
    pairs = sorted(((names.task(t), t) for t in named), key=lambda pair: natural(pair[0]))
    table = not form or form.startswith(TABLE)
    rows, previous = [], ""
    for name, task in pairs:
        shown = f" \\_ {name}" if table and name == previous else name
        previous = name
        rows.append(_row(task, shown, names.node(task.get("NodeID", "")), trunc=trunc, now=now))
    return LISTING.render(rows, form, quiet=quiet)


def _row(task: Mapping[str, Any], name: str, node: str, *, trunc: bool, now: float) -> dict[str, str]:
    status = task.get("Status") or {}
    error = str(status.get("Err", ""))
    if error and trunc:
        error = f'"{ellipsis(error, MAX_ERROR_LENGTH)}"'
    elif error:
        error = f'"{error}"'
    age = human_duration(now - parse_time(status.get("Timestamp", ""))).lower()
    image = str(((task.get("Spec") or {}).get("ContainerSpec") or {}).get("Image", ""))
    return {
        "ID": short_id(task["ID"]) if trunc else task["ID"],
        "Name": name,
        "Image": image.partition("@")[0] if trunc else image,
        "Node": node,
        "DesiredState": str(task.get("DesiredState", "")).capitalize(),
        "CurrentState": f"{str(status.get('State', '')).capitalize()} {age} ago",
        "Error": error,
        "Ports": ",".join(ports_text(p) for p in (status.get("PortStatus") or {}).get("Ports") or ()),
    }


def ranges_text(ports: Sequence[Mapping[str, Any]]) -> str:
    """A service's published ports, runs of them together: `*:8000-8002->80-82/tcp, *:53->53/udp`. Source: docker/cli's formatter."""
    runs: list[tuple[str, int, int, int, int]] = []  # protocol, first and last published, first and last target
    published_ones = (port for port in ports if port.get("PublishedPort"))
    for port in sorted(published_ones, key=lambda p: (str(p.get("Protocol", "tcp")), int(p["PublishedPort"]))):
        protocol, published, target = str(port.get("Protocol", "tcp")), int(port["PublishedPort"]), int(port["TargetPort"])
        if runs:
            before, first, last, low, high = runs[-1]
            back = low != high and target <= high
            if before == protocol and 0 <= published - last <= 1 and 0 <= target - high <= 1 and not back:
                runs[-1] = (protocol, first, published, low, target)
                continue
        runs.append((protocol, published, published, target, target))
    return ", ".join(f"*:{_run(first, last)}->{_run(low, high)}/{protocol}" for protocol, first, last, low, high in runs)


def _run(first: int, last: int) -> str:
    return f"{first}-{last}" if last > first else str(first)


def ports_text(port: Mapping[str, Any]) -> str:
    """`*:8080->80/tcp`."""
    return f"*:{port.get('PublishedPort', 0)}->{port.get('TargetPort', 0)}/{port.get('Protocol', 'tcp')}"
