"""The server's half of HTTP/1.1 without IO (RFC 9112): bytes in, events out. The only module that imports h11; the client's
half is http_answer.py.

Owns nothing but h11's state, and the present exchange where it is one that does without (http_plain.py); never touches a socket.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import h11

from cluster.wire.http_events import MAX_HEADER_BYTES, Event, Headers, HttpError, RequestHead, Signal
from cluster.wire.http_plain import Plain
from cluster.wire.http_plain import read as read_plain


class ServerSide:
    """One connection of a client."""

    def __init__(self) -> None:
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._untouched = True  # h11 has no byte of the next request
        self._plain: Plain | None = None
        self._early: list[bytes] = []  # what came in the middle of a plain exchange

    def receive(self, data: bytes) -> None:
        """Bytes from the peer; empty when it has closed its half. Raises HttpError when they come after that."""
        if self._plain is not None:
            self._early.append(data)
            return
        if self._untouched and (head := read_plain(data)) is not None:
            self._plain = Plain(head)
            return
        self._untouched = False
        try:
            self._h11.receive_data(data)
        except (h11.RemoteProtocolError, RuntimeError) as e:
            raise HttpError(_said(e)) from e

    def next(self) -> Event:
        """The next event, a piece of a body as bytes. Raises HttpError."""
        if self._plain is not None:
            return self._plain.next()
        if self._untouched:
            return Signal.NEED_DATA
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as e:
            raise HttpError(_said(e), e.error_status_hint) from e
        if event is h11.NEED_DATA:
            return Signal.NEED_DATA
        if event is h11.PAUSED:
            return Signal.PAUSED
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return Signal.END
        if isinstance(event, h11.Request):
            return RequestHead(
                event.method.decode("ascii"),
                event.target.decode("latin-1"),
                _text(event.headers),
                event.http_version.decode("ascii"),
            )
        return Signal.CLOSED

    def data(self, piece: bytes) -> bytes:
        """A piece of the body, framed."""
        return self._plain.data(piece) if self._plain is not None else self._send(h11.Data(data=piece))

    def end(self) -> bytes:
        return self._plain.end() if self._plain is not None else self._send(h11.EndOfMessage())

    def leftover(self) -> bytes:
        """Bytes that came after this exchange's last."""
        return b"".join(self._early) if self._plain is not None else bytes(self._h11.trailing_data[0])

    def next_exchange(self) -> bool:
        """Make ready for another exchange on the connection; False when it must be closed."""
        if self._plain is not None:
            early, self._early, self._plain = self._early, [], None
            for data in early:
                self.receive(data)
            return True
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        self._untouched = self._h11.trailing_data == (b"", False)
        return True

    def _send(self, event: h11.Event) -> bytes:
        return self._h11.send(event) or b""

    @property
    def is_plain(self) -> bool:
        """Whether the present exchange is one of http_plain.py: its request has no body, and is here whole."""
        return self._plain is not None

    @property
    def client_waits(self) -> bool:
        """Whether the client holds its body back until it gets 100 Continue."""
        return self._plain is None and self._h11.they_are_waiting_for_100_continue

    @property
    def may_respond(self) -> bool:
        """Whether a response can still be sent: none has begun."""
        return not self._plain.responded if self._plain is not None else self._h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}

    def proceed(self) -> bytes:
        """100 Continue."""
        return self._send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))

    def respond(self, status: int, headers: Iterable[tuple[str, str]]) -> bytes:
        """The head of the answer. Without Content-Length the body is chunked, or ends with the connection for
        HTTP/1.0."""
        if self._plain is not None:
            return self._plain.respond(status, _reason(status).decode(), headers)
        return self._send(h11.Response(status_code=status, headers=_bytes(headers), reason=_reason(status)))


def upgrade_head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """The head of an answer after which the connection is no longer HTTP: 101, or a 200 whose body is the raw
    connection."""
    reason = b"UPGRADED" if status == 101 else _reason(status)
    lines = [b"HTTP/1.1 %d %s" % (status, reason), *(name + b": " + value for name, value in _bytes(headers))]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _text(headers: h11._headers.Headers) -> Headers:
    return tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in headers)


def _bytes(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("latin-1", "replace")) for name, value in headers]


_REASONS: Final = {
    200: b"OK",
    201: b"Created",
    204: b"No Content",
    304: b"Not Modified",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    409: b"Conflict",
    413: b"Request Entity Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    503: b"Service Unavailable",
}


def _reason(status: int) -> bytes:
    return _REASONS.get(status, b"")


def _said(error: Exception) -> str:
    """Without the bytes that h11 shows as Python writes them."""
    return str(error).partition(": bytearray(")[0]
