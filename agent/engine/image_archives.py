"""`/images/get`, `/images/load`, the import of `/images/create`, and `/commit`: archives of images out and in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import trio

from agent.engine import platforms
from agent.engine.answers import JSON_LINES, failure, json_answer, json_line, unserved
from agent.engine.call import Call
from agent.engine.convert import Json
from agent.engine.convert_containers import config_json
from agent.engine.convert_create import config_of
from agent.engine.image_events import publish
from agent.engine.progress import progress_answer
from agent.events import Event
from agent.records import Config, Record
from cluster.model import reference
from cluster.model.errors import InvalidArgument, NotFound
from cluster.wire.http import Request, Response
from runtime.errors import BadImage, NoSuchImage
from runtime.images.commit import commit as commit_image
from runtime.images.config import HistoryEntry, Image, laid_over
from runtime.images.progress import Progress, Report
from runtime.images.save import Chosen, Part, choose, parts

if TYPE_CHECKING:
    from agent.node import Node

MAX_UPLOAD_BYTES: Final = 64 * 1024**3
PIECE_BYTES: Final = 1024 * 1024
_TAR: Final = (("Content-Type", "application/x-tar"),)


async def save(call: Call) -> Response:
    """One archive of the named images (`names`, or the path's one)."""
    node = call.node
    names = call.texts("names") or tuple(n for n in (call.names.get("name", ""),) if n)
    if not names:
        raise InvalidArgument("no images to save")
    chosen: list[Chosen] = []
    for name in names:
        try:
            chosen += await trio.to_thread.run_sync(choose, node.images, (name,))
        except NoSuchImage as error:
            tagged = reference.id_prefix(name) == "" and reference.parse(name).tag
            raise NotFound("reference does not exist" if tagged else f"No such image: {name}") from error
    merged = await trio.to_thread.run_sync(choose, node.images, names)
    for one in merged:
        publish(node, "save", one.image)
    return Response(200, _TAR, stream=_archive(node, merged))


async def _archive(node: Node, chosen: tuple[Chosen, ...]) -> AsyncGenerator[bytes, None]:
    staging = await trio.to_thread.run_sync(lambda: Path(tempfile.mkdtemp(prefix="save-", dir=node.root)))
    try:
        pieces = parts(node.images, chosen, staging)
        while (part := await trio.to_thread.run_sync(next, pieces, None)) is not None:
            async for piece in _pieces(part):
                yield piece
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(shutil.rmtree, staging)


async def _pieces(part: Part) -> AsyncGenerator[bytes, None]:
    if isinstance(part, bytes):
        yield part
        return
    with open(part, "rb", buffering=0) as file:  # noqa: ASYNC230  a regular file on the node's disk; reading is done in threads
        while piece := await trio.to_thread.run_sync(file.read, PIECE_BYTES):
            yield piece


async def load(call: Call) -> Response:
    """The archive is taken from the body as it comes; the answer begins when its first layer is looked at. What is wrong with the archive is said in
    the stream, as by Docker, whose answer has begun by then."""
    quiet = call.flag("quiet")
    with ExitStack() as stack:
        file = stack.enter_context(_spool(call.node))
        await _receive(call.request, file)
        kept = stack.pop_all()

    async def work(report: Report) -> list[Json]:
        def told(step: Progress) -> None:
            trio.from_thread.run_sync(report, step)

        with kept:
            try:
                loaded = await trio.to_thread.run_sync(call.node.images.load, file, None if quiet else told)
            except BadImage as error:
                return [failure(error)]
        names = [line.partition(": ")[2] for line in loaded if line.startswith("Loaded image")]
        for image in {image.id: image for image in [await trio.to_thread.run_sync(call.node.images.get, name) for name in names]}.values():
            publish(call.node, "load", image)
        return [{"stream": f"{line}\n"} for line in loaded]

    return await progress_answer(call, work)


def _spool(node: Node) -> BinaryIO:
    """A nameless file on the state's disk; gone when it is closed."""
    return tempfile.TemporaryFile(dir=node.root)


async def _receive(request: Request, file: BinaryIO) -> None:
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_UPLOAD_BYTES:
            raise InvalidArgument(f"the archive is longer than {MAX_UPLOAD_BYTES} bytes")
        await trio.to_thread.run_sync(file.write, piece)
    file.seek(0)


async def import_(call: Call) -> Response:
    """`docker import`: an image of one file system's tar, which is the body."""
    if call.text("fromSrc") != "-":
        return unserved("importing from a URL is not served: fetch it and import it from standard input (fromSrc=-)")
    name, platform = _name(call), platforms.platform_of(call.text("platform"))
    if platform is not None and platform.os != "linux":
        raise InvalidArgument("operating system is not supported")
    with _spool(call.node) as file:
        await _receive(call.request, file)

        def work() -> Image:
            return call.node.images.get(call.node.images.import_(file, name, call.texts("changes"), call.text("message")))

        image = await trio.to_thread.run_sync(work)
    publish(call.node, "import", image)
    return Response(200, JSON_LINES, json_line({"status": image.id}))


def _name(call: Call) -> str:
    """The name that `repo` and `tag` give; checked. Empty when there is none."""
    repository, label = call.text("repo"), call.text("tag")
    name = f"{repository}:{label}" if repository and label else repository
    if name:
        reference.parse(name)
    return name


async def commit(call: Call) -> Response:
    """`docker commit`. A running container is paused meanwhile, unless it is asked not to be."""
    node = call.node
    record = node.containers.find(call.text("container"))
    name, own = _name(call), config_of(await call.fields())
    paused = call.flag("pause", True) and record.state.status == "running"
    if paused:
        await node.containers.pause(record.id)
    try:
        image_id = await trio.to_thread.run_sync(_commit, call, record, name, own)
        shown = reference.parse(name).with_default_tag().familiar if name else ""
        if shown:
            publish(node, "tag", await trio.to_thread.run_sync(node.images.get, image_id), shown)
        about = (("comment", call.text("comment")), ("image", record.config.image), ("imageID", image_id), ("imageRef", shown), ("name", record.name))
        node.events.publish(Event("container", "commit", record.id, about))
    finally:
        if paused:
            with trio.CancelScope(shield=True):
                await node.containers.unpause(record.id)
    return json_answer({"Id": image_id}, 201)


def _commit(call: Call, record: Record, name: str, own: Config) -> str:
    """`own`: a configuration that the client sent, over the container's."""
    images = call.node.images
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    step = HistoryEntry(
        created=now, created_by=" ".join(record.config.cmd or ()), author=call.text("author"), comment=call.text("comment")
    )
    base = images.get(record.image_id)
    return commit_image(images, base, call.node.files.upper(record), laid_over(config_json(own), config_json(record.config)), call.texts("changes"), step, name)
