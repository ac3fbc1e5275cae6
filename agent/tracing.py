"""This node's part in following one real packet: watch for it, send it, tell where it has been. Asked by a manager over the session, or by this node itself.

Owns the watchers of the traces under way; they end with their trace, or when it is too old. What is seen and sent is netfabric/probe's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import trio

from cluster.model.errors import Conflict, Internal, NotFound
from cluster.wire.calls import Nothing, TraceAnswer, TraceFinish, TraceHop, TraceHops, TraceSend, TraceSent, TraceStart
from cluster.wire.peer import Caller, Handler
from netfabric.anatomy.balancer import balancer_sandbox
from netfabric.anatomy.overlay import overlay_namespace
from netfabric.probe.send import connect, echo
from netfabric.probe.watcher import Probe, SeenHop, Watcher
from netfabric.state import NODE
from netfabric.view import INGRESS_SANDBOX

if TYPE_CHECKING:
    from agent.networks import Networks
    from agent.records import Record
    from netfabric.apply import Fabric

TRACES_MAX: Final = 8  # at one time
AGE_MAX_S: Final = 30.0
LOOPBACK: Final = "127.0.0.1"


class Tracing:
    """State: a watcher per trace, with the time of its making."""

    def __init__(self, fabric: Fabric, networks: Networks, hostname: str, records: Callable[[], tuple[Record, ...]]) -> None:
        self._fabric, self._networks, self._hostname, self._records = fabric, networks, hostname, records
        self._under_way: dict[str, tuple[float, Watcher]] = {}

    def handlers(self) -> Mapping[str, Handler]:
        return {"node.trace_start": self._start, "node.trace_send": self._send, "node.trace_finish": self._finish}

    async def here(self, title: str, request: TraceSend, ports: tuple[int, ...] = ()) -> TraceAnswer:
        """A whole trace on this node alone. Raises Internal, Conflict."""
        self._begin(TraceStart(request.id, request.key, ports))
        try:
            sent = await self._sent(request)
            hops = await self._hops(request.id, sent.key)
        finally:
            self._end(request.id)
        obstacles = self._networks.obstacles() if sent.problem else ()
        return TraceAnswer(title, sent.problem or f"answered after {sent.microseconds / 1000:.1f} ms", hops, obstacles=obstacles)

    async def _start(self, _caller: Caller, request: TraceStart) -> Nothing:
        self._begin(request)
        return Nothing()

    async def _send(self, _caller: Caller, request: TraceSend) -> TraceSent:
        return await self._sent(request)

    async def _finish(self, _caller: Caller, request: TraceFinish) -> TraceHops:
        try:
            return TraceHops(await self._hops(request.id, request.key), self._networks.obstacles() if request.lost else ())
        finally:
            self._end(request.id)

    def _begin(self, request: TraceStart) -> None:
        now = trio.current_time()
        for old in [i for i, (began, _) in self._under_way.items() if now - began > AGE_MAX_S]:
            self._end(old)
        if len(self._under_way) >= TRACES_MAX:
            raise Conflict(f"{TRACES_MAX} packets are being followed on this node already")
        try:
            watcher = self._fabric.watcher(Probe(request.key, request.ports), self._networks.assigned.vxlan_port)
        except OSError as error:
            raise Internal(f"packets can't be watched: {error}") from error
        self._under_way[request.id] = (now, watcher)

    async def _sent(self, request: TraceSend) -> TraceSent:
        watcher = self._watcher(request.id)
        namespace = request.container_id[:12] or NODE
        try:
            descriptor = watcher.descriptor(namespace)
            if request.port:
                connected = await connect(descriptor, request.address or LOOPBACK, request.port)
                return TraceSent(watcher.key_of(namespace, connected.port), connected.microseconds, connected.problem)
            echoed = await echo(descriptor, request.address, request.key)
            if echoed.problem and (why := self._networks.unreachable(request.address)):
                return TraceSent(request.key, 0, f"{echoed.problem}: {why}")
        except OSError as error:
            return TraceSent(request.key, 0, f"it can't be sent: {error.strerror or error}")
        return TraceSent(request.key, echoed.microseconds, echoed.problem)

    async def _hops(self, identifier: str, key: int) -> tuple[TraceHop, ...]:
        try:
            seen = await self._watcher(identifier).hops(key, self._fabric.ipvs_family)
        except OSError as error:
            raise Internal(f"the kernel can't be asked: {error}") from error
        names = self._names()
        return tuple(self._told(hop, names) for hop in seen)

    def _told(self, hop: SeenHop, names: Mapping[str, str]) -> TraceHop:
        where = f"{self._hostname} {hop.namespace}".rstrip()
        return TraceHop(hop.time_ns, where, names.get(hop.namespace, "namespace"), hop.details)

    def _names(self) -> dict[str, str]:
        """What the namespaces are, in words."""
        names = {NODE: "node", INGRESS_SANDBOX: "balancer of the ingress network"}
        for overlay in self._networks.desired().overlays:
            names[overlay_namespace(overlay.id)] = f"overlay {overlay.name}"
            names.setdefault(balancer_sandbox(overlay), f"balancer of overlay {overlay.name}")
        return names | {record.id[:12]: f"container {record.name}" for record in self._records()}

    def _watcher(self, identifier: str) -> Watcher:
        if identifier not in self._under_way:
            raise NotFound("no such trace: it has ended, or was never begun")
        return self._under_way[identifier][1]

    def _end(self, identifier: str) -> None:
        found = self._under_way.pop(identifier, None)
        if found is not None:
            found[1].close()


def new_key() -> int:
    """By which an echo request is known."""
    return int.from_bytes(os.urandom(8), "big") >> 1 | 1
