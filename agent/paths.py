"""Who can follow a packet: this node alone where both ends are here, else the managers, who ask all the nodes that it may touch.

Owns that choice only; agent/tracing.py watches and sends, manager/ways.py knows where services and tasks are.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING

from agent.tracing import new_key
from cluster.model.errors import ClusterError, InvalidArgument
from cluster.model.ids import ID_RANDOM_BYTES, make_id
from cluster.wire.calls import Trace, TraceAnswer, TraceSend

if TYPE_CHECKING:
    from agent.node import Node
    from agent.records import Record


async def between(node: Node, source: str, target: str) -> TraceAnswer:
    """Raises NotFound, InvalidArgument, or what keeps this node from asking the managers."""
    if not source or not target:
        raise InvalidArgument("a path has two ends")
    here = _running(node, source)
    address = _address(node, here, target) if here is not None else ""
    if here is None or not address:
        answer = await node.swarm.call("control.trace", Trace(source, target))
        assert isinstance(answer, TraceAnswer)
        return answer
    request = TraceSend(_identifier(), here.id, address, 0, new_key())
    return await node.tracing.here(f"{here.name} to {target}" + ("" if target == address else f" ({address})"), request)


async def to_port(node: Node, port: int) -> TraceAnswer:
    """A connection from this node to a TCP port of the mesh; on a worker its hops on this node only."""
    if node.swarm.is_manager:
        answer = await node.swarm.call("control.trace", Trace(port=port, node_id=node.swarm.node_id))
        assert isinstance(answer, TraceAnswer)
        return answer
    targets = tuple(p.target for o in node.networks.desired().overlays for b in o.balancers for p in b.ports if (p.protocol, p.published) == ("tcp", port))
    if not targets:
        raise InvalidArgument("only a TCP port can be tried by itself")
    request = TraceSend(_identifier(), "", node.networks.vtep, port)
    answer = await node.tracing.here(f"port {port}", request, (port, *targets))
    return TraceAnswer(answer.title, answer.outcome, answer.hops, ("the other nodes: only a manager can ask them",))


async def to_forwarded(node: Node, port: int) -> TraceAnswer | None:
    """A connection from this node to a TCP port that is forwarded to a container of its own; None when it is not."""
    found = next((p for p in node.networks.desired().host_ports if (p.protocol, p.published) == ("tcp", port)), None)
    if found is None:
        return None
    address = found.host_address if found.host_address not in ("", "::") else node.networks.vtep
    return await node.tracing.here(f"port {port}", TraceSend(_identifier(), "", address, port), (port, found.target))


def _identifier() -> str:
    return make_id(os.urandom(ID_RANDOM_BYTES))


def _running(node: Node, reference: str) -> Record | None:
    """A container or task of this node, by its name or id."""
    found = next((r for r in node.containers.records() if r.task_id and reference in (r.name.rpartition(".")[0], r.task_id)), None)
    try:
        record = found or node.containers.find(reference)
    except ClusterError:
        return None
    return record if node.containers.is_running(record) and any(a.interface for a in record.attachments) else None


def _address(node: Node, source: Record, target: str) -> str:
    """Where the target is reached from the source without anybody else's help; empty when that is not known here."""
    try:
        wanted = str(ipaddress.ip_address(target))
    except ValueError:
        wanted = ""
    if wanted:
        local = not any(ipaddress.ip_address(wanted) in ipaddress.ip_network(s) for o in node.networks.desired().overlays for s in o.subnets)
        return wanted if local or not node.swarm.is_manager else ""
    other = _running(node, target)
    own = {a.network_id for a in source.attachments if not a.hidden}
    addresses = (a.address.partition("/")[0] for a in (other.attachments if other is not None else ()) if a.network_id in own and a.address)
    return next(addresses, "")
