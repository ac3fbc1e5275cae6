"""Questions that are not ours, asked of the resolvers that a container was given, or of the node's.

Each try has a socket and a number of its own (the kernel's random port, a random number), so that a forged answer has to guess both. A resolver that is
silent, refuses or fails is followed by the next; two rounds, then the asker is told of a failure. The same question asked by several at once goes out
once. Never decides what is asked elsewhere. Sources: resolver(5), RFC 5452 (forgery), RFC 7766 (TCP).
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from netfabric.dns import message
from netfabric.dns.cache import Cache
from netfabric.dns.message import Query, Rcode
from netfabric.netlink import netns

DOMAIN_PORT: Final = 53
SERVERS_MAX: Final = 3
"""As resolv.conf(5)."""
ROUNDS: Final = 2
TRY_TIMEOUT_S: Final = 2.0
TOTAL_TIMEOUT_S: Final = 9.0
"""A client of libc's gives up after ten seconds of its two tries."""
IN_FLIGHT_MAX: Final = 1024
"""Questions of all containers that are under way; one more is told of a failure at once."""
STRANGERS_MAX: Final = 16
"""Packets that are no answer to what was asked and that one try reads past."""
_OTHERS_MAY_KNOW: Final = frozenset({Rcode.SERVFAIL, Rcode.REFUSED, Rcode.NOTIMP, Rcode.FORMERR})


@dataclass(frozen=True, slots=True)
class Servers:
    """Plain addresses, and the namespace from which they are reached: a path, or "" for the node's own (this thread's)."""

    addresses: tuple[str, ...]
    namespace: str = ""


class HostResolvers:
    """The node's own, read again when their file has changed."""

    def __init__(self, path: Path = Path("/etc/resolv.conf")) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._servers = Servers(())

    def __call__(self) -> Servers:
        try:
            now = os.stat(self._path)
            stamp = (now.st_mtime_ns, now.st_ino, now.st_size)
            if stamp != self._stamp:
                self._stamp, self._servers = stamp, Servers(nameservers(self._path.read_text(errors="replace")))
        except OSError:
            self._stamp, self._servers = None, Servers(())
        return self._servers


def nameservers(text: str) -> tuple[str, ...]:
    """The usable addresses of a resolv.conf, at most SERVERS_MAX."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _is_address(words[1]):
            found.append(words[1])
    return tuple(found[:SERVERS_MAX])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Forwarder:
    """State: the cache, and the questions under way."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._cache = Cache()
        self._clock = clock
        self._under_way: dict[object, trio.Event] = {}
        self._count = 0

    async def ask(self, servers: Servers, query: Query, raw: bytes, *, by_stream: bool) -> bytes | None:
        """The answer under the query's own number, or None when nobody gave one. `raw`: the query as it came. Raises nothing."""
        key = (servers, query.question.lower(), query.udp_bytes > 0, query.dnssec_ok, query.checking_disabled, by_stream)
        if (kept := self._cache.get(key, query.id, self._clock())) is not None:
            return kept
        if (other := self._under_way.get(key)) is not None:
            await other.wait()
            return self._cache.get(key, query.id, self._clock()) or await self._resolve(key, servers, query, raw, by_stream=by_stream)
        done = self._under_way[key] = trio.Event()
        try:
            return await self._resolve(key, servers, query, raw, by_stream=by_stream)
        finally:
            del self._under_way[key]
            done.set()

    async def _resolve(self, key: object, servers: Servers, query: Query, raw: bytes, *, by_stream: bool) -> bytes | None:
        if self._count >= IN_FLIGHT_MAX:
            return None
        self._count += 1
        try:
            with trio.move_on_after(TOTAL_TIMEOUT_S):
                return await self._rounds(key, servers, query, raw, by_stream=by_stream)
            return None
        finally:
            self._count -= 1

    async def _rounds(self, key: object, servers: Servers, query: Query, raw: bytes, *, by_stream: bool) -> bytes | None:
        last: bytes | None = None
        for _ in range(ROUNDS):
            for server in servers.addresses[:SERVERS_MAX]:
                data = await _try(server, servers.namespace, query, raw, by_stream=by_stream)
                seen = message.examine(data, query.question) if data is not None else None
                if data is None or seen is None:
                    continue
                last = message.numbered(data, query.id)
                if seen.rcode not in _OTHERS_MAY_KNOW:
                    self._cache.put(key, data, seen, self._clock())
                    return last
            if last is not None:
                break  # all have answered, and none knows
        return last


async def _try(server: str, namespace: str, query: Query, raw: bytes, *, by_stream: bool) -> bytes | None:
    """One question to one server. None: silence, or nothing that answers it."""
    number = secrets.randbelow(1 << 16)
    asked = message.numbered(raw, number)
    try:
        with trio.move_on_after(TRY_TIMEOUT_S):
            if by_stream:
                return await _over_stream(server, namespace, asked, number, query.question)
            return await _over_datagrams(server, namespace, asked, number, query.question)
    except OSError:
        pass  # refused, unreachable, or the namespace is gone: as silent as a server can be
    return None


def _socket(server: str, namespace: str, kind: socket.SocketKind) -> trio.socket.SocketType:
    """Made in the namespace, where it stays. Raises OSError."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    if not namespace:
        raw = socket.socket(family, kind)
    else:
        with netns.visiting(namespace):
            raw = socket.socket(family, kind)
    raw.setblocking(False)
    return trio.socket.from_stdlib_socket(raw)


async def _over_datagrams(server: str, namespace: str, asked: bytes, number: int, question: bytes) -> bytes | None:
    with _socket(server, namespace, socket.SOCK_DGRAM) as sock:
        await sock.connect((server, DOMAIN_PORT))
        await sock.send(asked)
        for _ in range(STRANGERS_MAX):
            data = await sock.recv(message.MESSAGE_MAX_BYTES)
            if message.is_answer(data, number, question):
                return data
    return None


async def _over_stream(server: str, namespace: str, asked: bytes, number: int, question: bytes) -> bytes | None:
    with _socket(server, namespace, socket.SOCK_STREAM) as sock:
        await sock.connect((server, DOMAIN_PORT))
        stream = trio.SocketStream(sock)
        await stream.send_all(struct.pack("!H", len(asked)) + asked)
        head = await read_exactly(stream, 2)
        data = await read_exactly(stream, int.from_bytes(head, "big")) if head else b""
        return data if data and message.is_answer(data, number, question) else None


async def read_exactly(stream: trio.SocketStream, count: int) -> bytes:
    """`count` bytes, or b"" when the stream ends before."""
    data = bytearray()
    while len(data) < count:
        some = await stream.receive_some(count - len(data))
        if not some:
            return b""
        data += some
    return bytes(data)
