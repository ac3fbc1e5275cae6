"""`/containers/ID/attach` and `/containers/ID/wait`: the two requests that a `docker run` holds while its container lives."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import msgspec

from agent.engine.answers import stream_answer
from agent.engine.call import Call
from agent.engine.container_logs import said_until
from agent.engine.convert import Json
from agent.engine.detach import keys_of
from agent.engine.framing import content_type
from agent.engine.streams import Joint, attach_wires
from agent.records import Record
from cluster.model.errors import ClusterError, Conflict, InvalidArgument
from cluster.wire.http import RawStream, Response

CONDITIONS: Final = ("not-running", "next-exit", "removed")


async def wait(call: Call) -> Response:
    """The headers go out at once; the body when the condition holds."""
    condition = call.text("condition") or "not-running"
    if condition not in CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition}"')
    record = call.node.containers.find(call.names["id"])

    async def body() -> AsyncIterator[bytes]:
        answer: Json
        try:
            status, _ = await call.node.containers.wait(record.id, condition)
            answer = {"StatusCode": status}
        except ClusterError as error:
            answer = {"StatusCode": -1, "Error": {"Message": error.message}}
        yield msgspec.json.encode(answer) + b"\n"

    return stream_answer(body())


async def attach(call: Call) -> Response:
    """Also to a container that has not been started yet: `docker run` attaches first. `logs`: what it has said so far comes first; without `stream` that
    is all."""
    containers, record = call.node.containers, call.node.containers.find(call.names["id"])
    tty = record.config.tty
    keys = keys_of(call.text("detachKeys"))
    stdin = call.flag("stdin") and record.config.open_stdin
    if record.state.status == "paused":
        raise Conflict(f"container {call.names['id']} is paused, unpause the container before attach")
    head = (("Content-Type", content_type(call.version, tty=tty)),)
    earlier = _said(call, record) if call.flag("logs") else None
    if not call.flag("stream"):
        return Response(200, head, hijack=lambda stream: _replay(stream, earlier))
    attached = await containers.attach(record.id)
    wires = attach_wires(attached, stdin=stdin, stdout=call.flag("stdout"), stderr=call.flag("stderr"), raw=tty, keys=keys if tty else b"")
    joint = Joint(wires, containers.input_ender(record.id) if stdin and record.config.stdin_once and not tty else None)
    containers.say_attached(record.id)

    async def hijack(stream: RawStream) -> None:
        try:
            await _replay(stream, earlier)
        except BaseException:
            call.background.start_soon(joint.discard)
            raise
        await joint.join(stream, None, call.background, stream.wait_gone)

    return Response(200, head, hijack=hijack)


def _said(call: Call, record: Record) -> AsyncGenerator[bytes, None]:
    """Until now: what comes later comes by the stream."""
    return said_until(call, record, time.time_ns(), stdout=call.flag("stdout"), stderr=call.flag("stderr"))


async def _replay(stream: RawStream, earlier: AsyncGenerator[bytes, None] | None) -> None:
    if earlier is not None:
        async with aclosing(earlier) as pieces:
            async for piece in pieces:
                await stream.send_all(piece)
