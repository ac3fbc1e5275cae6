"""`/festoon/raft/snapshot/…`: the managers' state out to a file of the user's, and a new cluster from such a file.

The bytes are sealed by the manager and opened by the one that is made of them; here they only pass. The key comes in a header, so that
it stands in no path.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

import trio

from agent.engine.answers import json_answer
from agent.engine.call import Call
from agent.engine.convert_nodes import availability_of
from agent.engine.swarm import LISTEN
from agent.entry import InitOptions
from cluster.identity import unlock_key
from cluster.identity.seal import KEY_BYTES
from cluster.model.errors import InvalidArgument
from cluster.wire.calls import SaveSnapshot
from cluster.wire.http import Response

KEY_HEADER: Final = "x-festoon-key"
MAX_UPLOAD_BYTES: Final = 1024 * 1024 * 1024
PIECE_BYTES: Final = 1024 * 1024


async def save(call: Call) -> Response:
    """The file. It is here whole before the answer begins, so that a failure is one sentence."""
    key = unlock_key.parse(_key_text(call))
    if len(key) != KEY_BYTES:
        raise InvalidArgument(f"a key for a snapshot has {KEY_BYTES} bytes")
    file = tempfile.TemporaryFile(dir=call.node.root)  # noqa: SIM115  closed by the stream that sends it
    try:
        async with call.node.swarm.stream("control.raft_snapshot", SaveSnapshot(key)) as pieces:
            async for piece in pieces:
                await trio.to_thread.run_sync(file.write, piece.data)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return Response(200, (("Content-Type", "application/octet-stream"),), stream=_sent(file))


async def _sent(file: BinaryIO) -> AsyncGenerator[bytes, None]:
    with file:
        while piece := await trio.to_thread.run_sync(file.read, PIECE_BYTES):
            yield piece


async def restore(call: Call) -> Response:
    """A new cluster of this node; its id."""
    asked = InitOptions(
        listen_address=call.text("listen-addr") or LISTEN,
        advertise_address=call.text("advertise-addr"),
        data_path_address=call.text("data-path-addr"),
        availability=availability_of(call.text("availability") or "active").value,
        restore_key=_key_text(call),
    )
    with tempfile.NamedTemporaryFile(dir=call.node.root, prefix="restore-") as file:
        size = 0
        async for piece in call.request.stream():
            size += len(piece)
            if size > MAX_UPLOAD_BYTES:
                raise InvalidArgument(f"the snapshot is longer than {MAX_UPLOAD_BYTES} bytes")
            await trio.to_thread.run_sync(file.write, piece)
        file.flush()
        return json_answer(await call.node.swarm.init(replace(asked, restore=Path(file.name))))


def _key_text(call: Call) -> str:
    text = call.request.headers.get(KEY_HEADER, "")
    if not text:
        raise InvalidArgument("the key that opens the snapshot is needed")
    return text
