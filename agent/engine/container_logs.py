"""`/containers/ID/logs`: the runtime's log of one container in Docker's form, to its end or as it grows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import trio

from agent.engine.answers import stream_answer
from agent.engine.call import Call
from agent.engine.convert import log_time_text
from agent.engine.framing import STDERR, STDOUT, content_type, frame
from agent.engine.log_options import LogOptions, log_options_of
from agent.records import Record
from cluster.wire.http import Response
from runtime import logs


async def container_logs(call: Call) -> Response:
    """Following ends when the container has ended and its last line is out."""
    record = call.node.containers.find(call.names["id"])
    options = log_options_of(call)
    entries = _followed(call, record, options) if options.follow else _written(call, record, options)
    return stream_answer(_chosen(entries, options, tty=record.config.tty), content_type(call.version, tty=record.config.tty))


async def _chosen(entries: AsyncIterator[logs.Record], options: LogOptions, *, tty: bool) -> AsyncIterator[bytes]:
    streams = {stream for stream, asked in ((STDOUT, options.stdout), (STDERR, options.stderr)) if asked}
    async for entry in entries:
        if entry.stream in streams and not (options.until_ns and entry.timestamp_ns > options.until_ns):
            prefix = f"{log_time_text(entry.timestamp_ns)} ".encode() if options.timestamps else b""
            yield prefix + entry.data if tty else frame(entry.stream, prefix + entry.data)


def _read(call: Call, record: Record, options: LogOptions) -> tuple[logs.Record, ...]:
    path = call.node.containers.log_path(record)
    tail = options.tail if options.tail >= 0 else None
    return tuple(logs.read(path, since_ns=options.since_ns, until_ns=options.until_ns or None, tail=tail))


async def _written(call: Call, record: Record, options: LogOptions) -> AsyncIterator[logs.Record]:
    for entry in await trio.to_thread.run_sync(_read, call, record, options):
        yield entry


async def _followed(call: Call, record: Record, options: LogOptions) -> AsyncIterator[logs.Record]:
    """What is there, what comes, and what was still unread when the container ended."""
    containers, path = call.node.containers, call.node.containers.log_path(record)
    if not containers.is_running(record):
        async for entry in _written(call, record, options):
            yield entry
        return
    last_ns, seen = options.since_ns, 0  # the newest time, and how many lines of that very time went out
    tail = options.tail if options.tail >= 0 else None
    async with aclosing(logs.follow(path, since_ns=options.since_ns, tail=tail)) as growing:
        while (entry := await _next_before_exit(call, record, growing)) is not None:
            seen = seen + 1 if entry.timestamp_ns == last_ns else 1
            last_ns = entry.timestamp_ns
            yield entry
    for entry in await trio.to_thread.run_sync(lambda: tuple(logs.read(path, since_ns=last_ns, until_ns=None, tail=None))):
        if entry.timestamp_ns == last_ns and seen > 0:
            seen -= 1
        else:
            yield entry


async def _next_before_exit(call: Call, record: Record, growing: AsyncIterator[logs.Record]) -> logs.Record | None:
    """The next line; None when the container has ended first."""
    found: logs.Record | None = None
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            await call.node.containers.wait(record.id, "not-running")
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        found = await anext(growing, None)
        nursery.cancel_scope.cancel()
    return found
