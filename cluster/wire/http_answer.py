"""The client's half of HTTP/1.1 without IO (RFC 9112): one request out as bytes, its answer in as events.

By hand, and not on h11 like the server's half: this is read by every command before it can begin, and h11 takes longer to
import than the daemon to answer. Owns one exchange; never touches a socket. What an answer may be is bounded: its head, the
line before each chunk.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cluster.wire.http_events import MAX_HEADER_BYTES, Headers, HttpError, ResponseHead, Signal

MAX_CHUNK_LINE_BYTES: Final = 4096
MAX_LENGTH_DIGITS: Final = 18
_UNTIL_CLOSED: Final = -1
_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


class ClientSide:
    """One exchange: `request`, `data`, `end` give what to send; `receive` takes what came, `next` says what it means."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._closed = False
        self._head_only = False
        self._chunked_out = False
        self._answer: _Body | None = None
        self._ended = False

    def request(self, method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
        """The head of the request. A body follows as its headers say: chunked, or of a length."""
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        if any(not line.isprintable() for line in lines):
            raise HttpError("a request with control characters")
        self._head_only = method == "HEAD"
        self._chunked_out = "Transfer-Encoding: chunked" in lines
        return "\r\n".join((*lines, "", "")).encode("latin-1", "replace")

    def data(self, piece: bytes) -> bytes:
        """A piece of the body, framed. Empty pieces are nothing: one would end a chunked body."""
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked_out and piece else piece

    def end(self) -> bytes:
        return b"0\r\n\r\n" if self._chunked_out else b""

    def receive(self, data: bytes) -> None:
        """Bytes from the server; empty when it has closed its half."""
        self._received += data
        self._closed = self._closed or not data

    def leftover(self) -> bytes:
        """Bytes that came after the head of an answer that ended the exchange as HTTP."""
        return bytes(self._received)

    def next(self) -> ResponseHead | bytes | Signal:
        """The next event, a piece of a body as bytes. Raises HttpError."""
        if self._ended:
            return Signal.CLOSED
        if self._answer is None:
            return self._next_head()
        event = self._answer.next(self._received, self._closed)
        self._ended = event is Signal.END
        return event

    def _next_head(self) -> ResponseHead | Signal:
        end = self._received.find(b"\r\n\r\n")
        if end > MAX_HEADER_BYTES or (end < 0 and len(self._received) > MAX_HEADER_BYTES):
            raise HttpError("an answer with a head that is too long")
        if end < 0 and self._closed:
            raise HttpError("an answer that ends in its head")
        if end < 0:
            return Signal.NEED_DATA
        head = _parse_head(bytes(self._received[:end]))
        del self._received[: end + 4]
        if head.status >= 200:
            self._answer = _body_of(head, self._head_only)
        return head


class _Body:
    """`left`: bytes of it that are to come, of the present chunk when it is chunked."""

    def __init__(self, left: int, *, chunked: bool) -> None:
        self._left = left
        self._chunked = chunked
        self._in_chunk = False
        self._in_trailers = False

    def next(self, received: bytearray, closed: bool) -> bytes | Signal:
        if self._chunked and not self._left and not self._next_chunk(received):
            return self._more(closed)
        if self._in_trailers:
            return Signal.END if self._passed_trailers(received) else self._more(closed)
        if not self._left:
            return Signal.END
        count = len(received) if self._left == _UNTIL_CLOSED else min(self._left, len(received))
        if not count:
            return Signal.END if closed and self._left == _UNTIL_CLOSED else self._more(closed)
        piece = bytes(received[:count])
        del received[:count]
        if self._left != _UNTIL_CLOSED:
            self._left -= count
        return piece

    def _more(self, closed: bool) -> Signal:
        if closed:
            raise HttpError("an answer that ends in its body")
        return Signal.NEED_DATA

    def _next_chunk(self, received: bytearray) -> bool:
        """Whether the line before the next chunk was there, or the trailers have begun."""
        if self._in_trailers:
            return True
        if self._in_chunk:  # what ends the one before
            if len(received) < 2:
                return False
            if received[:2] != b"\r\n":
                raise HttpError("a chunk that is longer than it says")
            del received[:2]
            self._in_chunk = False
        line = _take_line(received)
        if line is None:
            return False
        size = line.partition(b";")[0].strip(b" \t")
        if not size or len(size) > MAX_LENGTH_DIGITS or not _HEX.issuperset(size):
            raise HttpError("a chunk of no size")
        self._left = int(size, 16)
        self._in_chunk, self._in_trailers = bool(self._left), not self._left
        return True

    def _passed_trailers(self, received: bytearray) -> bool:
        while (line := _take_line(received)) is not None:
            if not line:
                return True
        return False


def _take_line(received: bytearray) -> bytes | None:
    end = received.find(b"\r\n")
    if end > MAX_CHUNK_LINE_BYTES or (end < 0 and len(received) > MAX_CHUNK_LINE_BYTES):
        raise HttpError("a line that is too long")
    if end < 0:
        return None
    line = bytes(received[:end])
    del received[: end + 2]
    return line


def _parse_head(data: bytes) -> ResponseHead:
    first, *lines = data.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    status = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or len(status) != 3 or not status.isdigit() or rest[3:4] not in (b"", b" "):
        raise HttpError("an answer that is not HTTP/1.1")
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or not _TOKEN.issuperset(name) or b"\0" in value or b"\n" in value or b"\r" in value:
            raise HttpError("an answer with a header that is none")
        headers.append((name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")))
    return ResponseHead(int(status), tuple(headers))


def _body_of(head: ResponseHead, head_only: bool) -> _Body:
    """Source: RFC 9112, section 6.3."""
    encoding, lengths = _all(head.headers, "transfer-encoding"), set(_all(head.headers, "content-length"))
    if encoding and [text.lower() for text in encoding] != ["chunked"]:
        raise HttpError(f"an answer with the transfer encoding {', '.join(encoding)}")
    if len(lengths) > 1 or any(not text.isascii() or not text.isdigit() or len(text) > MAX_LENGTH_DIGITS for text in lengths):
        raise HttpError("an answer of no length")
    if head_only or head.status in (204, 304):
        return _Body(0, chunked=False)
    if encoding:
        return _Body(0, chunked=True)
    return _Body(int(lengths.pop()) if lengths else _UNTIL_CLOSED, chunked=False)


def _all(headers: Headers, name: str) -> list[str]:
    return [part.strip() for key, value in headers if key == name for part in value.split(",")]
