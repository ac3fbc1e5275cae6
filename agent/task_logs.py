"""The node's side of `service logs`: the lines of its tasks' containers, sent to the manager that asks over this node's session."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

import trio

from cluster.wire.calls import LogLine, LogsOf
from cluster.wire.peer import Caller, Handler
from runtime import logs

if TYPE_CHECKING:
    from agent.containers import Containers
    from agent.records import Record

QUEUE_LINES: Final = 256  # lines that wait for a slow manager; beyond it the reading of files waits


def serve_logs(containers: Containers, node_id: str) -> Handler:
    """The handler of `node.logs`."""

    async def handler(_caller: Caller, request: LogsOf) -> AsyncGenerator[LogLine, None]:
        wanted = [r for r in containers.records() if r.task_id in request.tasks]
        send, receive = trio.open_memory_channel[LogLine](QUEUE_LINES)
        async with trio.open_nursery() as nursery:
            async with send:
                for record in wanted:
                    nursery.start_soon(_copy, containers, record, node_id, request, send.clone())
            async for line in receive:
                yield line

    return handler


async def _copy(containers: Containers, record: Record, node_id: str, request: LogsOf, send: trio.MemorySendChannel[LogLine]) -> None:
    path = containers.log_path(record)
    streams = {s for s, asked in ((1, request.stdout), (2, request.stderr)) if asked}
    until_ns = request.until_ns or None

    def line(entry: logs.Record) -> LogLine:
        return LogLine(record.task_id, record.service_id, node_id, entry.stream, entry.timestamp_ns, entry.data)

    async with send:
        if not request.follow:
            for entry in logs.read(path, since_ns=request.since_ns, until_ns=until_ns, tail=request.tail if request.tail >= 0 else None):
                if entry.stream in streams:
                    await send.send(line(entry))
            return
        async with trio.open_nursery() as nursery:

            async def stop_at_exit() -> None:
                await containers.wait(record.id, "not-running")
                nursery.cancel_scope.deadline = trio.current_time() + DRAIN_S

            nursery.start_soon(stop_at_exit)
            async for entry in logs.follow(path, since_ns=request.since_ns, tail=request.tail if request.tail >= 0 else None):
                if entry.stream in streams:
                    await send.send(line(entry))
            nursery.cancel_scope.deadline = -math.inf


DRAIN_S: Final = 0.2  # after the exit the last lines are in the file already; this bounds their reading
