"""`/containers/ID/logs`: the runtime's log of one container in Docker's form, to its end or as it grows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final

import trio

from agent import log_attributes, log_settings
from agent.engine.answers import stream_answer
from agent.engine.call import Call
from agent.engine.convert import log_time_text
from agent.engine.framing import STDERR, STDOUT, content_type, frame
from agent.engine.log_options import LogOptions, log_options_of
from agent.records import Record
from cluster.wire.http import Response
from runtime import logs

_NUMBERS: Final = {"stdout": STDOUT, "stderr": STDERR}


async def container_logs(call: Call) -> Response:
    """Following ends when the container has ended and its last line is out."""
    record = call.node.containers.find(call.names["id"])
    options, tty = log_options_of(call), record.config.tty
    log_settings.readable(record.host)
    path, running = call.node.containers.log_path(record), call.node.containers.is_running(record)
    since_ns, until_ns, tail = options.since_ns, options.until_ns, options.tail if options.tail >= 0 else None
    if options.follow and running:
        found = logs.follow(path, since_ns=since_ns, until_ns=until_ns, tail=tail)
    else:
        found = _written(logs.read(path, since_ns=since_ns, until_ns=until_ns, tail=tail, unfinished=not running))
    details = log_attributes.details_of(record) + b" " if options.details else b""
    return stream_answer(_chosen(found, options, details, tty=tty), content_type(call.version, tty=tty))


def said_until(call: Call, record: Record, until_ns: int, *, stdout: bool, stderr: bool, raw: bool) -> AsyncGenerator[bytes, None]:
    """What a container has said so far, as `attach` replays it; `raw`: without frames. Raises where nothing is kept."""
    log_settings.readable(record.host)
    options = LogOptions(follow=False, tail=-1, since_ns=0, until_ns=until_ns, stdout=stdout, stderr=stderr, timestamps=False, details=False)
    running = call.node.containers.is_running(record)
    found = _written(logs.read(call.node.containers.log_path(record), since_ns=0, until_ns=until_ns, tail=None, unfinished=not running))
    return _chosen(found, options, b"", tty=raw)


async def _chosen(found: AsyncGenerator[tuple[logs.Record, ...], None], options: LogOptions, details: bytes, *, tty: bool) -> AsyncGenerator[bytes, None]:
    streams = {name for name, asked in (("stdout", options.stdout), ("stderr", options.stderr)) if asked}

    def shown(entry: logs.Record) -> bytes:
        prefix = f"{log_time_text(entry.timestamp_ns)} ".encode() if options.timestamps else b""
        line = prefix + details + entry.data
        return line if tty else frame(_NUMBERS[entry.stream], line)

    async with aclosing(found) as batches:
        async for batch in batches:
            if text := b"".join([shown(entry) for entry in batch if entry.stream in streams]):
                yield text


async def _written(records: Iterator[logs.Record]) -> AsyncGenerator[tuple[logs.Record, ...], None]:
    batches = logs.batches(records)
    while (batch := await trio.to_thread.run_sync(next, batches, None)) is not None:
        yield batch
