"""`/images`: the local store. What is pulled and pushed: agent/engine/registry.py."""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final

import trio

from agent.engine import registry
from agent.engine.answers import JSON_LINES, json_answer, json_line, unserved
from agent.engine.call import Call, Filters, matches_labels, truth
from agent.engine.convert import mapping
from agent.engine.convert_images import history_json, image_json, image_summary_json
from cluster.model.errors import InvalidArgument
from cluster.model.reference import parse
from cluster.wire.http import Request, Response
from runtime.errors import ImageInUse, NoSuchImage
from runtime.images.config import Image

if TYPE_CHECKING:
    from agent.node import Node

FILTERS: Final = frozenset({"before", "dangling", "label", "reference", "since", "until"})
PRUNE_FILTERS: Final = frozenset({"dangling", "label", "label!", "until"})
MAX_UPLOAD_BYTES: Final = 64 * 1024**3
_SAVE: Final = "saving images is not served: copy the archive that was loaded"


async def list_(call: Call) -> Response:
    filters = call.filters(FILTERS)
    images = await trio.to_thread.run_sync(call.node.images.list)
    users = [record.image_id for record in call.node.containers.records()]
    return json_answer([image_summary_json(i, users.count(i.id)) for i in _selected(images, filters)])


def _selected(images: tuple[Image, ...], filters: Filters) -> list[Image]:
    dangling = truth(filters, "dangling")
    patterns = filters.get("reference", ())
    return [
        image
        for image in images
        if (dangling is None or (not image.references) is dangling)
        and matches_labels(mapping(image.config.labels), filters.get("label", ()))
        and (not patterns or any(_matches(name, pattern) for name in image.references for pattern in patterns))
    ]


def _matches(reference: str, pattern: str) -> bool:
    """Go's path.Match on the whole name or on the part before the tag: a star does not cross a slash."""
    repository = reference.rpartition(":")[0] or reference
    return any(
        name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern) for name in (reference, repository)
    )


async def inspect(call: Call) -> Response:
    return json_answer(image_json(await _get(call)))


async def history(call: Call) -> Response:
    return json_answer(history_json(await _get(call)))


async def _get(call: Call) -> Image:
    return await trio.to_thread.run_sync(call.node.images.get, call.names["name"])


async def tag(call: Call) -> Response:
    repository, label = call.text("repo"), call.text("tag")
    target = f"{repository}:{label}" if label else repository
    await trio.to_thread.run_sync(call.node.images.tag, call.names["name"], target)
    return Response(201)


async def remove(call: Call) -> Response:
    node, reference, force = call.node, call.names["name"], call.flag("force")

    def work() -> list[tuple[str, str]]:
        return node.images.remove(reference, force=force, used_by=node.containers.uses_image, running_in=_running_in(node))

    return json_answer([{what: name} for what, name in await trio.to_thread.run_sync(work)])


def _running_in(node: Node) -> Callable[[str], str]:
    records = node.containers.records()
    return lambda image_id: next((r.id for r in records if r.image_id == image_id and node.containers.is_running(r)), "")


async def load(call: Call) -> Response:
    """The archive is taken from the body as it comes; the answer begins when it is in the store."""
    with _spool(call.node) as file:
        await _receive(call.request, file)
        loaded = await trio.to_thread.run_sync(call.node.images.load, file)
    return Response(200, JSON_LINES, b"".join(json_line({"stream": f"{line}\n"}) for line in loaded))


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


async def create(call: Call) -> Response:
    """`docker import` (fromSrc) and what a client asks for before it runs an unknown image (fromImage)."""
    if call.text("fromSrc"):
        return await _import(call)
    if not call.text("fromImage"):
        raise InvalidArgument("invalid reference format")
    return await registry.pull(call)


async def _import(call: Call) -> Response:
    if call.text("fromSrc") != "-":
        return unserved("importing from a URL is not served: fetch it and import it from standard input (fromSrc=-)")
    repository, label = call.text("repo"), call.text("tag")
    reference = f"{repository}:{label}" if repository and label else repository
    if reference:
        parse(reference)
    with _spool(call.node) as file:
        await _receive(call.request, file)

        def work() -> str:
            return call.node.images.import_(file, reference, call.texts("changes"), call.text("message"))

        image_id = await trio.to_thread.run_sync(work)
    return Response(200, JSON_LINES, json_line({"status": image_id}))


async def prune(call: Call) -> Response:
    """Images without a name that no container uses; with dangling=false also named ones."""
    filters = call.filters(PRUNE_FILTERS)
    everything = truth(filters, "dangling") is False
    deleted: list[dict[str, str]] = []
    reclaimed = 0
    images = await trio.to_thread.run_sync(call.node.images.list)
    for image in images:
        labels = mapping(image.config.labels)
        wanted = matches_labels(labels, filters.get("label", ())) and not any(matches_labels(labels, (u,)) for u in filters.get("label!", ()))
        if (image.references and not everything) or call.node.containers.uses_image(image.id) or not wanted:
            continue
        try:
            gone = await trio.to_thread.run_sync(_remove_all, call.node, image)
        except (NoSuchImage, ImageInUse):
            continue  # somebody else was faster
        deleted += [{what: name} for what, name in gone]
        reclaimed += image.size_bytes
    return json_answer({"ImagesDeleted": deleted, "SpaceReclaimed": reclaimed})


def _remove_all(node: Node, image: Image) -> list[tuple[str, str]]:
    return node.images.remove(image.id, force=True, used_by=node.containers.uses_image)


async def save(_call: Call) -> Response:
    return unserved(_SAVE)


async def search(_call: Call) -> Response:
    return unserved("searching a registry is not served")
