"""`/containers/ID/attach` and `/containers/ID/wait`: the two requests that a `docker run` holds while its container lives."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, NamedTuple

import msgspec

from agent.engine import websocket
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

Client = RawStream | websocket.WebSocketStream
Hijack = Callable[[Client], Awaitable[None]]

CHOSEN_STREAMS: Final = (1, 42)
"""Before that who attaches by WebSocket got all of them."""

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


class _Wanted(NamedTuple):
    """Which streams of the container a client is to be joined with; `raw`: without Docker's frames, one like the other."""

    stdin: bool
    stdout: bool
    stderr: bool
    raw: bool


async def attach(call: Call) -> Response:
    """Also to a container that has not been started yet: `docker run` attaches first. `logs`: what it has said so far comes first; without `stream` that
    is all."""
    record = call.node.containers.find(call.names["id"])
    tty = record.config.tty
    head = (("Content-Type", content_type(call.version, tty=tty)),)
    return Response(200, head, hijack=await _joining(call, record, _Wanted(call.flag("stdin"), call.flag("stdout"), call.flag("stderr"), tty)))


async def attach_by_websocket(call: Call) -> Response:
    """The same for browsers: all outputs as they come, without frames that tell them apart."""
    record = call.node.containers.find(call.names["id"])
    head = websocket.accepted(call.request.headers)
    stdin, stdout, stderr = (call.version < CHOSEN_STREAMS or call.flag(name) for name in ("stdin", "stdout", "stderr"))
    hijack = await _joining(call, record, _Wanted(stdin, stdout, stderr, raw=True))

    async def in_messages(stream: RawStream) -> None:
        client = websocket.WebSocketStream(stream)
        await hijack(client)
        await client.send_eof()

    return Response(101, head, hijack=in_messages)


async def _joining(call: Call, record: Record, wanted: _Wanted) -> Hijack:
    """What joins a client with the container, which is attached to from now on."""
    containers, tty = call.node.containers, record.config.tty
    keys = keys_of(call.text("detachKeys"))
    stdin = wanted.stdin and record.config.open_stdin
    if record.state.status == "paused":
        raise Conflict(f"container {call.names['id']} is paused, unpause the container before attach")
    earlier = _said(call, record, wanted) if call.flag("logs") else None
    if not call.flag("stream"):
        return lambda client: _replay(client, earlier)
    attached = await containers.attach(record.id)
    wires = attach_wires(attached, stdin=stdin, stdout=wanted.stdout, stderr=wanted.stderr, raw=wanted.raw, keys=keys if tty else b"")
    joint = Joint(wires, containers.input_ender(record.id) if stdin and record.config.stdin_once and not tty else None)
    containers.say_attached(record.id)

    async def hijack(client: Client) -> None:
        try:
            await _replay(client, earlier)
        except BaseException:
            call.background.start_soon(joint.discard)
            raise
        await joint.join(client, None, call.background, client.wait_gone)

    return hijack


def _said(call: Call, record: Record, wanted: _Wanted) -> AsyncGenerator[bytes, None]:
    """Until now: what comes later comes by the stream."""
    return said_until(call, record, time.time_ns(), stdout=wanted.stdout, stderr=wanted.stderr, raw=wanted.raw)


async def _replay(stream: Client, earlier: AsyncGenerator[bytes, None] | None) -> None:
    if earlier is not None:
        async with aclosing(earlier) as pieces:
            async for piece in pieces:
                await stream.send_all(piece)
