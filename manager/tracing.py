"""One real packet followed across nodes: every node that it may touch is told to watch, one of them sends it, then each says where it has been.

Asks the agents over the sessions that they opened; keeps nothing. Which nodes, and what is sent, is manager/ways.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

import trio

from cluster.model.changes import Kind
from cluster.model.errors import ClusterError
from cluster.model.ids import ID_RANDOM_BYTES, NodeId, make_id
from cluster.wire.calls import Trace, TraceAnswer, TraceFinish, TraceHop, TraceHops, TraceSend, TraceSent, TraceStart
from cluster.wire.peer import Caller
from manager import ways
from manager.dispatcher.sessions import Session
from manager.store import Store

KEY_BITS: Final = 63
NODES_MAX: Final = 64  # that are asked to watch one packet


class TraceBroker:
    """No state of its own."""

    def __init__(self, store: Store, session_of: Callable[[NodeId], Session | None], rng: Random) -> None:
        self._store, self._session_of, self._rng = store, session_of, rng

    async def trace(self, caller: Caller, request: Trace) -> TraceAnswer:
        """control.trace. Raises NotFound or InvalidArgument for what can't be traced; a node that can't be asked is named in the answer."""
        if request.port:
            way = ways.to_port(self._store, request.port, NodeId(request.node_id or caller.node_id))
        else:
            way = ways.between(self._store, request.source, request.target)
        identifier, key = make_id(self._rng.randbytes(ID_RANDOM_BYTES)), self._rng.getrandbits(KEY_BITS) | 1
        missing: dict[NodeId, str] = dict.fromkeys(way.nodes[NODES_MAX:], "not asked: too many nodes")
        watching: list[NodeId] = []

        async def start(node_id: NodeId) -> None:
            if await self._ask(node_id, "node.trace_start", TraceStart(identifier, key, way.ports), missing) is not None:
                watching.append(node_id)

        async with trio.open_nursery() as nursery:
            for node_id in way.nodes[:NODES_MAX]:
                nursery.start_soon(start, node_id)
        send = TraceSend(identifier, way.container_id, way.address, way.ports[0] if way.ports else 0, key)
        sent = await self._ask(way.node_id, "node.trace_send", send, missing)
        outcome, seen_key = _outcome(sent) if isinstance(sent, TraceSent) else (missing.get(way.node_id, ""), key)
        lost = not isinstance(sent, TraceSent) or bool(sent.problem)
        hops: dict[NodeId, tuple[TraceHop, ...]] = {}
        obstacles: list[str] = []

        async def finish(node_id: NodeId) -> None:
            answer = await self._ask(node_id, "node.trace_finish", TraceFinish(identifier, seen_key, lost), missing)
            if isinstance(answer, TraceHops):
                hops[node_id] = answer.hops
                obstacles.extend(f"{self._name(node_id)}: {sentence}" for sentence in answer.obstacles)

        async with trio.open_nursery() as nursery:
            for node_id in watching:
                nursery.start_soon(finish, node_id)
        order = sorted((n for n in hops if hops[n]), key=lambda n: (n != way.node_id, hops[n][0].time_ns))
        not_asked = tuple(f"{self._name(n)}: {why}" for n, why in missing.items())
        return TraceAnswer(way.title, outcome, tuple(h for n in order for h in hops[n]), not_asked, tuple(sorted(obstacles)))

    async def _ask(self, node_id: NodeId, call: str, request: object, missing: dict[NodeId, str]) -> object | None:
        session = self._session_of(node_id)
        if session is None:
            missing[node_id] = "the node is not available"
            return None
        try:
            answer: object = await session.peer.call(call, request)
        except ClusterError as error:
            missing[node_id] = error.message
            return None
        return answer

    def _name(self, node_id: NodeId) -> str:
        node = self._store.get(Kind.NODE, node_id)
        return node.description.hostname if node is not None else node_id


def _outcome(sent: TraceSent) -> tuple[str, int]:
    return sent.problem or f"answered after {sent.microseconds / 1000:.1f} ms", sent.key
