"""The resolver in every sandbox: 127.0.0.11, datagrams and streams, answered by this process from sockets that stand in the sandbox's namespace.

The sockets are bound to ODD_PORT, so that a container may have port 53 for itself; rules of the sandbox (firewall/resolver.py) lead 127.0.0.11:53 there
and back. They may be handed in (kept by someone while this process was away, with the questions that came meanwhile in their buffers) and are handed
out to be kept. Never decides what an answer is: netfabric/dns/zone.py does. A container can make it work only within bounds: so many streams, so many
forwarded questions at once, a message of a bounded size.
"""

from __future__ import annotations

import logging
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from netfabric.dns import message, zone
from netfabric.dns.message import Query, Rcode
from netfabric.dns.upstream import Forwarder, Servers, read_exactly
from netfabric.dns.zone import Asker, Forward
from netfabric.firewall.resolver import ADDRESS, ODD_PORT
from netfabric.netlink import netns

log = logging.getLogger("netfabric.dns")

BATCH: Final = 32
"""Datagrams of one sandbox that are answered before the others have their turn."""
FORWARDED_MAX: Final = 128
"""Questions of one sandbox that are asked elsewhere at once; one more fails."""
STREAMS_MAX: Final = 32
"""Streams that one sandbox holds open; a further one is closed at once."""
STREAM_IDLE_S: Final = 10.0
LISTEN_BACKLOG: Final = 64


@dataclass(frozen=True, slots=True)
class Client:
    """One sandbox: what it may ask, and whom for the rest (None: nobody, its networks lead nowhere)."""

    asker: Asker
    servers: Callable[[], Servers] | None = None


@dataclass(slots=True)
class _Served:
    client: Client
    datagrams: socket.socket
    streams: socket.socket
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    begun: bool = False
    forwarded: int = 0
    connected: int = 0

    def close(self) -> None:
        self.datagrams.close()
        self.streams.close()


class NameServer:
    """Made once per node. `run` must be running for answers to come."""

    def __init__(self) -> None:
        self._served: dict[str, _Served] = {}
        self._forwarder = Forwarder()
        self._random = random.Random()  # noqa: S311  it orders addresses
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answers until cancelled. The sockets then close here; whoever was given duplicates keeps them open."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for served in self._served.values():
                    self._begin(served)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            self._served.clear()

    def open(self, name: str, namespace: str, client: Client, kept: tuple[int, int] | None = None) -> tuple[int, int]:
        """Serves a sandbox that is not served yet, whose namespace is bound to the path, on `kept` (datagrams, streams: descriptors that become ours)
        or on new sockets. Returns their descriptors, which stay ours. Raises OSError."""
        assert name not in self._served
        datagrams, streams = _adopt(kept) if kept is not None else _make(namespace)
        served = self._served[name] = _Served(client, datagrams, streams)
        if self._nursery is not None:
            self._begin(served)
        return datagrams.fileno(), streams.fileno()

    def change(self, name: str, client: Client) -> bool:
        """Another view for a sandbox that is served. False when it is not."""
        if name not in self._served:
            return False
        self._served[name].client = client
        return True

    def close(self, name: str) -> None:
        """Its sockets close as soon as nothing waits on them. One that is not served is no error."""
        served = self._served.pop(name, None)
        if served is not None:
            served.scope.cancel()
            if not served.begun:
                served.close()

    def _begin(self, served: _Served) -> None:
        assert self._nursery is not None
        served.begun = True
        self._nursery.start_soon(self._serve, served)

    async def _serve(self, served: _Served) -> None:
        try:
            with served.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read_datagrams, served, nursery)
                    nursery.start_soon(self._accept, served, nursery)
        finally:
            served.close()

    # -- datagrams ----------------------------------------------------------------------------------------------------

    async def _read_datagrams(self, served: _Served, nursery: trio.Nursery) -> None:
        """The newest of a batch is answered first, as Docker mostly does: whoever asked before has waited longest and may have given up."""
        sock = served.datagrams
        while True:
            await trio.lowlevel.wait_readable(sock)
            await trio.lowlevel.checkpoint()  # who asks for both families sends the second question right after the first: they are one batch
            batch: list[tuple[bytes, tuple[str, int]]] = []
            while len(batch) < BATCH:
                try:
                    batch.append(sock.recvfrom(message.QUERY_MAX_BYTES + 1))
                except BlockingIOError:
                    break
                except OSError as error:  # the kernel tells of an asker that has gone
                    log.debug("a question could not be read: %s", error)
            for data, sender in reversed(batch):
                self._take(served, nursery, data, sender)
            await trio.lowlevel.checkpoint()

    def _take(self, served: _Served, nursery: trio.Nursery, data: bytes, sender: tuple[str, int]) -> None:
        query = message.parse_query(data)
        if not isinstance(query, Query):
            if query is not None:
                _send(served, message.refuse(query), sender)
            return
        answer = self._own(served, query, query.limit)
        if answer is not None:
            _send(served, answer, sender)
        elif served.client.servers is None or served.forwarded >= FORWARDED_MAX:
            _send(served, message.respond(query, Rcode.SERVFAIL), sender)
        else:
            served.forwarded += 1
            nursery.start_soon(self._forward_datagram, served, query, data, sender)

    async def _forward_datagram(self, served: _Served, query: Query, data: bytes, sender: tuple[str, int]) -> None:
        try:
            answer = await self._forward(served, query, data, by_stream=False)
            _send(served, answer if len(answer) <= query.limit else message.cut_short(answer, query.question), sender)
        finally:
            served.forwarded -= 1

    # -- streams ------------------------------------------------------------------------------------------------------

    async def _accept(self, served: _Served, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(served.streams)
            try:
                sock, _ = served.streams.accept()
            except OSError as error:  # it has gone again, or no descriptor is left
                log.debug("a stream could not be accepted: %s", error)
                await trio.lowlevel.checkpoint()
                continue
            if served.connected >= STREAMS_MAX:
                sock.close()
                continue
            sock.setblocking(False)
            served.connected += 1
            nursery.start_soon(self._converse, served, trio.SocketStream(trio.socket.from_stdlib_socket(sock)))

    async def _converse(self, served: _Served, stream: trio.SocketStream) -> None:
        """One question after the other, until the asker closes or is silent for STREAM_IDLE_S."""
        try:
            async with stream:
                while True:
                    with trio.move_on_after(STREAM_IDLE_S) as patience:
                        head = await read_exactly(stream, 2)
                        data = await read_exactly(stream, int.from_bytes(head, "big")) if head else b""
                    if patience.cancelled_caught or not data or (answer := await self._answer_stream(served, data)) is None:
                        return
                    with trio.move_on_after(STREAM_IDLE_S) as patience:
                        await stream.send_all(struct.pack("!H", len(answer)) + answer)
                    if patience.cancelled_caught:
                        return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the asker has gone
        finally:
            served.connected -= 1

    async def _answer_stream(self, served: _Served, data: bytes) -> bytes | None:
        query = message.parse_query(data)
        if not isinstance(query, Query):
            return message.refuse(query) if query is not None else None
        answer = self._own(served, query, message.MESSAGE_MAX_BYTES)
        if answer is None:
            answer = await self._forward(served, query, data, by_stream=True)
        return answer

    # -- answers ------------------------------------------------------------------------------------------------------

    def _own(self, served: _Served, query: Query, limit: int) -> bytes | None:
        """None: not ours to answer."""
        if query.edns_version:
            return message.respond(query, Rcode.BADVERS)
        found = zone.answer(served.client.asker, query, self._random)
        if isinstance(found, Forward):
            return None
        return message.respond(query, found.rcode, found.records, found.additional, ttl=zone.TTL_S, limit=limit)

    async def _forward(self, served: _Served, query: Query, data: bytes, *, by_stream: bool) -> bytes:
        servers = served.client.servers
        answer = await self._forwarder.ask(servers(), query, data, by_stream=by_stream) if servers is not None else None
        return answer if answer is not None else message.respond(query, Rcode.SERVFAIL)


def _send(served: _Served, answer: bytes, sender: tuple[str, int]) -> None:
    try:
        served.datagrams.sendto(answer, sender)
    except OSError as error:  # nobody waits for it any more, or its buffer is full: as if it were lost on the way
        log.debug("an answer could not be sent: %s", error)


def _make(namespace: str) -> tuple[socket.socket, socket.socket]:
    """New sockets in the namespace. Raises OSError, also when the container itself has the port."""
    made: list[socket.socket] = []
    try:
        with netns.visiting(namespace):
            made += [socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
        made[1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for datagrams it would let any process of the container take the questions
        for sock in made:
            sock.bind((ADDRESS, ODD_PORT))
        made[1].listen(LISTEN_BACKLOG)
    except OSError:
        for sock in made:
            sock.close()
        raise
    return made[0], made[1]


def _adopt(kept: tuple[int, int]) -> tuple[socket.socket, socket.socket]:
    datagrams, streams = (socket.socket(fileno=descriptor) for descriptor in kept)
    for sock in (datagrams, streams):
        sock.setblocking(False)
    return datagrams, streams
