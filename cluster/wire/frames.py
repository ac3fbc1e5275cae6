"""Frames: a length of four bytes, big-endian, then that many bytes of payload. The only thing below rpc.py that
knows about message borders.

Owns the border and its limit; never looks into a payload, never does IO.
"""

from __future__ import annotations

from typing import Final

HEADER_BYTES: Final = 4
MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
"""Longest payload. Larger things are sent as streams of items."""


class FrameTooLong(ValueError):
    """The peer announced, or the caller asked to send, a payload beyond MAX_FRAME_BYTES."""


def frame(payload: bytes) -> bytes:
    """The payload with its header. Raises FrameTooLong."""
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameTooLong(f"a message of {len(payload)} bytes is longer than the limit of {MAX_FRAME_BYTES}")
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


class FrameReader:
    """Cuts a byte stream into payloads. Holds at most one unfinished frame, of at most `limit_bytes`."""

    def __init__(self, limit_bytes: int = MAX_FRAME_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray) -> list[bytes]:
        """All payloads that are complete now. Raises FrameTooLong as soon as a header announces too much; the reader
        is of no use afterwards."""
        buffer = self._buffer
        buffer += data
        payloads: list[bytes] = []
        start = 0
        while len(buffer) - start >= HEADER_BYTES:
            length = int.from_bytes(buffer[start : start + HEADER_BYTES], "big")
            if length > self._limit_bytes:
                raise FrameTooLong(f"the peer announced a message of {length} bytes; the limit is {self._limit_bytes}")
            end = start + HEADER_BYTES + length
            if len(buffer) < end:
                break
            payloads.append(bytes(buffer[start + HEADER_BYTES : end]))
            start = end
        if start:
            del buffer[:start]
        return payloads

    @property
    def unfinished_bytes(self) -> int:
        """Bytes of the frame that has begun and not ended."""
        return len(self._buffer)
