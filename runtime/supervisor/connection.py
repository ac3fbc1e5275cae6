"""One client's connection: messages in, messages out, bounded. Owns its socket and what is queued for it."""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from runtime.supervisor import datagrams
from runtime.supervisor.loop import READABLE, WRITABLE, Loop
from runtime.supervisor.messages import Answer, Reply, Request

QUEUED_MAX = 10_000
"""Messages that a client may leave unread before it is disconnected."""

OnRequest = Callable[["Connection", Request, list[int]], None]
"""The descriptors that came with a request are then the callee's."""


class Connection:
    """Closed when the client goes, sends what is no request, or does not read."""

    def __init__(self, loop: Loop, sock: socket.socket, on_request: OnRequest, on_close: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._socket = sock
        self._on_request = on_request
        self._on_close = on_close
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._full = False
        self.closed = False
        self.subscribed = False
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._ready)

    def send(self, number: int, answer: Answer, descriptors: Sequence[int] = ()) -> None:
        """Queues an answer; its descriptors are closed once they are sent, or at once when the client has gone."""
        if self.closed:
            for descriptor in descriptors:
                os.close(descriptor)
            return
        datagram, memfd = datagrams.pack(msgspec.msgpack.encode(Reply(number, answer)))
        sent_along = [memfd, *descriptors] if memfd >= 0 else list(descriptors)
        self._queue.append((datagram, sent_along))
        if len(self._queue) > QUEUED_MAX:
            self.close()
        else:
            self._flush()

    def _flush(self) -> None:
        while self._queue:
            datagram, descriptors = self._queue[0]
            try:
                self._socket.sendmsg([datagram], datagrams.ancillary(descriptors))
            except BlockingIOError:
                self._full = True
                self._loop.change(self._socket.fileno(), READABLE | WRITABLE)
                return
            except (BrokenPipeError, ConnectionResetError):
                self.close()
                return
            self._queue.popleft()
            for descriptor in descriptors:
                os.close(descriptor)
        if self._full:
            self._full = False
            self._loop.change(self._socket.fileno(), READABLE)

    def _ready(self, events: int) -> None:
        if events & WRITABLE:
            self._flush()
        if not self.closed:
            self._receive()

    def retire(self) -> None:
        """Hears out what the client has sent already, then closes; what it sends later fails at once."""
        if self.closed:
            return
        self._socket.shutdown(socket.SHUT_RD)
        while not self.closed:
            self._receive()

    def _receive(self) -> None:
        """One request; the end of them closes the connection."""
        try:
            data, control, flags, _ = self._socket.recvmsg(datagrams.RECEIVE_BYTES, datagrams.ANCILLARY_BYTES, datagrams.RECEIVE_FLAGS)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self.close()
            return
        try:
            message, descriptors = datagrams.unpack(data, control, flags)
        except datagrams.BadDatagram:
            self.close()
            return
        try:
            request = msgspec.msgpack.decode(message, type=Request)
        except msgspec.MsgspecError:
            for descriptor in descriptors:
                os.close(descriptor)
            self.close()
            return
        self._on_request(self, request, descriptors)

    def close(self) -> None:
        """Also drops what is queued."""
        if self.closed:
            return
        self.closed = True
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        for _, descriptors in self._queue:
            for descriptor in descriptors:
                os.close(descriptor)
        self._queue.clear()
        self._on_close(self)


def peer_uid(sock: socket.socket) -> int:
    """SO_PEERCRED: who connected."""
    _, uid, _ = struct.unpack("=iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)
