"""The node's side of `service logs`: the lines of its tasks' containers, sent to the manager that asks over this node's session."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import trio

from cluster.wire.calls import LogLine, LogsOf
from cluster.wire.peer import Caller, Handler
from runtime import logs

if TYPE_CHECKING:
    from agent.containers import Containers
    from agent.records import Record

QUEUE_LINES: Final = 256  # lines that wait for a slow manager; beyond it the reading of files waits
STREAM_NUMBERS: Final = {"stdout": 1, "stderr": 2}


def serve_logs(containers: Containers, node_id: str, nursery: trio.Nursery) -> Handler:
    """The handler of `node.logs`; the files are read by tasks of `nursery`, which end with the request."""

    async def handler(_caller: Caller, request: LogsOf) -> AsyncGenerator[LogLine, None]:
        send, receive = trio.open_memory_channel[LogLine](QUEUE_LINES)
        scope = trio.CancelScope()
        records = [record for record in containers.records() if record.task_id in request.tasks]
        nursery.start_soon(_copy_all, scope, containers, records, node_id, request, send)
        try:
            async for line in receive:
                yield line
        finally:
            scope.cancel()  # a container that says nothing would hold its file, and whoever waits for it, as long as it runs
            receive.close()

    return handler


async def _copy_all(
    scope: trio.CancelScope, containers: Containers, records: Sequence[Record], node_id: str, request: LogsOf, send: trio.MemorySendChannel[LogLine]
) -> None:
    with scope, send:
        async with trio.open_nursery() as nursery:
            for record in records:
                nursery.start_soon(_copy, containers, record, node_id, request, send)


async def _copy(containers: Containers, record: Record, node_id: str, request: LogsOf, send: trio.MemorySendChannel[LogLine]) -> None:
    path = containers.log_path(record)
    wanted = {name for name, asked in (("stdout", request.stdout), ("stderr", request.stderr)) if asked}
    tail = request.tail if request.tail >= 0 else None

    async def forward(entry: logs.Record) -> None:
        if entry.stream in wanted:
            number = STREAM_NUMBERS[entry.stream]
            await send.send(LogLine(record.task_id, record.service_id, node_id, number, entry.timestamp_ns, entry.data))

    try:
        if not request.follow or not containers.is_running(record):
            for entry in logs.read(path, since_ns=request.since_ns, until_ns=request.until_ns, tail=tail):
                await forward(entry)
            return
        async with aclosing(logs.follow(path, since_ns=request.since_ns, until_ns=request.until_ns, tail=tail)) as batches:
            async for batch in batches:
                for entry in batch:
                    await forward(entry)
    except (trio.BrokenResourceError, FileNotFoundError):
        pass  # who asked has gone, or the container has
