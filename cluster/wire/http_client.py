"""A small synchronous HTTP/1.1 client for the Engine API's socket: what the command line is made of. Imports no trio.

Owns one connection per exchange; never retries. Addresses: a path, `unix:///path`, `tcp://host:port[/base]` or
`http://host:port[/base]`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from errno import ETIMEDOUT
from typing import TYPE_CHECKING, Final, NamedTuple

from cluster.wire.http_answer import ClientSide
from cluster.wire.http_events import Headers, HttpError, ResponseHead, Signal

if TYPE_CHECKING:
    from ssl import SSLContext  # imported by who speaks TLS

MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
"""Longest answer that `HttpClient.request` keeps in memory."""

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""Longest line that `Answer.lines` puts together."""

RECEIVE_BYTES: Final = 64 * 1024
CONNECT_TIMEOUT_S: Final = 10.0

Body = bytes | Iterable[bytes]


class ConnectionFailed(OSError):
    """Nobody listens at the address, or the connection broke off. `errno` is the system's, or the resolver's (socket.EAI_…, negative); None for what is
    neither: TLS, or the protocol."""

    @property
    def why(self) -> str:
        """One clause, in the words of Go's libraries."""
        return (self.strerror or str(self)).lower() if self.errno else str(self)


def _failed(error: OSError) -> ConnectionFailed:
    """(ssl's errors are OSErrors with numbers of their own.)"""
    if type(error).__module__ == "ssl":
        from cluster.wire.tls_words import tls_words

        return ConnectionFailed(tls_words(error))
    return ConnectionFailed(error.errno or ETIMEDOUT if isinstance(error, TimeoutError) else error.errno, error.strerror or str(error))


class Whole(NamedTuple):
    """An answer with its body."""

    status: int
    headers: Headers
    body: bytes


class Answer:
    """An answer whose body is still coming."""

    def __init__(self, head: ResponseHead, wire: _Wire) -> None:
        self.status = head.status
        self.headers = head.headers
        self._head = head
        self._wire = wire
        self._rest = bytearray()  # of a line that has begun

    def header(self, name: str) -> str:
        return self._head.header(name)

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes. Raises ConnectionFailed when it breaks off."""
        while (piece := self._piece(None)) is not None:
            yield piece

    def lines(self) -> Iterator[bytes]:
        """The body line by line, without line ends. Raises ConnectionFailed, also for a line beyond
        MAX_LINE_BYTES."""
        while (lines := self.wait_lines(None)) is not None:
            yield from lines

    def wait_lines(self, timeout_s: float | None) -> list[bytes] | None:
        """The lines that have come, at least one; none after `timeout_s` without any; None at the end. Raises
        ConnectionFailed."""
        while True:
            try:
                piece = self._piece(timeout_s)
            except TimeoutError:
                return []
            if piece is None:
                rest, self._rest = bytes(self._rest), bytearray()
                return [rest] if rest else None
            self._rest += piece
            if len(self._rest) > MAX_LINE_BYTES:
                raise ConnectionFailed(f"a line of more than {MAX_LINE_BYTES} bytes")
            *whole, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
            if whole:
                return whole

    def _piece(self, timeout_s: float | None) -> bytes | None:
        event = self._wire.event(timeout_s)
        return event if isinstance(event, bytes) else None

    def read(self, limit: int = MAX_ANSWER_BYTES) -> bytes:
        body = bytearray()
        for piece in self.pieces():
            body += piece
            if len(body) > limit:
                raise ConnectionFailed(f"an answer of more than {limit} bytes")
        return bytes(body)


SOCKET_HOST: Final = "festoon"
"""What stands in Host for a socket that has no name (RFC 9112, 3.2)."""


class HttpClient:
    """Exchanges with one server. Each opens a connection of its own; a unix socket makes that cheap."""

    def __init__(self, address: str, tls: Callable[[], SSLContext] | None = None, dial: Callable[[], socket.socket] | None = None) -> None:
        """`tls`: makes the TLS to speak with, of a tcp:// address. `dial`: makes the connections to an address of another kind."""
        self.address = address
        scheme, _, rest = address.partition("://")
        authority, _, base = ("", "", "") if scheme == "unix" else rest.partition("/")
        self._authority, self._base = authority or SOCKET_HOST, f"/{base}".rstrip("/")
        self._tls, self._dial = tls, dial

    def request(self, method: str, target: str, *, body: Body = b"", headers: Headers = ()) -> Whole:
        """One exchange. Raises ConnectionFailed."""
        with self.stream(method, target, body=body, headers=headers) as answer:
            return Whole(answer.status, answer.headers, answer.read())

    @contextmanager
    def stream(self, method: str, target: str, *, body: Body = b"", headers: Headers = ()) -> Iterator[Answer]:
        """One exchange whose answer is read piece by piece; leaving the block closes the connection. Raises
        ConnectionFailed."""
        with self.connect() as connected:
            wire = _Wire(connected, self._authority)
            wire.send_request(method, self._base + target, body, headers)
            yield Answer(wire.head(), wire)

    @contextmanager
    def hijack(
        self, method: str, target: str, *, body: bytes = b"", headers: Headers = ()
    ) -> Iterator[tuple[socket.socket, bytes] | Whole]:
        """Ask for the raw connection: (socket, bytes that came already) in the block; or the answer, when the server
        refused. Raises ConnectionFailed."""
        upgrade = (("Connection", "Upgrade"), ("Upgrade", "tcp"))
        with self.connect() as connected:
            wire = _Wire(connected, self._authority)
            wire.send_request(method, self._base + target, body, (*headers, *upgrade))
            head = wire.head(switching=True)
            if head.status == 101:
                yield connected, wire.side.leftover()
            else:
                yield Whole(head.status, head.headers, Answer(head, wire).read())

    def connect(self) -> socket.socket:
        """A connection on which nothing was said yet. Raises ConnectionFailed."""
        if self._dial is not None:
            return self._dial()
        family, where = _parse(self.address)
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            made.settimeout(CONNECT_TIMEOUT_S)
            made.connect(where)
        except OSError as e:
            made.close()
            raise _failed(e) from e
        if self._tls is not None and isinstance(where, tuple):
            try:
                made = self._tls().wrap_socket(made, server_hostname=where[0])
            except OSError as e:  # ssl's among them
                made.close()
                raise _failed(e) from e
        made.settimeout(None)
        return made


class _Wire:
    """A connected socket and the client's half of the protocol on it."""

    def __init__(self, connected: socket.socket, authority: str) -> None:
        self.side, self._authority = ClientSide(), authority
        self._socket = connected

    def send_request(self, method: str, target: str, body: Body, headers: Headers) -> None:
        framing = ("Content-Length", str(len(body))) if isinstance(body, bytes) else ("Transfer-Encoding", "chunked")
        complete = (("Host", self._authority), framing, *headers)
        begun = self.side.request(method, target, complete)
        if isinstance(body, bytes):
            self._send(begun + (self.side.data(body) if body else b"") + self.side.end())
            return
        if self._send(begun) and all(self._send(self.side.data(piece)) for piece in body):
            self._send(self.side.end())

    def _send(self, data: bytes) -> bool:
        """Whether it left. The server may have refused a long body: its answer says why, as does reading where there is none."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def head(self, *, switching: bool = False) -> ResponseHead:
        """The answer's head; informational ones are passed over, except a 101 that was asked for."""
        while True:
            event = self.event()
            if not isinstance(event, ResponseHead):
                raise ConnectionFailed("the server closed the connection without an answer")
            if event.status >= 200 or (switching and event.status == 101):
                return event

    def event(self, timeout_s: float | None = None) -> ResponseHead | bytes | Signal:
        """The next event that isn't `need data`. Raises ConnectionFailed, TimeoutError when nothing comes for so
        long."""
        try:
            self._socket.settimeout(timeout_s)
            while True:
                event = self.side.next()
                if event is not Signal.NEED_DATA:
                    assert isinstance(event, (ResponseHead, bytes, Signal))
                    return event
                self.side.receive(self._socket.recv(RECEIVE_BYTES))
        except HttpError as e:
            raise ConnectionFailed(f"the server broke off its answer: {e}") from e
        except (ConnectionFailed, TimeoutError):
            raise
        except OSError as e:
            raise _failed(e) from e


def _parse(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """The socket family and address. Raises ConnectionFailed for what isn't one."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return socket.AF_UNIX, address
    if scheme == "unix":
        return socket.AF_UNIX, rest
    host, _, port = rest.partition("/")[0].rpartition(":")
    if scheme in {"tcp", "http"} and host and port.isdigit():
        return socket.AF_INET6 if ":" in host else socket.AF_INET, (host.strip("[]"), int(port))
    raise ConnectionFailed(f"unable to parse docker host `{address}`")
