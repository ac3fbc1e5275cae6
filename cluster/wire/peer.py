"""Opening connections to call over, from both sides. The door to calls and streams between processes of the swarm.

Owns how a connection comes about and how many there may be; what is said over it is cluster/wire/connection.py's.
"""

from __future__ import annotations

import logging
import resource
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio

from cluster.identity import subject
from cluster.model.errors import PermissionDenied, Unavailable
from cluster.wire import transport
from cluster.wire.connection import UNKNOWN_FRAME_BYTES, Admit, Caller, Handler, Items, Peer
from cluster.wire.keepalive import Keepalive
from cluster.wire.refusals import Refusals
from cluster.wire.silence import Silence
from cluster.wire.transport import ContextFor, split_address

__all__ = ["UNKNOWN_FRAME_BYTES", "Caller", "Handler", "Items", "Peer", "connect", "serve", "split_address"]

log = logging.getLogger("festoon.wire")
KEEPALIVE_INTERVAL_S: Final = 5.0
"""Silence after which a ping is sent; how many such intervals make a dead peer, cluster/wire/silence.py decides."""

PATIENCE: Final = 0.5
"""Of an interval: so much longer the side that serves waits before it pings too. Where the other side lives it does, and one of them is enough."""

MAX_CONNECTIONS: Final = 16384
"""Connections that one server holds open, as far as the process may have descriptors; a further one is closed at once."""

SPARE_DESCRIPTORS: Final = 256
"""Descriptors of a process that connections leave to everything else."""

MAX_HANDSHAKES_PER_ADDRESS: Final = 512
"""Connections from one address whose handshake is under way; a further one is closed at once, so that one who never finishes any
does not use up MAX_CONNECTIONS."""

UNKNOWN_LIFE_S: Final = 30.0
"""How long the connection of a peer without a valid certificate lives."""


@asynccontextmanager
async def connect(
    address: str,
    context: ssl.SSLContext,
    handlers: Mapping[str, Handler] | None = None,
    *,
    server_name: str | None = None,
    keepalive_s: float = KEEPALIVE_INTERVAL_S,
    dial_timeout_s: float = transport.CONNECT_TIMEOUT_S,
) -> AsyncIterator[Peer]:
    """An open connection to `host:port`; closed when the block is left. `server_name` is the name that the server's
    certificate must have when the context checks names (default: swarm-manager). Raises Unavailable when nobody
    answers in time, PermissionDenied when a certificate is refused. When the connection ends by itself the block
    goes on: see Peer.closed."""
    if context.check_hostname and server_name is None:
        server_name = subject.MANAGER_NAME
    stream = await transport.dial(address, context, server_name, timeout_s=dial_timeout_s)
    peer = Peer(stream, handlers or {}, Silence(keepalive_s, trio.current_time()))
    if not peer.address:  # the kernel does not tell it of a connection that is reset already
        peer.address, peer.port = split_address(address)
    keepalive = Keepalive(keepalive_s)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(peer.run)
            keepalive.add(peer)
            nursery.start_soon(keepalive.run)
            try:
                yield peer
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        _, raised = group.split(trio.Cancelled)  # where the block fails while somebody cancels all of this, both are in the group
        if raised is None or len(raised.exceptions) > 1:
            raise
        raise raised.exceptions[0] from raised.exceptions[0].__cause__  # the block's own, as if there were no nursery


async def serve(
    host: str,
    port: int,
    context_for: ContextFor,
    handlers: Mapping[str, Handler],
    *,
    admit: Admit | None = None,
    keepalive_s: float = KEEPALIVE_INTERVAL_S,
    max_connections: int = MAX_CONNECTIONS,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve calls on host:port until cancelled; reports the bound listeners. Raises OSError when the address can't
    be bound. Cancellation ends every connection and its handlers. A connection that breaks, or whose handshake
    fails, ends alone."""
    limiter = trio.CapacityLimiter(min(max_connections, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS)))
    keepalive = Keepalive(keepalive_s)
    shaking: Counter[str] = Counter()
    refusals = Refusals(log)

    async def accepted(connected: trio.SocketStream) -> None:
        try:
            limiter.acquire_nowait()
        except trio.WouldBlock:
            await connected.aclose()
            return
        try:
            await welcome(connected, transport.address_of(connected))
        finally:
            limiter.release()

    async def welcome(connected: trio.SocketStream, address: str) -> None:
        if shaking[address] >= MAX_HANDSHAKES_PER_ADDRESS:
            await connected.aclose()
            return
        shaking[address] += 1
        try:
            stream = await transport.accept(connected, context_for)
        except (Unavailable, PermissionDenied) as refused:
            refusals.note(address, refused.message, trio.current_time())
            return
        finally:
            shaking[address] -= 1
            if not shaking[address]:
                del shaking[address]
        peer = Peer(stream, handlers, Silence(keepalive_s, trio.current_time(), keepalive_s * PATIENCE), admit)
        keepalive.add(peer)
        try:
            with trio.move_on_after(float("inf") if peer.known else UNKNOWN_LIFE_S):
                await peer.run()
        except Exception:  # noqa: BLE001  the boundary: what a stranger sends must not end the process, whatever our bug is
            log.exception("a connection failed by a bug", extra={"fields": {"address": address}})
        if peer.broke:
            refusals.note(address, peer.broke, trio.current_time())

    listeners = await trio.open_tcp_listeners(port, host=host)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keepalive.run)
        await trio.serve_listeners(accepted, listeners, task_status=task_status)
