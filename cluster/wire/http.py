"""An HTTP/1.1 server with trio, on a unix socket or others: what the Engine API and the metrics are served by.

Owns connections, their limits and the order of reading and writing; never knows a path or a body's meaning: that is
the application's, one `async def application(request: Request) -> Response`. A ClusterError that it raises becomes
its status and `{"message": …}`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import socket
import ssl
import stat
import sys
import termios
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec
import trio

from cluster.model.errors import ClusterError, Conflict, InvalidArgument
from cluster.wire.http_codec import ServerSide, upgrade_head
from cluster.wire.http_events import Headers, HttpError, RequestHead, Signal
from cluster.wire.http_tls import HttpTlsStream, secured

log = logging.getLogger("festoon.http")
MAX_CONNECTIONS: Final = 1024
"""Connections open at once; a further one is closed at once."""

MAX_JSON_BYTES: Final = 4 * 1024 * 1024
"""Longest body that `Request.body` reads unless told otherwise."""

DRAINED_BYTES: Final = 256 * 1024
"""As much of a body that nobody read is read away to keep the connection; with more it is closed."""

LINGER_S: Final = 2.0
"""How long a client of a hijacked connection, or one whose body nobody reads, may take to see its end, before it is closed whatever the client still sends."""

RECEIVE_BYTES: Final = 64 * 1024
BACKLOG: Final = 128
SOCKET_MODE: Final = 0o660
READING_BYTES: Final = 1
"""What the kernel still counts of a message while it tells that the other side has read it, and takes back without telling anybody. A message counts
with hundreds (the memory that it takes). Source: sock_wfree in net/core/sock.c."""

GONE: Final = select.EPOLLHUP | select.EPOLLERR
"""Over TCP what a client that has gone did not read still counts."""

_WITHOUT_BODY: Final = frozenset({204, 304})
_LOST = (trio.BrokenResourceError, trio.ClosedResourceError)

Stream = trio.abc.HalfCloseableStream
Wire = trio.SocketStream | HttpTlsStream
Hijack = Callable[["RawStream"], Awaitable[None]]


class Disconnected(Exception):
    """The client went away in the middle of its request."""


class BodyTooLong(InvalidArgument):
    status = 413


class MalformedBody(InvalidArgument):
    """The body is framed as no body may be. What came after it can't be read either."""


@dataclass(frozen=True, slots=True)
class Response:
    """What to answer: `body`, or `stream` (each item sent at once; the head before the first), or `hijack`, which
    gets the raw connection after 101 UPGRADED (200 for a client that asked for no upgrade) and ends it by returning.
    A stream that is an async generator is closed in any case; a hijack is called also when the client has gone before its head, for what it holds."""

    status: int = 200
    headers: Headers = ()
    body: bytes = b""
    stream: AsyncIterable[bytes] | None = None
    hijack: Hijack | None = None


Application = Callable[["Request"], Awaitable[Response]]


def json_response(value: object, status: int = 200, headers: Headers = ()) -> Response:
    """A JSON answer, with a line end as Docker sends it."""
    body = msgspec.json.encode(value) + b"\n"
    return Response(status, (("Content-Type", "application/json"), *headers), body)


class Request:
    """One request. `path` is percent-decoded and without the query; `query` maps names to all their values; header
    names are lower case."""

    def __init__(self, head: RequestHead, exchange: _Exchange) -> None:
        path, _, query = head.target.partition("?")
        self.method: str = head.method
        self.target: str = head.target
        self.path: str = unquote(path)
        self.query: Mapping[str, list[str]] = parse_qs(query, keep_blank_values=True) if query else {}
        self.headers: Mapping[str, str] = dict(head.headers)
        self._exchange = exchange

    def argument(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return self.query.get(name, [default])[0]

    async def body(self, limit: int = MAX_JSON_BYTES) -> bytes:
        """The whole body. Raises BodyTooLong beyond `limit` bytes, MalformedBody, Disconnected when the client goes away."""
        pieces = bytearray()
        while (piece := await self._exchange.read_body()) is not None:
            pieces += piece
            if len(pieces) > limit:
                raise BodyTooLong(f"request body is longer than {limit} bytes")
        return bytes(pieces)

    def stream(self) -> AsyncIterator[bytes]:
        """The body in pieces as they come, each at most RECEIVE_BYTES; ends with it, also when it has been read before.
        Needs no closing. Raises MalformedBody, Disconnected."""
        return _Body(self._exchange)


class _Body(AsyncIterator[bytes]):
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def __anext__(self) -> bytes:
        piece = await self._exchange.read_body()
        if piece is None:
            raise StopAsyncIteration
        return piece


class _Exchange:
    """One request and its answer on a connection."""

    def __init__(self, stream: Wire, side: ServerSide) -> None:
        self.wire = stream
        self.side = side
        self.body_read = False
        self.body_broken = False

    async def read_head(self) -> RequestHead | None:
        """The next request; None when the client has closed the connection between requests. Raises HttpError."""
        while True:
            event = self.side.next()
            if isinstance(event, RequestHead):
                return event
            if event is not Signal.NEED_DATA:
                return None
            await self._receive()

    async def read_body(self) -> bytes | None:
        if self.body_read:
            return None
        if self.side.client_waits:
            await self._send(self.side.proceed())
        while True:
            try:
                event = self.side.next()
                if isinstance(event, bytes):
                    return event
                if event is not Signal.NEED_DATA:
                    self.body_read = True
                    return None
                await self._receive()
            except HttpError as e:
                self.body_read = self.body_broken = True
                raise MalformedBody(str(e)) from e

    async def respond(self, request: Request, response: Response) -> bool:
        """Send the answer; whether the connection can be kept. Raises Disconnected."""
        if response.hijack is not None:
            await self._hand_over(request, response, response.hijack)
            return False
        waits = self.side.client_waits
        headers = [*response.headers, ("Connection", "close")] if waits else [*response.headers]
        if response.stream is None:
            if response.status not in _WITHOUT_BODY:
                headers.append(("Content-Length", str(len(response.body))))
            data = self.side.respond(response.status, headers)
            if response.body and request.method != "HEAD" and response.status not in _WITHOUT_BODY:
                data += self.side.data(response.body)
            await self._send_at_once(data + self.side.end())
        else:
            await self._send_stream(request, response, headers, response.stream)
        return not waits and await self._drain()

    async def _send_stream(
        self, request: Request, response: Response, headers: list[tuple[str, str]], items: AsyncIterable[bytes]
    ) -> None:
        lost = False
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal lost
                await _until_ended(self.wire.socket)
                lost = True
                nursery.cancel_scope.cancel()

            try:
                await self._send(self.side.respond(response.status, headers))
                nursery.start_soon(watch)
                if request.method != "HEAD":
                    async for item in items:
                        if item:
                            await self._send(self.side.data(item))
                await self._send(self.side.end())
            except (Disconnected, ClusterError):
                lost = True  # the head is out: an answer that breaks off is all that can be said
            finally:
                if isinstance(items, AsyncGenerator):
                    await items.aclose()
            nursery.cancel_scope.cancel()
        if lost:
            raise Disconnected("the answer broke off")

    async def _hand_over(self, request: Request, response: Response, hijack: Hijack) -> None:
        upgrade = request.headers.get("upgrade", "")
        headers = list(response.headers)
        if upgrade:
            headers += [("Connection", "Upgrade"), ("Upgrade", upgrade)]
        with suppress(Disconnected):  # the stream says so too
            await self._send(upgrade_head(101 if upgrade else 200, headers))
        stream = RawStream(self.wire, *self._after_body(request))
        with suppress(*_LOST):
            await hijack(stream)
            await _see_off(stream)

    def _after_body(self, request: Request) -> tuple[bytes, int]:
        """What the client has said after its request, and how many bytes of a body that nobody wanted (dockerode sends one to attach) are still to come.
        It may hold back the rest of a chunked one until it is answered: what has come is left out, as by Docker."""
        left = int(request.headers.get("content-length", 0))
        try:
            while not self.body_read:
                event = self.side.next()
                if event is Signal.NEED_DATA:
                    return b"", 0 if "transfer-encoding" in request.headers else left
                left -= len(event) if isinstance(event, bytes) else 0
                self.body_read = not isinstance(event, bytes)
        except HttpError:
            return b"", 0
        return self.side.leftover(), 0

    async def _drain(self) -> bool:
        left = DRAINED_BYTES
        while left > 0 and not self.body_broken:
            try:
                piece = await self.read_body()
            except MalformedBody:
                return False
            if piece is None:
                return self.side.next_exchange()
            left -= len(piece)
        await self._let_read()
        return False

    async def _let_read(self) -> None:
        """A client that is still sending reads the answer only if its connection does not break under that. What it sends stays unread, as with Go's server."""
        await self.wire.send_eof()
        with trio.move_on_after(LINGER_S):
            await _until_ended(self.wire.socket)

    async def _receive(self) -> None:
        try:
            self.side.receive(await _receive(self.wire))
        except _LOST as e:
            raise Disconnected("the client closed the connection") from e

    async def _send(self, data: bytes) -> None:
        try:
            await self.wire.send_all(data)
        except _LOST as e:
            raise Disconnected("the client closed the connection") from e

    async def _send_at_once(self, data: bytes) -> None:
        """A whole answer. What the kernel takes of it needs no switch of tasks: the next request is waited for."""
        if isinstance(self.wire, trio.SocketStream):
            try:
                data = data[os.write(self.wire.socket.fileno(), data) :]
            except BlockingIOError:
                pass  # nothing fits in now
            except OSError as e:
                raise Disconnected("the client closed the connection") from e
        if data:
            await self._send(data)


async def _receive(wire: Wire) -> bytes:
    """What there is, empty at the end. Past trio's own stream where that is a plain socket: one switch of tasks for each request is enough."""
    if not isinstance(wire, trio.SocketStream):
        return bytes(await wire.receive_some(RECEIVE_BYTES))
    while True:
        await trio.lowlevel.wait_readable(wire.socket.fileno())
        try:
            return os.read(wire.socket.fileno(), RECEIVE_BYTES)
        except BlockingIOError:
            continue  # somebody was faster, or nobody spoke
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error


class RawStream(Stream):
    """A connection that was HTTP, with the bytes that came too early. Nothing is sent before the client has read the head: one that reads it through
    a buffer and the rest past that buffer (docker-py) would lose what came along with it."""

    def __init__(self, wire: Wire, early: bytes, unwanted: int = 0) -> None:
        """`unwanted`: how many bytes are passed over first."""
        self._wire = wire
        self._early = early
        self._unwanted = unwanted
        self._head_read = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._early:
            await trio.lowlevel.checkpoint()
            size = max_bytes or len(self._early)
            piece, self._early = self._early[:size], self._early[size:]
            return piece
        while self._unwanted and (passed := await self._wire.receive_some(min(self._unwanted, RECEIVE_BYTES))):
            self._unwanted -= len(passed)
        return bytes(await self._wire.receive_some(max_bytes))

    async def send_all(self, data: Any) -> None:
        if not self._head_read:
            await _until_read(self._wire.socket)
            self._head_read = True
        await self._wire.send_all(data)

    async def wait_gone(self) -> None:
        """Until a client that has closed its half has closed the other one as well, or is dead. A TCP client that just goes is found out by sending only."""
        with select.epoll() as poll:
            poll.register(self._wire.socket.fileno(), 0)  # a hang-up is told in any case
            await trio.lowlevel.wait_readable(poll.fileno())

    async def wait_send_all_might_not_block(self) -> None:
        await self._wire.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._wire.send_eof()

    async def aclose(self) -> None:
        await self._wire.aclose()


async def _see_off(stream: Stream) -> None:
    """What the client still sends (somebody types on) is read until it has seen the end: closed with something unread, its own reads would fail."""
    await stream.send_eof()
    with trio.move_on_after(LINGER_S):
        while await stream.receive_some(RECEIVE_BYTES):
            pass


async def _until_ended(connection: trio.socket.SocketType) -> None:
    """Until the client has closed its half, or is dead. What it says meanwhile (the rest of a body, a further request) stays unread."""
    await trio.lowlevel.wait_readable(connection.fileno())  # mostly that is the end: only who has said something costs a poll of its own
    with select.epoll() as poll:
        poll.register(connection.fileno(), select.EPOLLRDHUP)
        await trio.lowlevel.wait_readable(poll.fileno())


async def _until_read(connection: trio.socket.SocketType) -> None:
    """Until the other side has read all that was sent, or has gone. The kernel wakes an edge-triggered poll whenever something was read."""
    if _unread_bytes(connection) <= READING_BYTES:
        return
    with select.epoll() as poll:
        poll.register(connection.fileno(), select.EPOLLOUT | select.EPOLLET)
        told = poll.poll(0)  # what it says of the present
        while _unread_bytes(connection) > READING_BYTES and not any(events & GONE for _, events in told):
            await trio.lowlevel.wait_readable(poll.fileno())
            told = poll.poll(0)


def _unread_bytes(connection: trio.socket.SocketType) -> int:
    """Source: unix(7), SIOCOUTQ (which is TIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


async def serve_connection(stream: Wire, application: Application) -> None:
    """Serve one connection until either side ends it; closes it. Cancellation cancels the application where it is."""
    side = ServerSide()
    async with stream:
        with suppress(Disconnected, *_LOST):
            kept = True
            while kept:
                exchange = _Exchange(stream, side)
                try:
                    head = await exchange.read_head()
                except HttpError as e:
                    if side.may_respond:
                        closing = (("Content-Type", "application/json"), ("Connection", "close"))
                        body = msgspec.json.encode({"message": str(e)})
                        length = (("Content-Length", str(len(body))),)
                        await stream.send_all(side.respond(e.status, closing + length) + side.data(body) + side.end())
                    return
                if head is None:
                    return
                request = Request(head, exchange)
                if side.is_plain:
                    exchange.body_read = True
                elif not _expects_body(request):
                    await exchange.read_body()  # its end, which is here already
                response = await _answered(application, request)
                try:
                    kept = await exchange.respond(request, response)
                except Disconnected:
                    return
                except Exception:  # noqa: BLE001  the same boundary, for streams and raw connections: the head is out
                    log.exception("an answer broke off by a bug", extra={"fields": {"path": request.path}})
                    return


async def _answered(application: Application, request: Request) -> Response:
    try:
        return await application(request)
    except ClusterError as e:
        return json_response({"message": e.message}, e.status)
    except Disconnected:
        raise  # nobody is there to be answered
    except Exception as e:  # noqa: BLE001  the boundary: our own bug in one request must not end every other one
        log.exception("a request failed by a bug", extra={"fields": {"path": request.path}})
        return json_response({"message": f"internal error: {type(e).__name__}"}, 500)


def _expects_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


async def serve(
    listeners: Sequence[trio.SocketListener],
    application: Application,
    *,
    max_connections: int = MAX_CONNECTIONS,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve whoever connects to one of these until cancelled; closes them. `tls`: that every client must speak."""
    limiter = trio.CapacityLimiter(max_connections)

    async def accepted(stream: trio.SocketStream) -> None:
        try:
            limiter.acquire_nowait()
        except trio.WouldBlock:
            await stream.aclose()
            return
        try:
            served = stream if tls is None else await secured(stream, tls)
            if served is not None:
                await serve_connection(served, application)
        except Exception:
            log.exception("a response failed by a bug; its connection is closed")
        finally:
            limiter.release()

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, accepted, listeners)
        task_status.started()


async def serve_unix(
    path: str | os.PathLike[str],
    application: Application,
    *,
    group: int = -1,
    max_connections: int = MAX_CONNECTIONS,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on a unix socket at `path` (mode 0660, of this group; -1: the process's) until cancelled; reports when it listens. A socket file that
    nobody listens on any more is replaced, and ours is removed at the end. Raises Conflict when another server
    listens there, OSError when the socket can't be made."""
    name = os.fspath(path)
    listening = _bind(name, group)
    inode = os.stat(name).st_ino
    try:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        await serve([listener], application, max_connections=max_connections, task_status=task_status)
    finally:
        listening.close()
        with suppress(FileNotFoundError):
            if os.stat(name).st_ino == inode:
                os.unlink(name)


def _bind(path: str, group: int) -> socket.socket:
    """A listening socket under `path`, put there by a rename so that it is never seen half-made."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise Conflict(f"{path} exists and is not a socket")
        with socket.socket(socket.AF_UNIX) as probe, suppress(ConnectionRefusedError):
            probe.connect(path)
            raise Conflict(f"another program listens on {path}")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    fresh = f"{path}.{os.getpid()}"
    done = False
    try:
        with suppress(FileNotFoundError):
            os.unlink(fresh)
        made.bind(fresh)
        os.chown(fresh, -1, group)
        os.chmod(fresh, SOCKET_MODE)
        made.listen(BACKLOG)
        os.rename(fresh, path)
        done = True
    finally:
        if not done:
            made.close()
            with suppress(FileNotFoundError):
                os.unlink(fresh)
    return made
