"""`/images`: the local store. What is pulled and pushed: agent/engine/registry.py."""

from __future__ import annotations

import fnmatch
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from agent.engine import image_archives, past_fields, registry
from agent.engine.answers import json_answer
from agent.engine.call import Call, Filters, matches_labels
from agent.engine.convert import SECOND_NS, mapping
from agent.engine.convert_images import history_json, image_json, image_summary_json
from agent.engine.image_events import publish
from agent.engine.until import until_ns
from agent.events import pruned
from cluster.model import reference
from cluster.model.errors import Internal, InvalidArgument, NotFound
from cluster.wire.http import Response
from runtime.errors import ImageInUse, NoSuchImage
from runtime.images.config import Image

if TYPE_CHECKING:
    from agent.node import Node

FILTERS: Final = frozenset({"before", "dangling", "label", "reference", "since", "until"})
SHARED_SIZE: Final = (1, 42)
PRUNE_FILTERS: Final = frozenset({"dangling", "label", "label!", "until"})


async def list_(call: Call) -> Response:
    filters = call.filters(FILTERS)
    images = await trio.to_thread.run_sync(call.node.images.list)
    bounds = await _bounds(call, filters)
    _check_patterns(filters.get("reference", ()))
    dangling = call.truth(filters, "dangling")
    users = Counter(record.image_id for record in call.node.containers.records())
    wants_shared = call.version >= SHARED_SIZE and call.flag("shared-size")
    shared = await trio.to_thread.run_sync(call.node.images.shared_sizes) if wants_shared else {}
    shown = [image_summary_json(image, users[image.id]) for image in _selected(images, filters, dangling, bounds)]
    return json_answer([past_fields.summary_of(each, call.version) | ({"SharedSize": shared.get(each["Id"], 0)} if wants_shared else {}) for each in shown])


Bounds = tuple[tuple[int, ...], tuple[int, ...]]
"""(created after, created before), Unix seconds."""


async def _bounds(call: Call, filters: Filters) -> Bounds:
    """Of the images that since= and before= name. Raises NoSuchImage."""
    found: dict[str, tuple[int, ...]] = {}
    for name in ("since", "before"):
        images = [await trio.to_thread.run_sync(call.node.images.get, wanted) for wanted in filters.get(name, ())]
        found[name] = tuple(image.created_unix_s for image in images)
    until = until_ns(filters, time.time_ns())
    return found["since"], found["before"] + (() if until is None else (until // SECOND_NS,))


def _check_patterns(patterns: tuple[str, ...]) -> None:
    """Go's path.Match knows when a bracket stays open or a backslash has nothing behind it."""
    for pattern in patterns:
        rest = re.sub(r"\\.|\[\^?[^\]]+\]", "", pattern, flags=re.DOTALL)
        if "[" in rest or rest.endswith("\\"):
            raise Internal("syntax error in pattern")


def _selected(images: tuple[Image, ...], filters: Filters, dangling: bool | None, bounds: Bounds) -> list[Image]:
    """With reference= only the names that match are listed."""
    patterns = filters.get("reference", ())
    chosen = []
    for image in images:
        shown = image
        if patterns:
            names = tuple(name for name in image.references if any(_matches(name, pattern) for pattern in patterns))
            digests = tuple(name for name in image.repo_digests if any(_matches(name, pattern) for pattern in patterns))
            shown = msgspec.structs.replace(image, references=names, repo_digests=digests)
        if (
            (dangling is None or (not image.references) is dangling)
            and matches_labels(mapping(image.config.labels), filters.get("label", ()))
            and (not patterns or shown.references or shown.repo_digests)
            and all(image.created_unix_s > after for after in bounds[0])
            and all(image.created_unix_s < before for before in bounds[1])
        ):
            chosen.append(shown)
    return chosen


def _matches(reference: str, pattern: str) -> bool:
    """Go's path.Match on the whole name or on the part before the tag: a star does not cross a slash."""
    repository = reference.partition("@")[0] if "@" in reference else reference.rpartition(":")[0] or reference
    return any(
        name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern) for name in (reference, repository)
    )


async def inspect(call: Call) -> Response:
    try:
        known = past_fields.known_to(call.version, call.request.headers.get("user-agent", ""))
        return json_answer(past_fields.image_of(image_json(await _get(call)), known))
    except NoSuchImage as error:
        raise NotFound(f"no such image: {call.names['name']}: {error}") from error


async def history(call: Call) -> Response:
    return json_answer(history_json(await _get(call)))


async def _get(call: Call) -> Image:
    return await trio.to_thread.run_sync(call.node.images.get, call.names["name"])


async def tag(call: Call) -> Response:
    repository, label = call.text("repo"), call.text("tag")
    if label and not reference.is_tag(label):
        raise InvalidArgument("invalid tag format")
    target = f"{repository}:{label}" if label else repository
    await trio.to_thread.run_sync(call.node.images.tag, call.names["name"], target)
    publish(call.node, "tag", await _get(call), reference.parse(target).with_default_tag().familiar)
    return Response(201)


async def remove(call: Call) -> Response:
    node, reference, force = call.node, call.names["name"], call.flag("force")
    if not reference.strip():
        raise InvalidArgument("image name cannot be blank")

    def work() -> tuple[Image, list[tuple[str, str]]]:
        image = node.images.get(reference)
        return image, node.images.remove(reference, force=force, used_by=node.containers.uses_image, running_in=_running_in(node))

    image, gone = await trio.to_thread.run_sync(work)
    _publish_removal(node, image, gone)
    return json_answer([{what: name} for what, name in gone])


def _publish_removal(node: Node, image: Image, gone: list[tuple[str, str]]) -> None:
    for what, name in gone:
        if what == "Untagged":
            publish(node, "untag", image)
        elif name == image.id:
            publish(node, "delete", image)


def _running_in(node: Node) -> Callable[[str], str]:
    records = node.containers.records()
    return lambda image_id: next((r.id for r in records if r.image_id == image_id and node.containers.is_running(r)), "")


async def create(call: Call) -> Response:
    """`docker import` (fromSrc) and what a client asks for before it runs an unknown image (fromImage)."""
    if call.text("fromSrc"):
        return await image_archives.import_(call)
    name = call.text("fromImage")
    first, slash, _ = name.partition("/")
    if not name:
        raise InvalidArgument("invalid reference format")
    if call.text("tag") and not reference.is_tag(call.text("tag")) and ":" not in call.text("tag"):
        raise InvalidArgument("invalid tag format")
    if slash and first != first.lower() and not {".", ":"} & set(first):  # a registry only for newer clients
        raise InvalidArgument("invalid reference format: repository name must be lowercase")
    return await registry.pull(call)


async def prune(call: Call) -> Response:
    """Images without a name that no container uses; with dangling=false also named ones."""
    node, filters = call.node, call.filters(PRUNE_FILTERS)
    everything = call.truth(filters, "dangling") is False
    limit_ns = until_ns(filters, time.time_ns())
    deleted: list[dict[str, str]] = []
    before = await trio.to_thread.run_sync(node.images.layers_size_bytes)
    for image in await trio.to_thread.run_sync(node.images.list):
        labels = mapping(image.config.labels)
        wanted = matches_labels(labels, filters.get("label", ())) and not any(matches_labels(labels, (u,)) for u in filters.get("label!", ()))
        young = limit_ns is not None and image.created_unix_s * SECOND_NS >= limit_ns
        if (image.references and not everything) or node.containers.uses_image(image.id) or young or not wanted:
            continue
        try:
            gone = await trio.to_thread.run_sync(_remove_all, node, image)
        except (NoSuchImage, ImageInUse):
            continue  # somebody else was faster
        _publish_removal(node, image, gone)
        deleted += [{what: name} for what, name in gone]
    reclaimed = max(0, before - await trio.to_thread.run_sync(node.images.layers_size_bytes))
    node.events.publish(pruned("image", reclaimed))
    return json_answer({"ImagesDeleted": deleted or None, "SpaceReclaimed": reclaimed})


def _remove_all(node: Node, image: Image) -> list[tuple[str, str]]:
    return node.images.remove(image.id, force=True, used_by=node.containers.uses_image)
