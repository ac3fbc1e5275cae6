"""`/containers/ID/archive`, `/changes` and `/export`: the files of containers. agent/container_files.py does it."""

from __future__ import annotations

import base64
import stat
from typing import Final

import msgspec
import trio

from agent import users
from agent.engine.answers import json_answer
from agent.engine.call import Call
from agent.engine.convert import time_text
from agent.records import Record
from cluster.model.errors import InvalidArgument, NotFound
from cluster.wire.http import Response
from runtime.storage.requests import PathStat

NAME_MAX_BYTES: Final = 255
PATH_MAX_BYTES: Final = 4095
"""What a name and a path may be at most. Source: path_resolution(7), limits.h."""

_TAR: Final = ("Content-Type", "application/x-tar")
_GO_KINDS: Final = (
    (stat.S_ISDIR, 1 << 31), (stat.S_ISLNK, 1 << 27), (stat.S_ISBLK, 1 << 26), (stat.S_ISFIFO, 1 << 25), (stat.S_ISSOCK, 1 << 24),
    (stat.S_ISCHR, 1 << 26 | 1 << 21),
)  # fmt: skip
_GO_BITS: Final = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


def go_mode(mode: int) -> int:
    """A file's mode as Go's os.FileMode has it."""
    out = mode & 0o777
    out |= sum(bit for test, bit in _GO_KINDS if test(mode))
    return out | sum(bit for have, bit in _GO_BITS if mode & have)


def stat_header(found: PathStat) -> tuple[str, str]:
    described = {
        "name": found.name,
        "size": found.size_bytes,
        "mode": go_mode(found.mode),
        "mtime": time_text(found.mtime_ns),
        "linkTarget": found.link_target,
    }
    return "X-Docker-Container-Path-Stat", base64.b64encode(msgspec.json.encode(described)).decode()


def _path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise InvalidArgument("bad parameter: pathcannot be empty")  # as Docker spells it
    if "\0" in path:
        raise InvalidArgument("invalid path: it contains a NUL byte")
    if len(path.encode()) > PATH_MAX_BYTES or any(len(name.encode()) > NAME_MAX_BYTES for name in path.split("/")):
        raise NotFound(f"Could not find the file {path} in container {call.names['id']}")
    return path


async def head(call: Call) -> Response:
    path, record = _path(call), call.node.containers.find(call.names["id"])
    return Response(200, (stat_header(await call.node.files.stat(record, path, call.names["id"])),))


async def get(call: Call) -> Response:
    path, record = _path(call), call.node.containers.find(call.names["id"])
    found, pieces = await call.node.files.packed(record, path, call.names["id"])
    call.node.containers.publish("archive-path", record)
    return Response(200, (stat_header(found), _TAR), stream=pieces)


async def put(call: Call) -> Response:
    path, record = _path(call), call.node.containers.find(call.names["id"])
    owner = await trio.to_thread.run_sync(_owner, call, record) if call.flag("copyUIDGID") else None
    keep = call.flag("noOverwriteDirNonDir")
    await call.node.files.extract(record, path, call.names["id"], call.request.stream(), keep_kinds=keep, owner=owner)
    call.node.containers.publish("extract-to-dir", record)
    return Response(200)


def _owner(call: Call, record: Record) -> tuple[int, int] | None:
    """Whom the files belong to then: the container's user, where it has one."""
    if not record.config.user:
        return None
    layers = call.node.containers.layers(record)
    user, _ = users.resolve(record.config.user, users.read_from_layers(layers, "passwd"), users.read_from_layers(layers, "group"))
    return user.uid, user.gid


async def export(call: Call) -> Response:
    record = call.node.containers.find(call.names["id"])
    pieces = call.node.files.export(record)
    await anext(pieces)
    call.node.containers.publish("export", record)
    return Response(200, (("Content-Type", "application/octet-stream"),), stream=pieces)


async def changes(call: Call) -> Response:
    record = call.node.containers.find(call.names["id"])
    found = await call.node.files.changes(record)
    return json_answer([{"Path": change.path, "Kind": change.kind.value} for change in found] or None)
