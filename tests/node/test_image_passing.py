"""What a node serves of its images to the managers: files of the image that was asked for, from any byte on; nothing of a private one."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from agent.image_passing import serve_images
from cluster.model.errors import InvalidArgument, NotFound
from cluster.model.reference import parse
from cluster.wire.calls import FindImage, FoundImage, ReadImage
from runtime.images.store import ImageStore
from tests.node.image_archives import docker_archive, entry, tar

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="unpacking layers needs root")
NAME, OTHER = "mine:1", "other:1"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "images")
    opened.load(io.BytesIO(docker_archive([tar([entry("a", os.urandom(300_000))])], [NAME])))
    opened.load(io.BytesIO(docker_archive([tar([entry("b", b"b")])], [OTHER])))
    yield opened
    opened.close()


def ask(store: ImageStore, request: object) -> Any:
    name = "node.image_find" if isinstance(request, FindImage) else "node.image_read"
    handler = cast(Any, serve_images(store)[name])

    async def whole() -> bytes:
        return b"".join([piece.data async for piece in handler(None, request)])

    return trio.run(handler, None, request) if isinstance(request, FindImage) else trio.run(whole)


def test_its_files_come_from_any_byte_on(store: ImageStore) -> None:
    found = ask(store, FindImage(NAME))
    assert isinstance(found, FoundImage)
    assert ask(store, ReadImage(NAME, "", found.image_id, found.image_id)) == store.get(NAME).raw
    ((digest, size),) = found.layers
    layer = ask(store, ReadImage(NAME, "", found.image_id, digest))
    assert len(layer) == size
    assert ask(store, ReadImage(NAME, "", found.image_id, digest, 200_000)) == layer[200_000:]


def test_nothing_else_does(store: ImageStore) -> None:
    mine, other = ask(store, FindImage(NAME)), ask(store, FindImage(OTHER))
    for wrong in (
        ReadImage(NAME, "", mine.image_id, other.layers[0][0]),  # another image's layer
        ReadImage(NAME, "", other.image_id, other.image_id),  # the name has moved on
        ReadImage(NAME, "", mine.image_id, "sha256:../../../etc/passwd"),
        ReadImage("nosuch:1", "", mine.image_id, mine.image_id),
    ):
        with pytest.raises(NotFound):
            ask(store, wrong)
    with pytest.raises(InvalidArgument):
        ask(store, ReadImage(NAME, "", mine.image_id, mine.image_id, -1))
    for text in ("nosuch:1", "Not A Name"):
        with pytest.raises(NotFound):
            ask(store, FindImage(text))


def test_what_a_registry_gave_out_against_credentials_stays_here_until_it_came_without(store: ImageStore) -> None:
    image = store.get(NAME)
    with store.staging() as folder:
        store.place(image.raw, (), folder, (parse("registry.example/mine:1"),), private=True)
    assert isinstance(ask(store, FindImage(NAME)), FoundImage), "it was here before, from elsewhere"
    store.remove(NAME, force=True)
    store.remove("registry.example/mine:1")
    with store.staging() as folder:
        raw = store.get(OTHER).raw.replace(b'"Cmd"', b'"Cmd" ')  # the same layers, another image
        store.place(raw, (), folder, (parse(NAME).with_default_tag(),), private=True)
    with pytest.raises(NotFound):
        ask(store, FindImage(NAME))
    store.set_public(store.get(NAME).id)
    assert isinstance(ask(store, FindImage(NAME)), FoundImage)
