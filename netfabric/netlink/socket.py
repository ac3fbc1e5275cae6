"""AF_NETLINK sockets in any namespace: NetlinkSocket for trio, SyncNetlink for start-up code without it.

Many requests travel in one datagram; the kernel carries them out in order, inside send(), and goes on after one
that fails. So by the time that an answer is looked for the work is done, and most often the answer is there: it is read
without going around trio's loop. Cancelling a request abandons its answer, not its effect. Source: netlink(7).
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Self

import trio

from netfabric.netlink.exchange import Answer, Exchange, NetlinkError, Pending, datagrams
from netfabric.netlink.messages import NETLINK_ROUTE, Message
from netfabric.netlink.netns import in_namespace

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 1, 10, 11, 12
_SO_RCVBUFFORCE = 33
RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
READ_BYTES = 32 * 1024
"""What the kernel puts into one part of a dump at most. More costs more: the interpreter makes room for all of it at each read."""


def _open(namespace: int | None, protocol: int) -> socket.socket:
    if namespace is None:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    else:
        with in_namespace(namespace):
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        sock.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        if protocol == NETLINK_ROUTE:
            sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        sock.bind((0, 0))
    except OSError:
        sock.close()
        raise
    return sock


def _answers(pending: Sequence[Pending], tolerate: Collection[int]) -> list[Answer]:
    for one in pending:
        if one.error is not None and one.error.errno not in tolerate:
            raise one.error
    return [tuple(one.parts) for one in pending]


def subscribe(namespace: int, protocol: int, groups: Collection[int]) -> trio.socket.SocketType:
    """A socket that only listens: to what the kernel sends to these multicast groups. Raises OSError."""
    raw = _open(namespace, protocol)
    try:
        for group in groups:
            raw.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
    except OSError:
        raw.close()
        raise
    raw.setblocking(False)
    return trio.socket.from_stdlib_socket(raw)


class NetlinkSocket:
    """A trio endpoint in one namespace. Any number of tasks may have requests in flight on it."""

    def __init__(self, namespace: int | None = None, protocol: int = NETLINK_ROUTE) -> None:
        """Opens the socket in the namespace behind the descriptor (None: the thread's own). Raises OSError."""
        self._socket = _open(namespace, protocol)
        self._socket.setblocking(False)
        self._exchange = Exchange()
        self._reading = False
        self._readers = trio.lowlevel.ParkingLot()
        self._broken: OSError | None = None

    @property
    def broken(self) -> bool:
        """Whether answers were lost: nothing can be asked of it any more."""
        return self._broken is not None

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def request(self, *messages: Message, tolerate: Collection[int] = ()) -> list[Answer]:
        """Sends all messages and returns their answers in order.

        Raises the first NetlinkError whose errno is not in `tolerate`; the other messages were carried out all the
        same. Cancelled, the answers are dropped and the datagrams that were sent stay carried out.
        """
        return _answers(await self._converse(messages), tolerate)

    async def attempt(self, *messages: Message) -> list[NetlinkError | None]:
        """Sends all messages and returns what became of each: None, or why the kernel refused it."""
        return [one.error for one in await self._converse(messages)]

    async def _converse(self, messages: Sequence[Message]) -> list[Pending]:
        collected: list[Pending] = []
        await trio.lowlevel.checkpoint()
        for some in datagrams(messages):
            data, pending = self._exchange.prepare(some)
            try:
                await self._send(data)
                await self._receive(pending)
            finally:
                self._exchange.forget(pending)
            collected += pending
        return collected

    async def _send(self, data: bytes) -> None:
        while True:
            try:
                self._socket.send(data)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            else:
                return

    async def _read(self) -> bytes:
        while True:
            try:
                return self._socket.recv(READ_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)

    async def _receive(self, pending: Sequence[Pending]) -> None:
        """One task reads for everyone; the others are parked until it has read something."""
        while not all(one.done for one in pending):
            if self._broken is not None:
                raise OSError(self._broken.errno, f"netlink answers were lost: {self._broken.strerror}")
            if self._reading:
                await self._readers.park()
                continue
            self._reading = True
            try:
                self._exchange.feed(await self._read())
            except OSError as error:
                self._broken = error
            finally:
                self._reading = False
                self._readers.unpark_all()


class SyncNetlink:
    """The same without trio: blocks the thread for as long as the kernel works."""

    def __init__(self, namespace: int | None = None, protocol: int = NETLINK_ROUTE) -> None:
        self._socket = _open(namespace, protocol)
        self._exchange = Exchange()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def request(self, *messages: Message, tolerate: Collection[int] = ()) -> list[Answer]:
        """Sends all messages and returns their answers in order. Raises the first NetlinkError whose errno is not
        in `tolerate`.
        """
        collected: list[Pending] = []
        for some in datagrams(messages):
            data, pending = self._exchange.prepare(some)
            try:
                self._socket.send(data)
                while not all(one.done for one in pending):
                    self._exchange.feed(self._socket.recv(READ_BYTES))
            finally:
                self._exchange.forget(pending)
            collected += pending
        return _answers(collected, tolerate)

    def transact(self, begin: Message, messages: Sequence[Message], end: Message) -> None:
        """Sends all messages as one transaction between the two that frame it. Raises NetlinkError when it was refused."""
        framed = [self._exchange.prepare(some) for some in ((begin,), messages, (end,))]
        pending = [one for _, some in framed for one in some]
        try:
            self._socket.send(b"".join(data for data, _ in framed))
            while not any(one.done for one in pending):
                self._exchange.feed(self._socket.recv(READ_BYTES))
        finally:
            self._exchange.forget(pending)
        _answers(pending, ())


__all__ = ["NetlinkError", "NetlinkSocket", "SyncNetlink"]
