"""The Engine API on the node's unix socket: versions, headers, routes, and errors as Docker's clients expect them.

Source: the Engine API's "Versioning" and "Errors". Handlers live in one module per noun; agent/engine/routes.py is their table.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

import trio

from agent.engine.answers import answer_of, error_answer
from agent.engine.call import ApiVersion, Call
from agent.engine.routes import Table, compile_routes, find
from cluster.model.errors import ClusterError, InvalidArgument
from cluster.version import API_VERSION, MIN_API_VERSION, VERSION
from cluster.wire.http import Application, Request, Response, serve_unix
from netfabric.errors import FabricError
from runtime.errors import RuntimeFault

if TYPE_CHECKING:
    from agent.node import Node

_VERSIONED: Final = re.compile(r"/v(\d{1,4})\.(\d{1,4})(/.*)")
HEADERS: Final = (
    ("Api-Version", API_VERSION),
    ("Docker-Experimental", "false"),
    ("Ostype", "linux"),
    ("Server", f"Festoon/{VERSION} (linux)"),
)


async def run_engine(
    node: Node, path: str | os.PathLike[str], *, group: int = -1, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; reports when the socket listens. Raises Conflict when another server listens there."""
    async with trio.open_nursery() as background:
        await serve_unix(path, make_application(node, background), group=group, task_status=task_status)


def make_application(node: Node, background: trio.Nursery) -> Application:
    table = compile_routes()

    async def application(request: Request) -> Response:
        answer = await answer_to(node, table, request, background)
        return Response(answer.status, (*answer.headers, *HEADERS), answer.body, answer.stream, answer.hijack)

    return application


async def answer_to(node: Node, table: Table, request: Request, background: trio.Nursery) -> Response:
    """The answer without the headers that every answer carries. Faults of the user and of the world become answers;
    our own bugs do not."""
    try:
        version, path = split_version(request.path)
        if request.method == "OPTIONS":
            return Response(200)
        found = find(table, request.method, path)
        if found is None:
            return error_answer("page not found", 404)
        handler, names = found
        return await handler(Call(node, request, names, version, background))
    except (ClusterError, RuntimeFault, FabricError, OSError) as error:
        return answer_of(error)


def split_version(path: str) -> tuple[ApiVersion, str]:
    """`/v1.41/info` -> ((1, 41), "/info"); without a version the newest. Raises InvalidArgument in Docker's words."""
    match = _VERSIONED.fullmatch(path)
    if match is None:
        return parse_version(API_VERSION), path
    version = (int(match[1]), int(match[2]))
    text = f"{version[0]}.{version[1]}"
    if version > parse_version(API_VERSION):
        raise InvalidArgument(f"client version {text} is too new. Maximum supported API version is {API_VERSION}")
    if version < parse_version(MIN_API_VERSION):
        raise InvalidArgument(
            f"client version {text} is too old. Minimum supported API version is {MIN_API_VERSION}, please upgrade your client to a newer version"
        )
    return version, match[3]


def parse_version(text: str) -> ApiVersion:
    major, minor = text.split(".")
    return int(major), int(minor)
