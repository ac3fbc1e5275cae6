"""Images between nodes: found on one, passed on to another whose live tasks name them. Over the sessions that agents opened; no port of its own.

Keeps nothing, neither a byte of an image nor who has which. What is passed on is verified by who takes it in (runtime/images/puller.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from random import Random
from typing import Final

import msgspec
import trio

from cluster.model.changes import Kind
from cluster.model.errors import ClusterError, NotFound, PermissionDenied, Unavailable
from cluster.model.ids import NodeId
from cluster.model.task_state import TaskState, is_wished
from cluster.wire.calls import FilePiece, FindImage, FoundImage, ReadImage
from cluster.wire.peer import Caller
from manager.dispatcher.sessions import Session
from manager.store import Store

ASKED_AT_ONCE: Final = 32
"""Nodes that are asked for an image at the same time."""

ANSWER_S: Final = 2.0
"""How long such a batch may take: who does not answer by then is passed over."""


class ImagePassing:
    """The handlers of `image.find` and `image.read`."""

    def __init__(self, store: Store, session_of: Callable[[NodeId], Session | None], rng: Random) -> None:
        self._store, self._session_of, self._rng = store, session_of, rng

    async def find(self, caller: Caller, request: FindImage) -> FoundImage:
        """The first node that has it. Raises PermissionDenied when no live task of the caller names it, NotFound."""
        self._check(caller, request.reference)
        asked = list(self._likely_first(caller.node_id, request.reference))
        for start in range(0, len(asked), ASKED_AT_ONCE):
            found = await self._first(asked[start : start + ASKED_AT_ONCE], request)
            if found is not None:
                return found
        raise NotFound(f"no node has the image {request.reference}")

    async def read(self, caller: Caller, request: ReadImage) -> AsyncGenerator[FilePiece, None]:
        """A part of it, from the node that `find` named. Raises PermissionDenied as `find`, Unavailable, NotFound."""
        self._check(caller, request.reference)
        session = self._session_of(NodeId(request.node_id))
        if session is None:
            raise Unavailable(f"node {request.node_id} is not available")
        async with session.peer.stream("node.image_read", request) as pieces:
            async for piece in pieces:
                yield piece

    def _check(self, caller: Caller, reference: str) -> None:
        tasks = self._store.tasks_of_node(caller.node_id)
        if not any(t.spec.container.image == reference and is_wished(t.desired_state) and t.status.state <= TaskState.RUNNING for t in tasks):
            raise PermissionDenied(f"no task of node {caller.node_id} is to run the image {reference}")

    def _likely_first(self, asker: str, reference: str) -> Iterator[Session]:
        """Those that run the same services already, then everybody, in an order that is another one each time."""
        services = {t.service_id for t in self._store.tasks_of_node(asker) if t.spec.container.image == reference and t.service_id}
        having = {t.node_id for s in services for t in self._store.tasks_of_service(s) if TaskState.STARTING <= t.status.state <= TaskState.RUNNING}
        nodes = [node.id for node in self._store.all(Kind.NODE)]
        self._rng.shuffle(nodes)
        for node_id in sorted(nodes, key=lambda node_id: node_id not in having):
            session = self._session_of(node_id)
            if session is not None and node_id != asker:
                yield session

    async def _first(self, sessions: list[Session], request: FindImage) -> FoundImage | None:
        found: list[FoundImage] = []
        with trio.move_on_after(ANSWER_S):
            async with trio.open_nursery() as nursery:

                async def ask(session: Session) -> None:
                    try:
                        answer = await session.peer.call("node.image_find", request)
                    except ClusterError:
                        return  # it has it not, or has just gone
                    assert isinstance(answer, FoundImage)
                    found.append(msgspec.structs.replace(answer, node_id=session.node_id))
                    nursery.cancel_scope.cancel()

                for session in sessions:
                    nursery.start_soon(ask, session)
        return found[0] if found else None
