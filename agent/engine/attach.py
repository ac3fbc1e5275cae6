"""`/containers/ID/attach` and `/containers/ID/wait`: the two requests that a `docker run` holds while its container lives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from agent.engine.answers import stream_answer
from agent.engine.call import Call
from agent.engine.convert import Json
from agent.engine.detach import keys_of
from agent.engine.framing import content_type
from agent.engine.streams import Joint, attach_wires
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
    """Also to a container that has not been started yet: `docker run` attaches first."""
    containers, record = call.node.containers, call.node.containers.find(call.names["id"])
    tty = record.config.tty
    keys = keys_of(call.text("detachKeys"))
    stdin = call.flag("stdin") and record.config.open_stdin
    if record.state.status == "paused":
        raise Conflict(f"container {call.names['id']} is paused, unpause the container before attach")
    attached = await containers.attach(record.id)
    wires = attach_wires(attached, stdin=stdin, stdout=call.flag("stdout"), stderr=call.flag("stderr"), raw=tty, keys=keys if tty else b"")
    joint = Joint(wires, containers.input_ender(record.id) if stdin and record.config.stdin_once and not tty else None)
    containers.say_attached(record.id)

    async def hijack(stream: RawStream) -> None:
        await joint.join(stream, None, call.background, stream.wait_gone)

    return Response(200, (("Content-Type", content_type(call.version, tty=tty)),), hijack=hijack)
