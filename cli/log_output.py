"""Printing log streams: the bytes of a container to the same descriptors that it wrote them to."""

from __future__ import annotations

import sys
from collections.abc import Callable

from cli.failures import CliFailure
from cli.multiplex import STDERR, SYSTEM_ERROR, BadFrame, Demultiplexer
from cluster.wire.http_client import Answer


def copy(answer: Answer, *, raw: bool) -> None:
    """Print the whole stream as it comes; `raw` for a container with a terminal, whose stream has no frames."""
    if raw:
        for piece in answer.pieces():
            write(1, piece)
        return
    each_frame(answer, write)


def each_frame(answer: Answer, take: Callable[[int, bytes], None]) -> None:
    """Call `take(stream, payload)` for each piece. Raises CliFailure with the daemon's own error."""
    demultiplexer = Demultiplexer()
    try:
        for piece in answer.pieces():
            for stream, payload in demultiplexer.feed(piece):
                if stream == SYSTEM_ERROR:
                    raise CliFailure(f"error from daemon in stream: {payload.decode(errors='replace')}")
                take(stream, payload)
    except BadFrame as e:
        raise CliFailure(str(e)) from e


def write(stream: int, data: bytes) -> None:
    """Bytes to our standard output, or error for stream 2, at once."""
    out = sys.stderr if stream == STDERR else sys.stdout
    out.flush()
    out.buffer.write(data)
    out.buffer.flush()
