"""Work that takes a while, answered by Docker's progress lines as it goes on. Owns the lines, and when a failure is a status (before the first line) or the
last line; never does the work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final

import trio

from agent.engine.answers import Fault, error_line, json_line, stream_answer
from agent.engine.call import Call
from agent.engine.convert import Json
from cluster.model.errors import ClusterError
from cluster.wire.http import Response
from netfabric.errors import FabricError
from runtime.errors import RuntimeFault
from runtime.images.progress import Progress, Report

MAX_LINES: Final = 32_768
"""Progress lines that wait for a slow client: more than the largest pull has (runtime/images/progress.py bounds them)."""

BAR_CHARACTERS: Final = 50
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")

async def progress_answer(call: Call, work: Callable[[Report], Awaitable[Iterable[Json]]]) -> Response:
    """Run the work beside the request and answer with its lines, at last those that it returns. A client that goes away ends it."""
    send, receive = trio.open_memory_channel[bytes](MAX_LINES)
    scope = trio.CancelScope()
    failures: list[Fault] = []

    def report(step: Progress) -> None:
        try:
            send.send_nowait(json_line(progress_json(step)))
        except (trio.WouldBlock, trio.BrokenResourceError):
            return  # nobody reads, or nobody is there any more: what can't be stopped goes on, its lines don't

    async def run() -> None:
        with scope, send:
            try:
                for last in await work(report):
                    with suppress(trio.WouldBlock, trio.BrokenResourceError):
                        send.send_nowait(json_line(last))
            except (RuntimeFault, ClusterError, FabricError, OSError) as error:
                failures.append(error)

    call.background.start_soon(run)
    handed_over = False
    try:
        first = await receive.receive()
        handed_over = True
    except trio.EndOfChannel:
        raise failures[0] from None
    finally:
        if not handed_over:
            scope.cancel()
    return stream_answer(_lines(first, receive, scope, failures))


async def _lines(first: bytes, receive: trio.MemoryReceiveChannel[bytes], scope: trio.CancelScope, failures: list[Fault]) -> AsyncIterator[bytes]:
    try:
        yield first
        async with receive:
            async for line in receive:
                yield line
        for failure in failures:
            yield error_line(failure)
    finally:
        scope.cancel()


def progress_json(step: Progress) -> Json:
    """A line as Docker's clients read it. Pure."""
    line: Json = {"status": step.status}
    if step.layer:
        line["progressDetail"] = {"current": step.current_bytes, "total": step.total_bytes} if step.total_bytes else {}
        if step.total_bytes:
            line["progress"] = bar(step.current_bytes, step.total_bytes)
    if step.id:
        line["id"] = step.id
    return line


def bar(current_bytes: int, total_bytes: int) -> str:
    """`[====>      ]  1.2MB/8.5MB`."""
    filled = min(BAR_CHARACTERS, BAR_CHARACTERS * current_bytes // total_bytes)
    head = "=" * filled + ">" if filled < BAR_CHARACTERS else "=" * BAR_CHARACTERS + ">"
    return f"[{head:<{BAR_CHARACTERS + 1}}] {human(current_bytes):>8}/{human(total_bytes)}"


def human(size_bytes: int) -> str:
    """Four significant digits and a decimal unit, as Docker."""
    size, unit = float(size_bytes), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.4g}{_UNITS[unit]}"
