"""Connections to an IPv6 port of the node, carried to a container that has only an IPv4 address, and from ::1 to any.

No rule of the kernel translates between the families, and what comes from ::1 never leaves by another interface, so
this process copies: the part of Docker's userland proxy that is still needed. Owns the sockets of one held port and
its open connections, which are bounded; ends with its port and never outlives the process. SCTP is not carried: its
port is held only. Source: moby's cmd/docker-proxy.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from netfabric.netlink import netns
from netfabric.state import HeldPort

CONNECTIONS_PER_PORT = 1024
"""Connections (TCP) and senders (UDP) carried at a time for one port; further ones wait in the kernel, or are lost (UDP)."""
CHUNK_BYTES = 64 * 1024
UDP_IDLE_S = 90.0
"""A sender that is silent for so long is forgotten, as by docker-proxy."""
_LATER = frozenset({errno.ECONNABORTED, errno.EPERM, errno.EPROTO})
"""accept(2): what only this one connection suffers from."""

log = logging.getLogger("netfabric")
Target = tuple[str, int]


class Relay:
    """Serves a held port until it is closed. `namespace`: descriptor of the node's network namespace, the caller's."""

    def __init__(self, port: HeldPort, held: socket.socket, namespace: int) -> None:
        assert port.target is not None
        self._protocol, self._target, self._namespace = port.protocol, port.target, namespace
        self._held = trio.socket.from_stdlib_socket(held)
        self._scope = trio.CancelScope()

    def close(self) -> None:
        self._scope.cancel()
        self._held.close()

    async def run(self) -> None:
        """Ends when it is closed, or with a line in the log when the socket is beyond use; the port stays held then."""
        serve = {"tcp": self._streams, "udp": self._datagrams}.get(self._protocol)
        if serve is not None:
            with self._scope:
                try:
                    await serve()
                except* OSError as errors:
                    log.warning("a relayed port serves no more: %s", errors.exceptions[0])

    def _outward(self, kind: int) -> trio.socket.SocketType:
        with netns.in_namespace(self._namespace):
            return trio.socket.socket(socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET, kind)

    async def _streams(self) -> None:
        room = trio.CapacityLimiter(CONNECTIONS_PER_PORT)
        async with trio.open_nursery() as nursery:
            while True:
                token = object()
                await room.acquire_on_behalf_of(token)
                try:
                    client, _ = await self._held.accept()
                except OSError as error:
                    room.release_on_behalf_of(token)
                    if error.errno not in _LATER:
                        raise
                    continue
                nursery.start_soon(self._stream, client, partial(room.release_on_behalf_of, token))

    async def _stream(self, client: trio.socket.SocketType, done: Callable[[], None]) -> None:
        try:
            with client, self._outward(socket.SOCK_STREAM) as server:
                try:
                    await server.connect(self._target)
                except OSError:
                    return  # as if nothing listened: the client sees its connection end
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_copy, client, server)
                    nursery.start_soon(_copy, server, client)
        finally:
            done()

    async def _datagrams(self) -> None:
        senders: dict[tuple[object, ...], tuple[trio.socket.SocketType, trio.CancelScope]] = {}

        async def answers(sender: tuple[object, ...], server: trio.socket.SocketType, idle: trio.CancelScope) -> None:
            with server, idle:
                while True:
                    try:
                        answer = await server.recv(CHUNK_BYTES)
                        await self._held.sendto(answer, sender)
                    except ConnectionRefusedError:
                        break
                    idle.deadline = trio.current_time() + UDP_IDLE_S
            senders.pop(sender, None)

        async with trio.open_nursery() as nursery:
            while True:
                packet, sender = await self._held.recvfrom(CHUNK_BYTES)
                if sender not in senders:
                    if len(senders) >= CONNECTIONS_PER_PORT:
                        continue
                    server = self._outward(socket.SOCK_DGRAM)
                    await server.connect(self._target)
                    senders[sender] = (server, trio.CancelScope())
                    nursery.start_soon(answers, sender, *senders[sender])
                server, idle = senders[sender]
                idle.deadline = trio.current_time() + UDP_IDLE_S
                await _tolerant(server.send, packet)


async def _tolerant(send: Callable[[bytes], Awaitable[int]], packet: bytes) -> None:
    try:
        await send(packet)
    except OSError:
        return  # nobody listens now: a datagram may be lost


async def _copy(source: trio.socket.SocketType, to: trio.socket.SocketType) -> None:
    """One direction, with its end; a broken connection ends quietly."""
    try:
        while chunk := await source.recv(CHUNK_BYTES):
            view = memoryview(chunk)
            while view:
                view = view[await to.send(view) :]
        to.shutdown(socket.SHUT_WR)
    except OSError:
        _hang_up(source)
        _hang_up(to)


def _hang_up(one: trio.socket.SocketType) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # its peer has gone already
