"""Captures for a node that has not what is to be captured: passed on from the agent of the node that has.

Asks the agent over the session that it opened; keeps nothing. Which node that is, is manager/ways.py's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import msgspec

from cluster.model.errors import Unavailable
from cluster.model.ids import NodeId
from cluster.wire.calls import Capture, CapturePiece
from cluster.wire.peer import Caller, Handler
from manager import ways
from manager.dispatcher.sessions import Session
from manager.store import Store


def pass_captures_on(store: Store, session_of: Callable[[NodeId], Session | None]) -> Handler:
    """The handler of `control.capture`. Raises NotFound for what is nowhere, Unavailable when its node can't be asked."""

    async def handler(_caller: Caller, request: Capture) -> AsyncGenerator[CapturePiece, None]:
        node_id, there = ways.holder(store, request.reference)
        session = session_of(node_id)
        if session is None:
            raise Unavailable(f"node {node_id} is not available")
        async with session.peer.stream("node.capture", msgspec.structs.replace(request, reference=there)) as pieces:
            async for piece in pieces:
                yield piece

    return handler
