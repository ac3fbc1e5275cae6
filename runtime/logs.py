"""Reading what containers have written: frames back to lines, with their times; all there is, or as it comes. Owns
no file's content.

A record is one line (with its newline) of one stream, dated by its first byte; a line over LINE_MAX_BYTES, or one
without a newline at the end, is a record marked `partial`. Both formats are read (runtime/supervisor/logformat.py).
Following waits for runtime/log_watch.py; nothing is polled.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise

from runtime import log_watch
from runtime.log_files import LogFile, close_all, open_all
from runtime.supervisor.frames import BEGIN, END, STDERR, STDOUT, Frame
from runtime.supervisor.logformat import frames, frames_backwards, whole_size

LINE_MAX_BYTES = 1024 * 1024
PIECE_BYTES = 16 * 1024  # as much of a line as Docker keeps in one; `tail` counts these
BATCH_MAX_LINES = 128
BATCH_BYTES = 16 * 1024
"""A batch of lines ends with the one that brings it to this. Whatever else the event loop does waits for one batch of each follower: with batches four
times as large twenty followers of a container that never pauses kept a short answer waiting three times as long."""
STREAMS = {STDOUT: "stdout", STDERR: "stderr"}


@dataclass(frozen=True, slots=True)
class Record:
    stream: str  # stdout, stderr
    timestamp_ns: int
    data: bytes
    partial: bool = False


@dataclass(slots=True)
class Lines:
    """Joins the chunks of each stream to lines. `feed` and `flush` give the lines that became whole."""

    _open: dict[int, tuple[int, bytearray]] = field(default_factory=dict)

    def feed(self, frame: Frame) -> Iterator[Record]:
        """A mark (BEGIN, END) ends every line that is open."""
        if frame.stream not in STREAMS:
            yield from self.flush()
            return
        stream, now_ns = STREAMS[frame.stream], frame.timestamp_ns
        started_ns, pending = self._open.pop(frame.stream, (now_ns, bytearray()))
        pending += frame.payload
        begin = 0
        while (end := pending.find(b"\n", begin) + 1) > 0:
            yield Record(stream, started_ns, bytes(pending[begin:end]))
            begin, started_ns = end, now_ns
        while len(pending) - begin > LINE_MAX_BYTES:
            yield Record(stream, started_ns, bytes(pending[begin : begin + LINE_MAX_BYTES]), partial=True)
            begin, started_ns = begin + LINE_MAX_BYTES, now_ns
        if begin < len(pending):
            self._open[frame.stream] = started_ns, pending[begin:]

    def flush(self) -> Iterator[Record]:
        """What has no newline, marked."""
        for stream, (started_ns, pending) in sorted(self._open.items()):
            yield Record(STREAMS[stream], started_ns, bytes(pending), partial=True)
        self._open.clear()


def read(path: str, *, since_ns: int = 0, until_ns: int = 0, tail: int | None = None, unfinished: bool = True) -> Iterator[Record]:
    """The lines dated since_ns..until_ns (0: no bound), the last `tail` of all lines only (None: all). A log that
    does not exist is empty. Without `unfinished` a line that a running container has not ended yet is left out."""
    files = open_all(path)
    lines = Lines()
    try:
        source = _frames_of(files, _end_of(files), tail)
        records: Iterable[Record] = chain(_joined(source, lines), _last(lines) if unfinished else ())
        for record in records if tail is None else _ending(records, tail):
            if _is_asked(record, since_ns, until_ns):
                yield record
    finally:
        close_all(files)


def batches(records: Iterable[Record]) -> Iterator[tuple[Record, ...]]:
    """So many at once that who passes them on is not woken for each line, and so few that they are little memory."""
    found: list[Record] = []
    size = 0
    for record in records:
        found.append(record)
        size += len(record.data)
        if size >= BATCH_BYTES or len(found) == BATCH_MAX_LINES:
            yield tuple(found)
            found, size = [], 0
    if found:
        yield tuple(found)


async def follow(path: str, *, since_ns: int = 0, until_ns: int = 0, tail: int | None = None) -> AsyncGenerator[tuple[Record, ...]]:
    """As `read`, in batches, then new lines as they come, until the container's run has ended or a line is later than
    `until_ns`. Waits for a log that does not exist yet, in a folder that does (else FileNotFoundError). To stop
    early, cancel, or close the iterator (contextlib.aclosing)."""
    growth = log_watch.watch(path)
    follower = _Follower(path)
    try:
        found = follower.begin(tail)
        while True:
            for batch in batches(found):
                if asked := tuple(record for record in batch if _is_asked(record, since_ns, until_ns)):
                    yield asked
                if until_ns and batch[-1].timestamp_ns > until_ns:
                    return
            if follower.ended:
                return
            await growth.wait()
            found = follower.more()
    finally:
        growth.close()
        follower.close()


def _is_asked(record: Record, since_ns: int, until_ns: int) -> bool:
    return record.timestamp_ns >= since_ns and (not until_ns or record.timestamp_ns <= until_ns)


class _Follower:
    """Where a follower is: one open file and the offset in it. Goes on to the next file when its own was rotated."""

    def __init__(self, path: str) -> None:
        self.ended = False
        self._path = path
        self._lines = Lines()
        self._file: LogFile | None = None
        self._offset = 0

    def begin(self, tail: int | None) -> Iterator[Record]:
        """What is there already."""
        files = open_all(self._path)
        if not files:
            return
        self._file, self._offset = files[-1], _end_of(files)
        try:
            records: Iterable[Record] = _joined(self._noted(_frames_of(files, self._offset, tail)), self._lines)
            yield from records if tail is None else _ending(records, tail)
        finally:
            close_all(files[:-1])

    def more(self) -> Iterator[Record]:
        """All that has been added."""
        while self._file is not None or self._open_next():
            assert self._file is not None
            yield from _joined(self._noted(self._new_frames(self._file)), self._lines)
            if not self._rotated(self._file) or not self._open_next():
                return

    def _new_frames(self, file: LogFile) -> Iterator[Frame]:
        for frame, end in frames(file.descriptor, self._offset):
            self._offset = end
            yield frame

    def _noted(self, source: Iterable[Frame]) -> Iterator[Frame]:
        for frame in source:
            self.ended = frame.stream == END
            yield frame

    def _rotated(self, file: LogFile) -> bool:
        try:
            return os.stat(self._path).st_ino != file.inode
        except FileNotFoundError:
            return False  # between two renames: the next event comes with the new file

    def _open_next(self) -> bool:
        """The file after ours, found by the place that ours has now; the oldest when ours has been dropped."""
        files = open_all(self._path)
        if not files:
            return False
        chosen = files[0]
        if self._file is not None:
            newest_first = list(pairwise(files))[::-1]  # the number of a compressed one's inode may have been given away
            chosen = next((new for old, new in newest_first if old.inode == self._file.inode), chosen)
            self._file.close()
        close_all([file for file in files if file is not chosen])
        self._file, self._offset = chosen, 0
        return True

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _ending(records: Iterable[Record], tail: int) -> Iterable[Record]:
    """The last lines: as many as have `tail` pieces, the first of them without its first ones where that is too much."""
    last = deque(records, maxlen=tail)
    left = tail - sum(_pieces(record) for record in last)
    while left < 0:
        first = last.popleft()
        left += _pieces(first)
        if left > 0:
            dropped = (_pieces(first) - left) * PIECE_BYTES
            last.appendleft(replace(first, data=first.data[dropped:]))
            left = 0
    return last


def _pieces(record: Record) -> int:
    return (len(record.data) - 1) // PIECE_BYTES + 1 if record.data.endswith(b"\n") else -(-len(record.data) // PIECE_BYTES)


def _joined(source: Iterable[Frame], lines: Lines) -> Iterator[Record]:
    for frame in source:
        yield from lines.feed(frame)


def _last(lines: Lines) -> Iterator[Record]:
    yield from lines.flush()


def _end_of(files: list[LogFile]) -> int:
    """Where the newest one's last whole frame ends now."""
    return whole_size(files[-1].descriptor) if files else 0


def _frames_of(files: list[LogFile], end: int, tail: int | None) -> Iterator[Frame]:
    """All frames, of the newest file up to the given end, oldest first; with `tail` at least those that hold the last `tail` lines, found from the end.
    Files that have been read are closed, except the newest."""
    if tail is None:
        for file in files:
            for frame, offset in frames(file.descriptor, 0):
                if file is files[-1] and offset > end:
                    break
                yield frame
            if file is not files[-1]:
                file.close()
        return
    found: list[Frame] = []
    count = 0
    for file in reversed(files):
        for frame in frames_backwards(file.descriptor, end if file is files[-1] else whole_size(file.descriptor)):
            found.append(frame)
            count += frame.payload.count(b"\n") + (frame.stream == BEGIN)
            if count > 2 * tail + 1:  # twice: a line may be spread over frames of the other stream's lines
                yield from reversed(found)
                return
    yield from reversed(found)
