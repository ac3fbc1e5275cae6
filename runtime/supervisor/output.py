"""A container's output: read from its FIFOs or terminal, written to its log, copied to whoever is attached. Owns
those descriptors.

Back-pressure is blocking: while somebody attached does not read, the container's stream is not read either. Of what both streams hold at one
moment standard error comes first, as in Docker's logs: which was written first can't be known.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, field

from runtime.supervisor.chunks import CHUNK_BYTES, Chunks
from runtime.supervisor.frames import BEGIN, END, STDERR, STDOUT
from runtime.supervisor.logfile import LogWriter
from runtime.supervisor.loop import ENDED, READABLE, WRITABLE, Loop

ATTACHED_MAX = 64
"""Listeners on one container's stream."""


@dataclass(slots=True)
class _Sink:
    descriptor: int
    pending: bytearray = field(default_factory=bytearray)
    closing: bool = False


class Output:
    """The streams of one run of a container. `close` after the container's end drains them."""

    def __init__(self, loop: Loop, log: LogWriter | None, chunks: Chunks, container_id: str) -> None:
        self._loop = loop
        self._log = log
        self._chunks = chunks
        self._container_id = container_id
        self._sources: dict[int, int] = {}
        self._sinks: dict[int, list[_Sink]] = {STDOUT: [], STDERR: []}

    def begin(self) -> None:
        """Marks in the log where a new run begins."""
        if self._log is not None:
            self._log.write(BEGIN, time.time_ns(), b"")

    def go_on(self, stream: int, data: bytes) -> None:
        """Brings to its end what an earlier supervisor began."""
        if self._log is not None and data:
            self._log.write(stream, time.time_ns(), data)
            self._chunks.settle()

    def add_source(self, stream: int, descriptor: int) -> None:
        """Takes over a non-blocking descriptor and reads it from now on."""
        self._sources[stream] = descriptor

        def readable(_events: int) -> None:
            if stream == STDOUT and STDERR in self._sources and not self._is_held(STDERR):
                self._pump(STDERR)
            self._pump(stream)

        self._loop.watch(descriptor, readable)

    def attach(self, stream: int) -> int:
        """The read end of a pipe that gets a copy of what comes from now on; the caller's to close. Raises OSError
        (EUSERS when there are too many)."""
        if len(self._sinks[stream]) >= ATTACHED_MAX:
            raise OSError(errno.EUSERS, f"more than {ATTACHED_MAX} clients are attached")
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(writer, False)
        sink = _Sink(writer)
        self._sinks[stream].append(sink)
        self._loop.watch(writer, lambda events: self._sink_event(stream, sink, events), 0)
        return reader

    def _pump(self, stream: int) -> bool:
        """One chunk; False when nothing was there."""
        try:
            data = self._take(stream)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal whose last user has gone
                raise
            return False
        if not data:
            return False
        if self._log is not None:
            self._log.write(stream, time.time_ns(), data)
            self._chunks.settle()
        for sink in list(self._sinks[stream]):
            sink.pending.extend(data)
            self._flush(stream, sink)
        if self._is_held(stream):
            self._loop.change(self._sources[stream], 0)
        return True

    def _is_held(self, stream: int) -> bool:
        """Somebody attached has to read first."""
        return any(sink.pending for sink in self._sinks[stream])

    def _take(self, stream: int) -> bytes:
        if self._log is None:
            return os.read(self._sources[stream], CHUNK_BYTES)
        return self._chunks.take(self._sources[stream], self._container_id, stream, self._log)

    def _flush(self, stream: int, sink: _Sink) -> None:
        try:
            while sink.pending:
                del sink.pending[: os.write(sink.descriptor, sink.pending)]
        except BlockingIOError:
            self._loop.change(sink.descriptor, WRITABLE)
            return
        except BrokenPipeError:
            self._drop(stream, sink)
            return
        if sink.closing:
            self._drop(stream, sink)
        else:
            self._loop.change(sink.descriptor, 0)

    def _sink_event(self, stream: int, sink: _Sink, events: int) -> None:
        if events & ENDED:
            self._drop(stream, sink)
        elif events & WRITABLE:
            self._flush(stream, sink)
        if stream in self._sources and not self._is_held(stream):
            self._loop.change(self._sources[stream], READABLE)

    def _drop(self, stream: int, sink: _Sink) -> None:
        if sink in self._sinks[stream]:
            self._sinks[stream].remove(sink)
            self._loop.forget(sink.descriptor)
            os.close(sink.descriptor)

    def close(self) -> None:
        """Reads what is left, marks the end in the log, lets the attached go when they have read it all."""
        for stream, descriptor in sorted(self._sources.items(), reverse=True):
            while self._pump(stream):
                pass
            self._loop.forget(descriptor)
            os.close(descriptor)
            del self._sources[stream]
        for stream, sinks in self._sinks.items():
            for sink in list(sinks):
                sink.closing = True
                self._flush(stream, sink)
        if self._log is not None:
            self._log.write(END, time.time_ns(), b"")
            self._log.close()
            self._log = None
