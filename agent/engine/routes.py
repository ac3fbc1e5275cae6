"""The table of routes: method, path pattern, handler. The only place that says which requests exist.

`{name}` is one segment of the path; `{name*}` is one or more (image names have slashes), `{name**}` none as well, which its handler refuses.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.engine import (
    archive,
    attach,
    container_logs,
    dependencies,
    events,
    extras,
    image_archives,
    images,
    metrics,
    networks,
    nodes,
    plan,
    raft,
    raft_snapshots,
    registry,
    search,
    services,
    stats,
    swarm,
    system,
    tasks,
    top,
    update,
    volumes,
)
from agent.engine import containers as c
from agent.engine import exec as execs
from agent.engine.call import Call
from cluster.wire.http import Response

Handler = Callable[[Call], Awaitable[Response]]

ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/_ping", system.ping),
    ("HEAD", "/_ping", system.ping),
    ("GET", "/version", system.version),
    ("GET", "/info", system.info),
    ("GET", "/metrics", metrics.metrics),
    ("GET", "/events", events.events),
    ("GET", "/system/df", system.disk_usage),
    ("POST", "/auth", registry.auth),
    ("POST", "/build/prune", system.build_prune),
    ("POST", "/build/cancel", system.build),
    ("POST", "/build", system.build),
    ("POST", "/session", system.build),
    ("POST", "/grpc", system.build),
    ("GET", "/plugins", system.plugins),
    ("GET", "/plugins/{name*}/json", system.plugin),
    ("POST", "/plugins/{name*}", system.plugin_install),
    ("GET", "/containers/json", c.list_),
    ("POST", "/containers/create", c.create),
    ("POST", "/containers/prune", c.prune),
    ("GET", "/containers/{id}/json", c.inspect),
    ("GET", "/containers/{id}/top", top.top),
    ("GET", "/containers/{id}/logs", container_logs.container_logs),
    ("GET", "/containers/{id}/changes", archive.changes),
    ("GET", "/containers/{id}/export", archive.export),
    ("GET", "/containers/{id}/stats", stats.stats),
    ("GET", "/containers/{id}/attach/ws", attach.attach_by_websocket),
    ("HEAD", "/containers/{id}/archive", archive.head),
    ("GET", "/containers/{id}/archive", archive.get),
    ("PUT", "/containers/{id}/archive", archive.put),
    ("POST", "/containers/{id}/start", c.start),
    ("POST", "/containers/{id}/stop", c.stop),
    ("POST", "/containers/{id}/restart", c.restart),
    ("POST", "/containers/{id}/kill", c.kill),
    ("POST", "/containers/{id}/pause", c.pause),
    ("POST", "/containers/{id}/unpause", c.unpause),
    ("POST", "/containers/{id}/rename", c.rename),
    ("POST", "/containers/{id}/update", update.update),
    ("POST", "/containers/{id}/resize", c.resize),
    ("POST", "/containers/{id}/wait", attach.wait),
    ("POST", "/containers/{id}/attach", attach.attach),
    ("POST", "/containers/{id}/exec", execs.create),
    ("DELETE", "/containers/{id**}", c.remove),
    ("POST", "/commit", image_archives.commit),
    ("POST", "/exec/{id}/start", execs.start),
    ("POST", "/exec/{id}/resize", execs.resize),
    ("GET", "/exec/{id}/json", execs.inspect),
    ("GET", "/images/json", images.list_),
    ("GET", "/images/search", search.search),
    ("GET", "/images/get", image_archives.save),
    ("POST", "/images/create", images.create),
    ("POST", "/images/load", image_archives.load),
    ("POST", "/images/prune", images.prune),
    ("GET", "/images/{name*}/json", images.inspect),
    ("GET", "/images/{name*}/history", images.history),
    ("GET", "/images/{name*}/get", image_archives.save),
    ("POST", "/images/{name*}/tag", images.tag),
    ("POST", "/images/{name*}/push", registry.push),
    ("DELETE", "/images/{name**}", images.remove),
    ("GET", "/distribution/{name*}/json", registry.distribution),
    ("GET", "/networks", networks.list_),
    ("GET", "/networks/", networks.list_),
    ("POST", "/networks/create", networks.create),
    ("POST", "/networks/prune", networks.prune),
    ("GET", "/networks/{id}", networks.inspect),
    ("DELETE", "/networks/{id}", networks.remove),
    ("POST", "/networks/{id}/connect", networks.connect),
    ("POST", "/networks/{id}/disconnect", networks.disconnect),
    ("GET", "/volumes", volumes.list_),
    ("POST", "/volumes/create", volumes.create),
    ("POST", "/volumes/prune", volumes.prune),
    ("GET", "/volumes/{name**}", volumes.inspect),
    ("PUT", "/volumes/{name*}", volumes.update),
    ("DELETE", "/volumes/{name**}", volumes.remove),
    ("GET", "/swarm", swarm.inspect),
    ("POST", "/swarm/init", swarm.init),
    ("POST", "/swarm/join", swarm.join),
    ("POST", "/swarm/leave", swarm.leave),
    ("POST", "/swarm/update", swarm.update),
    ("GET", "/swarm/unlockkey", swarm.unlock_key),
    ("POST", "/swarm/unlock", swarm.unlock),
    ("GET", "/nodes", nodes.list_),
    ("GET", "/nodes/{id}", nodes.inspect),
    ("POST", "/nodes/{id}/update", nodes.update),
    ("DELETE", "/nodes/{id}", nodes.remove),
    ("GET", "/services", services.list_),
    ("POST", "/services/create", services.create),
    ("GET", "/services/{id}", services.inspect),
    ("POST", "/services/{id}/update", services.update),
    ("GET", "/services/{id}/logs", services.logs),
    ("DELETE", "/services/{id}", services.remove),
    ("GET", "/tasks", tasks.list_),
    ("GET", "/tasks/{id}", tasks.inspect),
    ("GET", "/tasks/{id}/logs", tasks.logs),
    ("GET", "/secrets", dependencies.SECRETS.list_),
    ("POST", "/secrets/create", dependencies.SECRETS.create),
    ("GET", "/secrets/{id}", dependencies.SECRETS.inspect),
    ("DELETE", "/secrets/{id}", dependencies.SECRETS.remove),
    ("POST", "/secrets/{id}/update", dependencies.SECRETS.update),
    ("GET", "/configs", dependencies.CONFIGS.list_),
    ("POST", "/configs/create", dependencies.CONFIGS.create),
    ("GET", "/configs/{id}", dependencies.CONFIGS.inspect),
    ("DELETE", "/configs/{id}", dependencies.CONFIGS.remove),
    ("POST", "/configs/{id}/update", dependencies.CONFIGS.update),
    ("GET", "/festoon/why/{reference*}", extras.why),
    ("POST", "/festoon/plan", plan.preview),
    ("GET", "/festoon/watch", extras.watch),
    ("GET", "/festoon/raft/status", raft.status),
    ("GET", "/festoon/raft/log", raft.log),
    ("POST", "/festoon/raft/snapshot/save", raft_snapshots.save),
    ("POST", "/festoon/raft/snapshot/restore", raft_snapshots.restore),
    ("GET", "/festoon/network/path/{port}", extras.network_path),
    ("GET", "/festoon/network/path", extras.network_way),
    ("GET", "/festoon/network/diff", extras.network_diff),
    ("POST", "/festoon/network/repair", extras.network_repair),
    ("GET", "/festoon/network/capture/{reference*}", extras.network_capture),
)


@dataclass(frozen=True, slots=True)
class Route:
    pattern: re.Pattern[str]
    handler: Handler


Table = Mapping[tuple[str, str], tuple[Route, ...]]
"""(method, first segment) -> its routes in the table's order."""


def compile_routes(routes: tuple[tuple[str, str, Handler], ...] = ROUTES) -> Table:
    table: dict[tuple[str, str], tuple[Route, ...]] = {}
    for method, path, handler in routes:
        key = (method, path.split("/")[1])
        table[key] = (*table.get(key, ()), Route(re.compile(_expression(path)), handler))
    return table


_SEGMENTS: Final = {"": "[^/]+", "*": ".+", "**": ".*"}


def _expression(path: str) -> str:
    parts = re.split(r"\{(\w+)(\*{0,2})\}", path)
    out = re.escape(parts[0])
    for name, many, literal in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        out += f"(?P<{name}>{_SEGMENTS[many]})" + re.escape(literal)
    return out


def find(table: Table, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
    """The handler of an unversioned path and the names in it; None when there is none."""
    for route in table.get((method, path.split("/", 2)[1] if path.startswith("/") else ""), ()):
        if match := route.pattern.fullmatch(path):
            return route.handler, match.groupdict()
    return None
