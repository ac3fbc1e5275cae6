"""The frames of a container's log: their format, and reading them forwards and backwards. Owns no file.

A frame: header (magic, stream, reserved, payload length, nanoseconds since the epoch), the payload as it was read from
the container, and the frame's whole length again, so that a file can be read from its end. Frames of streams BEGIN and
END, without payload, mark where a run of the container begins and where it ended.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

HEADER = struct.Struct("<2sBBIQ")
TRAILER = struct.Struct("<I")
MAGIC = b"\xf5L"
OVERHEAD_BYTES = HEADER.size + TRAILER.size
PAYLOAD_MAX_BYTES = 1024 * 1024

READ_BYTES = 1024 * 1024

END, STDOUT, STDERR, BEGIN = 0, 1, 2, 3


class Frame(NamedTuple):
    stream: int
    timestamp_ns: int
    payload: bytes


def encode_header(stream: int, length: int, timestamp_ns: int) -> bytes:
    return HEADER.pack(MAGIC, stream, 0, length, timestamp_ns)


def decode_header(data: bytes) -> tuple[int, int, int] | None:
    """(stream, payload length, timestamp), or None for what is no header."""
    if len(data) < HEADER.size:
        return None
    magic, stream, _, length, timestamp_ns = HEADER.unpack_from(data)
    if magic != MAGIC or stream > BEGIN or length > PAYLOAD_MAX_BYTES:
        return None
    return stream, length, timestamp_ns


def frames(descriptor: int, offset: int) -> Iterator[tuple[Frame, int]]:
    """(frame, offset after it) from `offset` on, up to the end or a frame that is not whole (yet)."""
    block, start = b"", offset
    while True:
        header = decode_header(block[offset - start : offset - start + HEADER.size])
        length = OVERHEAD_BYTES if header is None else OVERHEAD_BYTES + header[1]
        if header is None or offset - start + length > len(block):
            block, start = os.pread(descriptor, max(READ_BYTES, length), offset), offset
            header = decode_header(block)
            if header is None or OVERHEAD_BYTES + header[1] > len(block):
                return
            length = OVERHEAD_BYTES + header[1]
        begin = offset - start + HEADER.size
        offset += length
        yield Frame(header[0], header[2], block[begin : begin + header[1]]), offset


def frames_backwards(descriptor: int, end: int) -> Iterator[Frame]:
    """From the frame that ends at `end` to the first."""
    while end >= OVERHEAD_BYTES:
        length: int = TRAILER.unpack(os.pread(descriptor, TRAILER.size, end - TRAILER.size))[0]
        if not OVERHEAD_BYTES <= length <= end:
            return
        data = os.pread(descriptor, length, end - length)
        header = decode_header(data)
        if header is None or header[1] + OVERHEAD_BYTES != length:
            return
        yield Frame(header[0], header[2], data[HEADER.size : HEADER.size + header[1]])
        end -= length


def whole_size(descriptor: int) -> int:
    """Where the last whole frame ends: the file's size, but for a write under way or one that a power failure cut."""
    size = os.fstat(descriptor).st_size
    if size == 0 or next(frames_backwards(descriptor, size), None) is not None:
        return size
    return max((end for _, end in frames(descriptor, 0)), default=0)
