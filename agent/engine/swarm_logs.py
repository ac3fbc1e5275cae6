"""Logs of services and tasks: the managers' stream of lines in Docker's form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from agent.engine.answers import stream_answer
from agent.engine.call import Call
from agent.engine.convert import log_time_text
from agent.engine.framing import STDERR, STDOUT, content_type, frame
from agent.engine.log_options import log_options_of
from cluster.model.decimals import is_natural
from cluster.model.errors import ClusterError, InvalidArgument
from cluster.wire.calls import LogLine, LogsOf
from cluster.wire.http import Response

BAD_TAIL: Final = 'tail value must be a positive integer or "all"'
NEGATIVE_TAIL: Final = "negative tail values not supported"


def logs_answer(call: Call, *, tty: bool, services: tuple[str, ...] = (), tasks: tuple[str, ...] = ()) -> Response:
    """Raises InvalidArgument for options that can't be."""
    options = log_options_of(call)
    _check_tail(call.text("tail"))
    request = LogsOf(
        services=services,
        tasks=tasks,
        follow=options.follow,
        tail=options.tail,
        since_ns=options.since_ns,
        until_ns=options.until_ns,
        stdout=options.stdout,
        stderr=options.stderr,
    )
    details = call.flag("details")

    async def lines() -> AsyncIterator[bytes]:
        try:
            async with call.node.swarm.stream("control.logs", request) as found:
                async for line in found:
                    text = line_text(line, timestamps=options.timestamps, details=details)
                    yield text if tty else frame(line.stream, text)
        except ClusterError as error:
            text = f"Error grabbing logs: {error.message}\n".encode()
            yield text if tty else frame(STDERR, text)

    return stream_answer(lines(), content_type(call.version, tty=tty))


def _check_tail(text: str) -> None:
    """Of a container's logs whatever is no number means all, of a service's it is refused."""
    if text in ("", "all") or is_natural(text):
        return
    raise InvalidArgument(NEGATIVE_TAIL if is_natural(text.removeprefix("-")) else BAD_TAIL)


def line_text(line: LogLine, *, timestamps: bool, details: bool) -> bytes:
    """The line with what was asked for in front: its time, then where it comes from. Pure."""
    assert line.stream in (STDOUT, STDERR)
    prefix = f"{log_time_text(line.timestamp_ns)} " if timestamps else ""
    if details:
        origin = {"node": line.node_id, "service": line.service_id, "task": line.task_id}
        prefix += ",".join(f"com.docker.swarm.{kind}.id={identifier}" for kind, identifier in origin.items()) + " "
    return prefix.encode() + line.data
