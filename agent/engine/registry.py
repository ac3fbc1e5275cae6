"""What the API has of registries: `POST /images/create?fromImage=`, `POST /images/NAME/push`, `POST /auth`, `GET /distribution/NAME/json`.

agent/pulls.py does the work.
"""

from __future__ import annotations

from typing import Final

from agent.engine.answers import json_answer
from agent.engine.call import Call
from agent.engine.convert import Json
from agent.engine.platforms import platform_of
from agent.engine.progress import progress_answer
from cluster.model.reference import DEFAULT_DOMAIN, parse
from cluster.wire.http import Response
from runtime.errors import RegistryRefused
from runtime.images import auth as credentials
from runtime.images.auth import Credentials
from runtime.images.progress import Report

_HUB: Final = ("index.docker.io", "registry-1.docker.io", "")


async def pull(call: Call) -> Response:
    """`fromImage` with its `tag` (a tag or digest; all tags when there is none), and perhaps a `platform`."""
    name, label = call.text("fromImage"), call.text("tag")
    separator = "@" if label.startswith("sha256:") else ":"
    reference = parse(f"{name}{separator}{label}" if label else name)
    who = credentials.from_header(call.request.headers.get("x-registry-auth", ""))
    platform = platform_of(call.text("platform"))

    async def work(report: Report) -> tuple[Json, ...]:
        if reference.tag or reference.digest:
            await call.node.pulls.pull(reference, report, who, platform)
        else:
            await call.node.pulls.pull_all(reference, report, who, platform)
        return ()

    return await progress_answer(call, work)


async def push(call: Call) -> Response:
    """The image under one tag, or with none all that the repository has here."""
    reference = parse(call.names["name"])
    if label := call.text("tag"):
        reference = parse(f"{reference.familiar_repository}:{label}")
    who = credentials.from_header(call.request.headers.get("x-registry-auth", ""))

    async def work(report: Report) -> tuple[Json, ...]:
        done = await call.node.pulls.push(reference, report, who) if reference.tag else await call.node.pulls.push_all(reference, report, who)
        return ({"progressDetail": {}, "aux": {"Tag": done.tag, "Digest": done.digest, "Size": done.size_bytes}},)

    return await progress_answer(call, work)


async def auth(call: Call) -> Response:
    """`docker login`: ask the registry whether it knows the user."""
    fields = await call.fields(strict_type=False)  # as in Docker
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
