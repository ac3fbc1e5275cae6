"""What a client's first TLS record says before any key is agreed: the application protocols that it names. Pure.

Owns the reading of that one list; everything else of TLS is OpenSSL's. What is not a whole and well-formed hello names nothing.
Source: RFC 8446, 4.1.2 and 5.1; RFC 7301, 3.1.
"""

from __future__ import annotations

from typing import Final

RECORD_HEADER_BYTES: Final = 5
MAX_RECORD_BYTES: Final = 16 * 1024  # RFC 8446, 5.1
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_RANDOM_BYTES: Final = 32
_ALPN: Final = 16


class _Malformed(Exception):
    pass


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, length: int) -> bytes:
        part = self._data[self._at : self._at + length]
        if len(part) < length:
            raise _Malformed
        self._at += length
        return part

    def number(self, size_bytes: int) -> int:
        return int.from_bytes(self.take(size_bytes), "big")

    def vector(self, size_bytes: int) -> bytes:
        """What follows a length of so many bytes."""
        return self.take(self.number(size_bytes))

    def __bool__(self) -> bool:
        return self._at < len(self._data)


def record_bytes(header: bytes) -> int:
    """How long the record is that begins with these RECORD_HEADER_BYTES, header included; 0 when it cannot be a hello."""
    if len(header) < RECORD_HEADER_BYTES or header[0] != _HANDSHAKE:
        return 0
    length = int.from_bytes(header[3:5], "big")
    return RECORD_HEADER_BYTES + length if 0 < length <= MAX_RECORD_BYTES else 0


def protocols(record: bytes) -> tuple[str, ...]:
    """The names in the hello's ALPN extension, in the client's order; empty when there is none, or no whole hello."""
    try:
        return _protocols(record)
    except (_Malformed, UnicodeDecodeError):
        return ()


def _protocols(record: bytes) -> tuple[str, ...]:
    if record_bytes(record[:RECORD_HEADER_BYTES]) == 0:
        raise _Malformed
    message = _Reader(record[RECORD_HEADER_BYTES:])
    if message.number(1) != _CLIENT_HELLO:
        raise _Malformed
    hello = _Reader(message.vector(3))
    hello.take(2 + _RANDOM_BYTES)
    hello.vector(1)  # session id
    hello.vector(2)  # cipher suites
    hello.vector(1)  # compression methods
    extensions = _Reader(hello.vector(2))
    while extensions:
        kind, body = extensions.number(2), extensions.vector(2)
        if kind == _ALPN:
            names = _Reader(_Reader(body).vector(2))
            found = []
            while names:
                found.append(names.vector(1).decode("ascii"))
            return tuple(found)
    return ()
