"""What both halves of HTTP/1.1 give and take: heads, signals, errors. Owns no protocol; imports next to nothing, because the
command line does."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

MAX_HEADER_BYTES: Final = 64 * 1024
"""Longest request line or status line with all its headers."""

Headers = tuple[tuple[str, str], ...]


class Signal(enum.Enum):
    NEED_DATA = "need data"
    END = "end of message"
    PAUSED = "paused"  # the peer has said all that belongs to this exchange
    CLOSED = "closed"


class RequestHead(NamedTuple):
    method: str
    target: str
    headers: Headers  # names in lower case
    http_version: str


class ResponseHead(NamedTuple):
    status: int
    headers: Headers  # names in lower case

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


class HttpError(ValueError):
    """The peer broke the protocol. `status` is what a server answers."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


Event = RequestHead | ResponseHead | bytes | Signal
