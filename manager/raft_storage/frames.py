"""The bytes of one log segment: a header, then sealed frames, then zeros. Pure: makes and reads bytes, touches no
file.

header   magic 8, segment number 8, chain 4, salt 32, CRC-32 of these 4, zeros up to HEADER_BYTES frame    length of
the sealed part 4, chain 4, sequence 8, the sealed part, zeros up to a multiple of ALIGNMENT_BYTES   (little-endian)

The chain is the CRC-32 of a frame's sequence and sealed part, continued from the frame before and across segments: no
frame can be missing or exchanged in the middle. The sealed part is AES-GCM under (data key, the segment's salt), its
nonce the sequence, bound to the segment's number. A segment is written in one go by one process, with a salt of its
own, so a nonce is never used twice under a key.

One frame is one write made durable before the next begins. So an unfinished frame can only be the very last one: a
frame that does not check out and has one behind it that opens is damage, not an unfinished write.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

from cluster.identity import seal

MAGIC: Final = b"FESTLOG1"
HEADER_BYTES: Final = 64
ALIGNMENT_BYTES: Final = 8
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024

_HEADER: Final = struct.Struct("<8sQI32s")
_FRAME: Final = struct.Struct("<IIQ")
_CRC: Final = struct.Struct("<I")


class SegmentHeader(NamedTuple):
    number: int
    chain: int  # of the last frame of the segment before
    salt: bytes


class Scan(NamedTuple):
    """What a segment holds. `end`: offset behind the last good frame. `torn`: an unfinished frame follows. `damaged`:
    a good one follows further on.
    """

    payloads: tuple[bytes, ...]
    end: int
    chain: int
    torn: bool
    damaged: bool


def encode_header(header: SegmentHeader) -> bytes:
    packed = _HEADER.pack(MAGIC, header.number, header.chain, header.salt)
    return (packed + _CRC.pack(zlib.crc32(packed))).ljust(HEADER_BYTES, b"\0")


def decode_header(data: bytes) -> SegmentHeader | None:
    """The header at the start of a segment; None when there is no good one."""
    packed = data[: _HEADER.size]
    if len(data) < HEADER_BYTES or _CRC.unpack_from(data, _HEADER.size)[0] != zlib.crc32(packed):
        return None
    magic, number, chain, salt = _HEADER.unpack(packed)
    return SegmentHeader(number, chain, salt) if magic == MAGIC else None


def frame_bytes(payload_bytes: int) -> int:
    """How long the frame of a payload is, at most."""
    return _FRAME.size + payload_bytes + seal.TAG_BYTES + ALIGNMENT_BYTES


def encode_frame(sealer: seal.Sealer, number: int, sequence: int, chain: int, payload: bytes) -> tuple[bytes, int]:
    """The frame that follows `chain` in segment `number`, and the chain behind it. A sequence is used once per
    sealer.
    """
    assert len(payload) <= MAX_PAYLOAD_BYTES
    sealed = sealer.seal(sequence, payload, _associated(number))
    chain = _chain(sequence, sealed, chain)
    frame = _FRAME.pack(len(sealed), chain, sequence) + sealed
    return frame + bytes(-len(frame) % ALIGNMENT_BYTES), chain


def scan(data: bytes, header: SegmentHeader, sealer: seal.Sealer) -> Scan:
    """Read the frames of a whole segment."""
    payloads: list[bytes] = []
    offset, chain = HEADER_BYTES, header.chain
    while True:
        sequence = len(payloads)
        sealed = _sealed_part(data, offset, sequence)
        if sealed is None or _FRAME.unpack_from(data, offset)[1] != _chain(sequence, sealed, chain):
            break
        try:
            payloads.append(sealer.open(sequence, sealed, _associated(header.number)))
        except seal.BadSeal:
            break
        chain = _chain(sequence, sealed, chain)
        offset += -(-(_FRAME.size + len(sealed)) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    used = len(data.rstrip(b"\0"))
    torn = used > offset
    damaged = torn and _opens_later(data, range(offset, used, ALIGNMENT_BYTES), len(payloads), header, sealer)
    return Scan(tuple(payloads), offset, chain, torn, damaged)


def _opens_later(data: bytes, offsets: range, sequence: int, header: SegmentHeader, sealer: seal.Sealer) -> bool:
    """Whether a frame of `sequence` or a later one lies at any of the offsets and authenticates."""
    for offset in offsets:
        if offset + _FRAME.size > len(data):
            break
        length, _, later = _FRAME.unpack_from(data, offset)
        if length == 0 or not sequence <= later <= sequence + len(data) // _FRAME.size:
            continue
        sealed = _sealed_part(data, offset, later)
        if sealed is None:
            continue
        try:
            sealer.open(later, sealed, _associated(header.number))
        except seal.BadSeal:
            continue
        return True
    return False


def _sealed_part(data: bytes, offset: int, sequence: int) -> bytes | None:
    """The sealed part of the frame at `offset`, if a whole frame of that sequence can be there."""
    if offset + _FRAME.size > len(data):
        return None
    length, _, found = _FRAME.unpack_from(data, offset)
    if found != sequence or not seal.TAG_BYTES <= length <= MAX_PAYLOAD_BYTES + seal.TAG_BYTES:
        return None
    sealed = data[offset + _FRAME.size : offset + _FRAME.size + length]
    return sealed if len(sealed) == length else None


def _chain(sequence: int, sealed: bytes, before: int) -> int:
    return zlib.crc32(sealed, zlib.crc32(sequence.to_bytes(8, "little"), before))


def _associated(number: int) -> bytes:
    return number.to_bytes(8, "little")
