"""A container's output: read from its FIFOs or terminal, written to its log, copied to whoever is attached. Owns
those descriptors.

Back-pressure is blocking: who is attached alone is waited for, and of several the fastest: meanwhile the container's stream is not read. What the others
have not read yet is kept for them, BEHIND_BYTES for all together; then the one with the most is let go, so that it stops neither the others nor
the container. Of what both streams hold at one moment that comes first which began to wait first: the kernel's list of what is ready is in that order.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, field
from typing import Final

from runtime.supervisor.chunks import CHUNK_BYTES, Chunks
from runtime.supervisor.frames import BEGIN, END, STDERR, STDOUT
from runtime.supervisor.logfile import LogWriter
from runtime.supervisor.loop import ENDED, READABLE, WRITABLE, Loop

ATTACHED_MAX = 64
"""Listeners on one container's stream."""

BEHIND_BYTES: Final = 16 * 1024 * 1024
"""Of one stream, kept for those who read more slowly than others."""


@dataclass(slots=True, eq=False)
class _Sink:
    """`client`: all that one client listens to."""

    stream: int
    descriptor: int
    client: list[_Sink]
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
            self._pump(stream)

        self._loop.watch(descriptor, readable)

    def attach(self, *streams: int) -> dict[int, int]:
        """For one client, by stream: the read end of a pipe that gets a copy of what comes from now on; the client's to close. Raises OSError
        (EUSERS when there are too many)."""
        client: list[_Sink] = []
        readers: dict[int, int] = {}
        try:
            for stream in streams:
                if len(self._sinks[stream]) >= ATTACHED_MAX:
                    raise OSError(errno.EUSERS, f"more than {ATTACHED_MAX} clients are attached")
                readers[stream], writer = os.pipe2(os.O_CLOEXEC)
                self._add_sink(_Sink(stream, writer, client))
        except OSError:
            self._let_go(client)
            for reader in readers.values():
                os.close(reader)
            raise
        return readers

    def _add_sink(self, sink: _Sink) -> None:
        os.set_blocking(sink.descriptor, False)
        sink.client.append(sink)
        self._sinks[sink.stream].append(sink)
        self._loop.watch(sink.descriptor, lambda events: self._sink_event(sink, events), 0)

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
            self._flush(sink)
        if self._is_held(stream):
            self._loop.change(self._sources[stream], 0)
        else:
            self._let_the_slowest_go(stream)
        return True

    def _is_held(self, stream: int) -> bool:
        """Those who are attached have to read first."""
        sinks = self._sinks[stream]
        return bool(sinks) and all(sink.pending for sink in sinks)

    def _let_the_slowest_go(self, stream: int) -> None:
        while sum(len(sink.pending) for sink in self._sinks[stream]) > BEHIND_BYTES:
            self._let_go(max(self._sinks[stream], key=lambda sink: len(sink.pending)).client)

    def _take(self, stream: int) -> bytes:
        if self._log is None:
            return os.read(self._sources[stream], CHUNK_BYTES)
        return self._chunks.take(self._sources[stream], self._container_id, stream, self._log)

    def _flush(self, sink: _Sink) -> None:
        try:
            while sink.pending:
                del sink.pending[: os.write(sink.descriptor, sink.pending)]
        except BlockingIOError:
            self._loop.change(sink.descriptor, WRITABLE)
            return
        except BrokenPipeError:
            self._drop(sink)
            return
        if sink.closing:
            self._drop(sink)
        else:
            self._loop.change(sink.descriptor, 0)

    def _sink_event(self, sink: _Sink, events: int) -> None:
        if events & ENDED:
            self._drop(sink)
        elif events & WRITABLE:
            self._flush(sink)
        self._go_on_reading(sink.stream)

    def _go_on_reading(self, stream: int) -> None:
        if stream in self._sources and not self._is_held(stream):
            self._loop.change(self._sources[stream], READABLE)

    def _drop(self, sink: _Sink) -> None:
        if sink in self._sinks[sink.stream]:
            self._sinks[sink.stream].remove(sink)
            self._loop.forget(sink.descriptor)
            os.close(sink.descriptor)

    def _let_go(self, client: list[_Sink]) -> None:
        for sink in client:
            self._drop(sink)
            self._go_on_reading(sink.stream)  # it may have been the one that was waited for there

    def close(self) -> None:
        """Reads what is left, marks the end in the log, lets the attached go when they have read it all."""
        for stream, descriptor in sorted(self._sources.items()):
            while self._pump(stream):
                pass
            self._loop.forget(descriptor)
            os.close(descriptor)
            del self._sources[stream]
        for sinks in self._sinks.values():
            for sink in list(sinks):
                sink.closing = True
                self._flush(sink)
        if self._log is not None:
            self._log.write(END, time.time_ns(), b"")
            self._log.close()
            self._log = None
