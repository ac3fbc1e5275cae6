"""Docker's json-file format: one JSON object on each line with `log`, `stream` and `time`. Owns the format, forwards
and backwards, and no file.

A record whose `log` does not end with a newline goes on in the stream's next one: lines over RECORD_MAX_BYTES, and
lines that were not whole when they were read, so that a crash loses none. Bytes that are no UTF-8 become U+FFFD, as in
Docker. Where a run of the container begins and ends stands a record with an empty `log`, whose stream is `begin` or
`end`.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from runtime.supervisor.frames import BEGIN, END, READ_BYTES, STDERR, STDOUT, Frame

RECORD_MAX_BYTES = 16 * 1024
"""Of a line, in one record (Docker's figure)."""
MARKS = tuple(map(chr, range(0xFDD0, 0xFDD8)))
"""Noncharacters of Unicode: text that is exchanged has none."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LINE_MAX_BYTES = 8 * RECORD_MAX_BYTES + 1024
"""Of a record as JSON: every byte may become an escape of six."""
FIRST_BYTE = b"{"
NAMES = {STDOUT: "stdout", STDERR: "stderr", BEGIN: "begin", END: "end"}
NUMBERS = {name: number for number, name in NAMES.items()}


class _Entry(msgspec.Struct):
    log: str = ""
    stream: str = "stdout"
    time: str = ""


class JsonLines:
    """Encodes chunks. Keeps of each stream at most the three bytes of a character that has not come whole."""

    def __init__(self) -> None:
        self._decoders = {number: codecs.getincrementaldecoder("utf-8")("replace") for number in (STDOUT, STDERR)}

    def encode(self, stream: int, timestamp_ns: int, payload: bytes) -> bytes:
        """The records of one chunk, each with its newline."""
        when = format_time(timestamp_ns)
        if stream in self._decoders:
            return _records(self._decoders[stream].decode(payload), stream, when)
        rests = ((number, decoder.decode(b"", True)) for number, decoder in self._decoders.items())
        return b"".join(_record(rest, number, when) for number, rest in rests if rest) + _record("", stream, when)


def _records(text: str, stream: int, when: str) -> bytes:
    """Lines are encoded together, with a character that no line has between them; it becomes what stands between two records."""
    if _may_have_long_lines(text):
        return b"".join(_record(piece, stream, when) for piece in _pieces(text.split("\n")))
    whole, newline, rest = text.rpartition("\n")
    last = _record(rest, stream, when) if rest else b""
    if not newline:
        return last
    mark = next((mark for mark in MARKS if mark not in whole), "")
    if not mark:
        mark, whole = MARKS[0], whole.replace(MARKS[0], REPLACEMENT)
    end = f'\\n","stream":"{NAMES[stream]}","time":"{when}"}}\n'.encode()
    encoded = msgspec.json.encode(whole.replace("\n", mark))
    return b'{"log":' + encoded[:-1].replace(mark.encode(), end + b'{"log":"') + end + last


def _may_have_long_lines(text: str) -> bool:
    """A line that is too long fills one of these windows."""
    window = RECORD_MAX_BYTES // 2
    return any(text.find("\n", begin, begin + window) < 0 for begin in range(0, len(text) - window, window))


def _pieces(lines: list[str]) -> Iterator[str]:
    """Lines with their newlines (the last has none), none longer than a record may be."""
    for number, line in enumerate(lines, 1):
        whole = line if number == len(lines) else f"{line}\n"
        yield from (whole[begin : begin + RECORD_MAX_BYTES] for begin in range(0, len(whole), RECORD_MAX_BYTES))


def _record(text: str, stream: int, when: str) -> bytes:
    return msgspec.json.encode(_Entry(text, NAMES[stream], when)) + b"\n"


def format_time(timestamp_ns: int) -> str:
    """RFC 3339 with as many digits as are needed, as Go prints it."""
    seconds, fraction = divmod(timestamp_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction:09}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def parse_time(text: str) -> int:
    """Nanoseconds. Raises ValueError."""
    seconds = int(datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp())
    fraction = text[19:].rstrip("Z").removeprefix(".")
    return seconds * 1_000_000_000 + (int(fraction[:9].ljust(9, "0")) if fraction else 0)


def decode(line: bytes) -> Frame | None:
    """None for a line that is no record."""
    try:
        entry = msgspec.json.decode(line, type=_Entry)
        return Frame(NUMBERS[entry.stream], parse_time(entry.time), entry.log.encode())
    except (msgspec.MsgspecError, KeyError, ValueError):
        return None


def frames(descriptor: int, offset: int) -> Iterator[tuple[Frame, int]]:
    """(record as a frame, offset after it) from `offset` on, up to the end or a line that is not whole (yet). What is
    no record is passed over."""
    block, start = b"", offset
    while True:
        end = block.find(b"\n", offset - start) + 1
        if not end:
            block, start = os.pread(descriptor, READ_BYTES, offset), offset
            end = block.find(b"\n") + 1
            if not end:
                return
        frame = decode(block[offset - start : end])
        offset = start + end
        if frame is not None:
            yield frame, offset


def frames_backwards(descriptor: int, end: int) -> Iterator[Frame]:
    """From the record that ends at `end` to the first."""
    tail = b""
    while end > 0:
        begin = max(0, end - READ_BYTES)
        block = os.pread(descriptor, end - begin, begin) + tail
        lines = block.split(b"\n")
        tail = lines[0] if begin else b""
        for line in reversed(lines[1:] if begin else lines):
            frame = decode(line) if line else None
            if frame is not None:
                yield frame
        if begin:
            tail += b"\n"
        end = begin


def whole_size(descriptor: int) -> int:
    """Where the last whole record ends."""
    size = end = os.fstat(descriptor).st_size
    while end > 0:
        begin = max(0, end - LINE_MAX_BYTES)
        found = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0 if size else size
