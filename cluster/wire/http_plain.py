"""The commonest exchange of HTTP/1.1, without h11: a GET or HEAD that came whole, has no body and asks for nothing unusual. h11 takes longer for one than
all the rest of the server; what is not that plain is left to it.

Owns which requests are plain, and the bytes of their answers. Pure. Source: RFC 9112."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from cluster.wire.http_events import MAX_HEADER_BYTES, RequestHead, Signal

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST: Final = re.compile(rb"(GET|HEAD) ([!-~]+) HTTP/1\.1\r\n((?:" + _TOKEN + rb":[\t -~]*\r\n){1,64})\r\n")
_UNUSUAL: Final = frozenset({"content-length", "transfer-encoding", "expect", "upgrade", "te", "trailer"})
_WITHOUT_BODY: Final = frozenset({204, 304})
HEADS_KEPT: Final = 128
"""Heads of answers: most are equal to one that was given a moment ago."""


def read(data: bytes) -> RequestHead | None:
    """The request that these bytes are; None when they are none, not all of one, more than one, or one that is not plain."""
    found = _REQUEST.fullmatch(data) if len(data) <= MAX_HEADER_BYTES else None
    if found is None:
        return None
    headers: list[tuple[str, str]] = []
    hosts = 0
    for line in found[3].decode("ascii").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if name in _UNUSUAL or (name == "connection" and value.lower() != "keep-alive"):
            return None
        hosts += name == "host"
        headers.append((name, value))
    if hosts != 1:
        return None
    return RequestHead(found[1].decode("ascii"), found[2].decode("ascii"), tuple(headers), "1.1")


class Plain:
    """One such request and its answer. State: what has been said of either."""

    def __init__(self, head: RequestHead) -> None:
        self._events: list[RequestHead | Signal] = [Signal.END, head]
        self._is_head = head.method == "HEAD"
        self._chunked = False
        self.responded = False

    def next(self) -> RequestHead | Signal:
        return self._events.pop() if self._events else Signal.PAUSED

    def respond(self, status: int, reason: str, headers: Iterable[tuple[str, str]]) -> bytes:
        """The head of the answer; without a length the body is chunked."""
        self.responded = True
        head, sized = _head(status, reason, tuple(headers))
        self._chunked = not sized and not self._is_head
        return head

    def data(self, piece: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked and piece else piece

    def end(self) -> bytes:
        return b"0\r\n\r\n" if self._chunked else b""


@lru_cache(maxsize=HEADS_KEPT)
def _head(status: int, reason: str, headers: tuple[tuple[str, str], ...]) -> tuple[bytes, bool]:
    """Its bytes, and whether they say how long the body is."""
    lines = [f"HTTP/1.1 {status} {reason}"]
    sized = status in _WITHOUT_BODY
    for name, value in headers:
        sized = sized or name == "Content-Length"
        lines.append(f"{name}: {value}")
    assert "".join(lines).isprintable(), "a header with control characters"
    if not sized:
        lines.append("Transfer-Encoding: chunked")
    return "\r\n".join((*lines, "", "")).encode("latin-1", "replace"), sized
