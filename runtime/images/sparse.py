"""Where the content of a sparse file of a tar stream lies: GNU's own format and pax's GNU.sparse 0.0, 0.1 and 1.0. Owns the maps, bounded and checked;
never reads content. Source: GNU tar manual, "Storing Sparse Files"; GNU tar's tar.h (struct oldgnu_header, struct sparse_header).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from runtime.errors import BadImage

MAX_SEGMENTS = 65_536
MAX_REAL_BYTES = 1024**4
MAX_NUMBER_DIGITS = 20
PREFIX = "GNU.sparse."
BLOCK_BYTES = 512
_SEGMENT_BYTES, _HEADER_SEGMENTS, _BLOCK_SEGMENTS = 24, 4, 21
_HEADER_MAP, _HEADER_EXTENDED, _HEADER_REAL_SIZE = 386, 482, slice(483, 495)
_BLOCK_EXTENDED = 504

Number = Callable[[bytes], int]


class Segment(NamedTuple):
    """`size` bytes of content at `offset` of the file."""

    offset: int
    size: int


class SparseMap(NamedTuple):
    """Segments in order; everything else of the file's `real_size` bytes is zeros."""

    segments: tuple[Segment, ...]
    real_size: int

    def expand(self, data: Callable[[int], Iterator[bytes]], zeros: bytes) -> Iterator[bytes]:
        """The file's whole content. `data(n)`: the next n bytes of the stream, in pieces."""
        position = 0
        for segment in (*self.segments, Segment(self.real_size, 0)):
            while position < segment.offset:
                count = min(segment.offset - position, len(zeros))
                yield zeros if count == len(zeros) else zeros[:count]
                position += count
            yield from data(segment.size)
            position += segment.size


def checked(segments: list[Segment], real_size: int, packed_size: int) -> SparseMap:
    """Raises BadImage for a map that overlaps, leaves the file, or doesn't say what the stream holds."""
    if real_size > MAX_REAL_BYTES:
        raise BadImage(f"a sparse file of more than {MAX_REAL_BYTES} bytes")
    end = 0
    for segment in segments:
        if segment.offset < end:
            raise _invalid()
        end = segment.offset + segment.size
    if end > real_size or sum(segment.size for segment in segments) != packed_size:
        raise _invalid()
    return SparseMap(tuple(segments), real_size)


def of_header(block: bytes, packed_size: int, more: Callable[[int], bytes], number: Number) -> SparseMap:
    """Of a header of type S and the blocks that continue it. `more(n)`: the next n bytes of the stream."""
    segments = _segments(block[_HEADER_MAP:], _HEADER_SEGMENTS, number)
    extended = block[_HEADER_EXTENDED]
    while extended:
        following = more(BLOCK_BYTES)
        segments += _segments(following, _BLOCK_SEGMENTS, number)
        if len(segments) > MAX_SEGMENTS:
            raise BadImage(f"a sparse file of more than {MAX_SEGMENTS} segments")
        extended = following[_BLOCK_EXTENDED]
    return checked(segments, number(block[_HEADER_REAL_SIZE]), packed_size)


def _segments(data: bytes, count: int, number: Number) -> list[Segment]:
    found = []
    for start in range(0, count * _SEGMENT_BYTES, _SEGMENT_BYTES):
        if not data[start]:
            break
        found.append(Segment(number(data[start : start + 12]), number(data[start + 12 : start + 24])))
    return found


def of_records(records: Mapping[str, bytes], packed_size: int) -> SparseMap:
    """Of pax records 0.0 and 0.1 ("map"; the reader joins 0.0's pairs to one)."""
    words = records.get(PREFIX + "map", b"").split(b",")
    numbers = [decimal(word) for word in words] if words != [b""] else []
    if len(numbers) % 2 or len(numbers) > 2 * MAX_SEGMENTS:
        raise _invalid()
    return checked(_pairs(numbers), decimal(records.get(PREFIX + "size", b"")), packed_size)


def of_content(records: Mapping[str, bytes], packed_size: int, more: Callable[[int], bytes]) -> tuple[SparseMap, int]:
    """Of pax 1.0, whose map begins the content: (map, bytes that it took)."""
    lines: list[bytes] = []
    rest, taken, wanted = b"", 0, 1
    while len(lines) < wanted:
        if taken + BLOCK_BYTES > packed_size:
            raise _invalid()
        *whole, rest = (rest + more(BLOCK_BYTES)).split(b"\n")
        taken += BLOCK_BYTES
        lines += whole
        if lines:
            wanted = 1 + 2 * decimal(lines[0])
        if wanted > 1 + 2 * MAX_SEGMENTS or len(rest) > BLOCK_BYTES:
            raise BadImage(f"a sparse file of more than {MAX_SEGMENTS} segments")
    numbers = [decimal(line) for line in lines[1:wanted]]
    return checked(_pairs(numbers), decimal(records.get(PREFIX + "realsize", b"")), packed_size - taken), taken


def _pairs(numbers: list[int]) -> list[Segment]:
    return [Segment(numbers[n], numbers[n + 1]) for n in range(0, len(numbers), 2)]


def decimal(text: bytes) -> int:
    """Raises BadImage."""
    if not text.isdigit() or len(text) > MAX_NUMBER_DIGITS:
        raise _invalid()
    return int(text)


def _invalid() -> BadImage:
    return BadImage("archive/tar: invalid tar header")
