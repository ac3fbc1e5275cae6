"""`/festoon/…`: what Docker's API has no word for: why a task is where it is, every commit as it happens, the way of a packet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from agent import captures, paths
from agent.engine.answers import json_answer, json_line, stream_answer
from agent.engine.call import Call
from agent.engine.convert import Json, time_text
from agent.engine.convert_dependencies import dependency_json
from agent.engine.convert_networks import network_json
from agent.engine.convert_nodes import node_json
from agent.engine.convert_services import service_json
from agent.engine.convert_swarm import cluster_info_json
from agent.engine.convert_tasks import task_json
from cluster.model.changes import KIND_TYPES, Kind, Object, Op
from cluster.model.decimals import is_natural
from cluster.model.errors import ClusterError, Internal, InvalidArgument, NotFound, NotLeader
from cluster.model.objects import Cluster, Config, Network, Node, Secret, Service
from cluster.wire.calls import Capture, TraceAnswer, Watched, WatchKinds, Why, WhyAnswer, WhyTask
from cluster.wire.codec import decode
from cluster.wire.http import Response
from netfabric.diff import described
from netfabric.errors import FabricError
from netfabric.trace import Hop

KINDS: Final = {kind.name.lower(): kind for kind in Kind}
MAX_PORT: Final = 65535


async def why(call: Call) -> Response:
    answer = await call.node.swarm.call("control.why", Why(call.names["reference"]))
    assert isinstance(answer, WhyAnswer)
    tasks = [_why_task_json(task) for task in answer.tasks]
    return json_answer({"kind": answer.kind, "name": answer.name, "id": answer.id, "tasks": tasks})


def _why_task_json(task: WhyTask) -> Json:
    return {
        "id": task.id,
        "name": task.name,
        "state": task.state,
        "desired": task.desired,
        "node": task.node,
        "summary": task.summary,
        "nodes": [{"hostname": hostname, "verdict": verdict} for hostname, verdict in task.nodes],
        "story": [{"time": time_text(time_ns), "sentence": sentence} for time_ns, sentence in task.story],
    }


async def watch(call: Call) -> Response:
    """One line a commit, from now on or after the version `since`: {"version", "changes": [{"op", "kind", "id", "object"}]}, the first one without changes.
    When another manager leads the stream goes on. Where what came after a version is not known any more (`since`, too), such a line without changes has a later
    one: what was committed between is to be read. A stream that fails ends with {"message"}."""
    names = [name for name in call.text("kinds").split(",") if name] or list(KINDS)
    for name in names:
        if name not in KINDS:
            raise InvalidArgument(f"unknown kind '{name}': one of {', '.join(KINDS)}")
    kinds, since = tuple(KINDS[name] for name in names), call.integer("since", 0)
    if not call.node.swarm.is_manager:
        await call.node.swarm.call("control.watch", WatchKinds(kinds))  # raises Docker's sentence for this node before any header goes out

    async def lines() -> AsyncIterator[bytes]:
        told, begun = since, False
        while True:
            try:
                async with call.node.swarm.stream("control.watch", WatchKinds(kinds, told)) as commits:
                    async for commit in commits:
                        goes_on = begun and not commit.changes and commit.version == told
                        begun, told = True, commit.version
                        if not goes_on:
                            yield json_line(watched_json(commit))
            except NotLeader:
                continue
            except ClusterError as error:
                yield json_line({"message": error.message})
            return

    return stream_answer(lines())


def watched_json(commit: Watched) -> Json:
    """Pure."""
    changes = []
    for op, number, identifier, encoded in commit.changes:
        kind = Kind(number)
        shown = object_json(decode(encoded, KIND_TYPES[kind])) if encoded else None
        changes.append({"op": Op(op).name.lower(), "kind": kind.name.lower(), "id": identifier, "object": shown})
    return {"version": commit.version, "changes": changes}


def object_json(value: Object) -> Json:
    """Any object of the cluster as its own API path shows it; a task's networks by id only."""
    if isinstance(value, Cluster):
        return cluster_info_json(value)
    if isinstance(value, Node):
        return node_json(value, {})
    if isinstance(value, Service):
        return service_json(value)
    if isinstance(value, Network):
        return network_json(value)
    if isinstance(value, (Secret, Config)):
        return dependency_json(value)
    return task_json(value, {})


async def network_path(call: Call) -> Response:
    port = call.names["port"]
    if not (is_natural(port) and 0 < int(port) <= MAX_PORT):
        raise InvalidArgument(f"invalid port {port}")
    hops = await call.node.fabric_path(int(port))
    try:
        packet = await (paths.to_port if hops else paths.to_forwarded)(call.node, int(port))
    except ClusterError as error:
        packet = TraceAnswer(f"port {port}", error.message)
    if packet is None:
        raise NotFound(f"no service publishes port {port} through the mesh on this node, and no container publishes it here")
    # the node's own connection passes no FORWARD chain: what drops other people's there is found by looking at the rules
    warnings = [] if packet.obstacles else list(call.node.networks.obstacles())
    return json_answer({"hops": [hop_json(hop, call.node.hostname) for hop in hops], "packet": trace_json(packet), "warnings": warnings})


async def network_way(call: Call) -> Response:
    """The way of one real packet between containers, tasks and services, or to an address."""
    return json_answer(trace_json(await paths.between(call.node, call.text("source"), call.text("target"))))


def trace_json(answer: TraceAnswer) -> Json:
    hops = [{"where": hop.where, "what": hop.what, "detail": "\n".join(hop.details), "packets": None} for hop in answer.hops]
    return {"title": answer.title, "outcome": answer.outcome, "hops": hops, "missing": list(answer.missing), "obstacles": list(answer.obstacles)}


async def network_diff(call: Call) -> Response:
    """What would be done to make this node's networks as they should be: [{"where", "what"}]."""
    operations = await call.node.fabric_difference()
    return json_answer({"deviations": [{"where": o.namespace or call.node.hostname, "what": described(o)} for o in operations]})


async def network_repair(call: Call) -> Response:
    try:
        await call.node.fabric.repair()
    except FabricError as error:
        raise Internal(str(error)) from error
    return Response(204)


async def network_capture(call: Call) -> Response:
    """Packets as a pcap file, until a limit is reached or the reader goes."""
    request = Capture(call.names["reference"], call.integer("count", 0), call.integer("duration_ms", 0), call.integer("snaplen", 0))
    return Response(200, (("Content-Type", "application/vnd.tcpdump.pcap"),), stream=await captures.pieces(call.node, request))


def hop_json(hop: Hop, hostname: str) -> Json:
    """`detail` has the kernel's own words, one a line; `packets` is null where nothing counts."""
    return {"where": hop.namespace or hostname, "what": hop.what, "detail": "\n".join(hop.details), "packets": hop.packets}
