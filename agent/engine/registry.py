"""What the API has of registries: `POST /images/create?fromImage=`, `POST /images/NAME/push`, `POST /auth`, `GET /distribution/NAME/json`.

Owns Docker's progress lines and when a failure is a status (before the first line) or the last line. agent/pulls.py does the work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import trio

from agent.engine.answers import Fault, error_line, json_answer, json_line, stream_answer
from agent.engine.call import Call
from agent.engine.convert import Json
from agent.engine.platforms import platform_of
from cluster.model.errors import ClusterError
from cluster.model.reference import DEFAULT_DOMAIN, parse
from cluster.wire.http import Response
from netfabric.errors import FabricError
from runtime.errors import RegistryRefused, RuntimeFault
from runtime.images import auth as credentials
from runtime.images.auth import Credentials
from runtime.images.progress import Progress, Report

MAX_LINES: Final = 32_768
"""Progress lines that wait for a slow client: more than the largest pull has (runtime/images/progress.py bounds them)."""

BAR_CHARACTERS: Final = 50
_HUB: Final = ("index.docker.io", "registry-1.docker.io", "")
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


async def pull(call: Call) -> Response:
    """`fromImage` with its `tag` (a tag or digest; all tags when there is none), and perhaps a `platform`."""
    name, label = call.text("fromImage"), call.text("tag")
    separator = "@" if label.startswith("sha256:") else ":"
    reference = parse(f"{name}{separator}{label}" if label else name)
    who = credentials.from_header(call.request.headers.get("x-registry-auth", ""))
    platform = platform_of(call.text("platform"))

    async def work(report: Report) -> None:
        if reference.tag or reference.digest:
            await call.node.pulls.pull(reference, report, who, platform)
        else:
            await call.node.pulls.pull_all(reference, report, who, platform)

    return await _progress_answer(call, work)


async def push(call: Call) -> Response:
    """The image under one tag, or with none all that the repository has here."""
    reference = parse(call.names["name"])
    if label := call.text("tag"):
        reference = parse(f"{reference.familiar_repository}:{label}")
    who = credentials.from_header(call.request.headers.get("x-registry-auth", ""))

    async def work(report: Report) -> Json:
        done = await call.node.pulls.push(reference, report, who) if reference.tag else await call.node.pulls.push_all(reference, report, who)
        return {"progressDetail": {}, "aux": {"Tag": done.tag, "Digest": done.digest, "Size": done.size_bytes}}

    return await _progress_answer(call, work)


async def auth(call: Call) -> Response:
    """`docker login`: ask the registry whether it knows the user."""
    fields = await call.fields()
    who = Credentials(*(fields.text(name) for name in ("username", "password", "identitytoken", "registrytoken", "serveraddress")))
    fields.text("email")  # what Docker's daemon reads, too
    server = who.server.partition("://")[2] or who.server
    host = server.partition("/")[0]
    try:
        await call.node.pulls.log_in(DEFAULT_DOMAIN if host in _HUB else host, who)
    except RegistryRefused as error:
        if error.code in ("UNAUTHORIZED", "DENIED"):
            raise RegistryRefused(str(error), error.code, 401) from error
        raise
    return json_answer({"Status": "Login Succeeded", "IdentityToken": ""})


async def distribution(call: Call) -> Response:
    """What a registry has under a name, for clients that pin a service's image by its digest."""
    who = credentials.from_header(call.request.headers.get("x-registry-auth", ""))
    found = await call.node.pulls.look_up(parse(call.names["name"]), who)
    platforms = [_platform_json(p.os, p.architecture, p.variant) for p in found.platforms]
    return json_answer({"Descriptor": {"mediaType": found.media_type, "digest": found.digest, "size": found.size_bytes}, "Platforms": platforms})


def _platform_json(system: str, architecture: str, variant: str) -> Json:
    return {"architecture": architecture, "os": system} | ({"variant": variant} if variant else {})


async def _progress_answer(call: Call, work: Callable[[Report], Awaitable[Json | None]]) -> Response:
    """Run the work beside the request and answer with its lines. A client that goes away ends it."""
    send, receive = trio.open_memory_channel[bytes](MAX_LINES)
    scope = trio.CancelScope()
    failures: list[Fault] = []

    def report(step: Progress) -> None:
        try:
            send.send_nowait(json_line(progress_json(step)))
        except trio.WouldBlock:
            return  # nobody reads: the work goes on, its lines don't

    async def run() -> None:
        with scope, send:
            try:
                if (last := await work(report)) is not None:
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
