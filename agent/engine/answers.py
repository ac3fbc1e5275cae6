"""What the handlers answer: JSON, nothing, JSON lines, and which status each error of ours has. Pure but for the streams that it wraps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from cluster.model.errors import NO_LEADER, ClusterError, NotLeader
from cluster.wire.http import Response, json_response
from netfabric.errors import FabricError
from runtime.errors import BadImage, ImageInUse, NoSuchContainer, NoSuchImage, RegistryFailed, RuntimeFault, StartFailed

Fault = ClusterError | RuntimeFault | FabricError | OSError
"""What a handler may raise because of the user or the world."""

_STATUS: Final[tuple[tuple[type[RuntimeFault], int], ...]] = (
    (BadImage, 400),
    (NoSuchImage, 404),
    (NoSuchContainer, 404),
    (ImageInUse, 409),
)
JSON_LINES: Final = (("Content-Type", "application/json"),)
NO_CONTENT: Final = Response(204)
NOT_MODIFIED: Final = 304
START_REFUSED: Final = (126, 127)


def json_answer(value: object, status: int = 200) -> Response:
    return json_response(value, status)


def error_answer(message: str, status: int) -> Response:
    return Response(NOT_MODIFIED) if status == NOT_MODIFIED else json_response({"message": message}, status)


def answer_of(error: Fault) -> Response:
    return error_answer(message_of(error), status_of(error))


def message_of(error: Fault) -> str:
    if isinstance(error, NotLeader):
        return NO_LEADER
    return error.message if isinstance(error, ClusterError) else str(error)


def status_of(error: Fault) -> int:
    if isinstance(error, ClusterError):
        return error.status
    if isinstance(error, RegistryFailed):
        return error.http_status
    if isinstance(error, StartFailed):
        return 400 if error.exit_status in START_REFUSED else 500
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def json_line(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def error_line(error: Fault) -> bytes:
    """What went wrong after a stream's answer had begun."""
    return json_line(failure(error))


def failure(error: Fault) -> dict[str, object]:
    message = message_of(error)
    return {"errorDetail": {"message": message}, "error": message}


def stream_answer(lines: AsyncIterator[bytes], content_type: str = "application/json") -> Response:
    return Response(200, (("Content-Type", content_type),), stream=lines)


def unserved(sentence: str) -> Response:
    """501 with one sentence that says what to do instead."""
    return error_answer(sentence, 501)

