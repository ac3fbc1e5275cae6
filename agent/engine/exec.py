"""`/containers/ID/exec` and `/exec/ID`: a further program in a running container, joined to the client's connection."""

from __future__ import annotations

from typing import Final

from agent.engine import unread_fields
from agent.engine.answers import json_answer
from agent.engine.call import Call
from agent.engine.convert_containers import exec_json
from agent.engine.convert_create import exec_config_of
from agent.engine.detach import keys_of
from agent.engine.framing import STDOUT, content_type, frame
from agent.engine.streams import Joint, exec_wires
from cluster.model.errors import Conflict, InvalidArgument
from cluster.wire.http import RawStream, Response, Stream
from runtime.errors import StartFailed

CONSOLE_SIZE: Final = (1, 42)  # before it a terminal's first size was for Windows alone
NO_SIZE: Final = (0, 0)
PREFIX: Final = "OCI runtime exec failed: exec failed: "
INSIDE: Final = "unable to start container process: "
"""What runc says of all that it finds out in the container; a folder that is not absolute it finds before."""
SUFFIX: Final = ": unknown"


async def create(call: Call) -> Response:
    call.node.containers.find(call.names["id"])
    config = exec_config_of(await call.fields(), call.names["id"])
    if not config.cmd:
        raise InvalidArgument("No exec command specified")
    try:
        keys_of(config.detach_keys)
    except InvalidArgument as error:
        raise InvalidArgument(f"Invalid escape keys ({config.detach_keys}) provided") from error
    return json_answer({"Id": call.node.containers.exec_create(config).id}, 201)


async def inspect(call: Call) -> Response:
    return json_answer(exec_json(call.node.containers.exec_find(call.names["id"])))


async def resize(call: Call) -> Response:
    height, width = call.needed_integer("h"), call.needed_integer("w")
    record = call.node.containers.exec_find(call.names["id"])
    if not record.running:
        raise Conflict(f"exec {record.id} is not running")
    await call.node.containers.exec_resize(record.id, height, width)
    return Response(200)


def _words(error: StartFailed) -> str:
    text = str(error)
    return PREFIX + ("" if text.startswith("Cwd must be") else INSIDE) + text + SUFFIX


def _refusal(call: Call, text: str, *, tty: bool) -> Response:
    """The connection is a stream already when Docker finds out: what went wrong comes on standard output, the status with inspect."""
    line = f"{text}\r\n".encode()

    async def hijack(stream: Stream) -> None:
        await stream.send_all(line if tty else frame(STDOUT, line))
        await stream.send_eof()

    return Response(200, (("Content-Type", content_type(call.version, tty=tty)),), hijack=hijack)


async def start(call: Call) -> Response:
    """Detached it answers at once. The program starts before the connection is handed over; its output waits in the pipes."""
    fields = await call.fields()
    containers, record = call.node.containers, call.node.containers.exec_find(call.names["id"])
    config, detach, raw = record.config, fields.flag("Detach"), fields.flag("Tty")
    keys = keys_of(config.detach_keys) if config.tty else b""
    size = fields.naturals("ConsoleSize")
    unread_fields.checked(fields, unread_fields.EXEC_START)
    try:
        started = await containers.exec_start(record.id, (size[0], size[1]) if len(size) == 2 and call.version >= CONSOLE_SIZE else NO_SIZE)
    except (StartFailed, InvalidArgument) as error:
        text = error.message if isinstance(error, InvalidArgument) else _words(error)
        if detach:
            raise InvalidArgument(text) from error
        return _refusal(call, text, tty=raw)
    wires = exec_wires(
        started,
        stdin=config.attach_stdin and not detach,
        stdout=(config.attach_stdout or config.tty) and not detach,
        stderr=config.attach_stderr and not detach and not raw,
        raw=raw,
        keys=keys,
    )
    joint = Joint(wires)
    if detach:
        call.background.start_soon(joint.discard)
        return Response(200)

    async def hijack(stream: RawStream) -> None:
        await joint.join(stream, lambda: containers.exec_wait(record.id), call.background, stream.wait_gone)

    return Response(200, (("Content-Type", content_type(call.version, tty=raw)),), hijack=hijack)
