"""The frames in which the Engine API carries standard output and error over one stream: 8 bytes of header, then the
payload. Pure.

Source: the Engine API's ContainerAttach: [stream, 0, 0, 0, length as big-endian 32 bits]; stream 1 is standard
output, 2 standard error, 3 an error of the daemon.
"""

from __future__ import annotations

from typing import Final

HEADER_BYTES: Final = 8
MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
STDOUT, STDERR, SYSTEM_ERROR = 1, 2, 3


class BadFrame(ValueError):
    """The stream isn't made of frames."""


class Demultiplexer:
    """Cuts a stream into (stream, payload) pairs; hands out parts of long frames as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._stream = 0
        self._left = 0  # bytes of the current frame still to come

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The pairs in what has come. Raises BadFrame."""
        self._buffer += data
        pairs: list[tuple[int, bytes]] = []
        while True:
            if self._left:
                piece = bytes(self._buffer[: self._left])
                if not piece:
                    return pairs
                del self._buffer[: len(piece)]
                self._left -= len(piece)
                pairs.append((self._stream, piece))
                continue
            if len(self._buffer) < HEADER_BYTES:
                return pairs
            header = bytes(self._buffer[:HEADER_BYTES])
            del self._buffer[:HEADER_BYTES]
            self._stream, self._left = header[0], int.from_bytes(header[4:], "big")
            if self._stream > SYSTEM_ERROR or self._left > MAX_FRAME_BYTES:
                raise BadFrame(f"unrecognized frame header {header.hex()}")
