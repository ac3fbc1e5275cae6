"""Images between nodes without a registry: this node's part when the managers look for one, and the source that a pull takes its bytes from.

Serves what is here by name, never what a registry gave out against credentials; whose tasks need it is the managers' to check (manager/image_passing.py).
What comes is verified as if a registry had sent it (runtime/images/puller.py).
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

import trio

from cluster.model.errors import ClusterError, InvalidArgument, NotFound
from cluster.wire.calls import FilePiece, FindImage, FoundImage, ReadImage
from cluster.wire.peer import Caller, Handler
from runtime.errors import NoSuchImage, RegistryRefused, RegistryUnreachable
from runtime.images.manifest import Descriptor, Manifest
from runtime.images.source import Blob
from runtime.images.store import ImageStore

PIECE_BYTES: Final = 128 * 1024
"""Of a file in one message."""

_CONFIG_TYPE, _LAYER_TYPE = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"


class Managers(Protocol):
    """This node's session with the managers."""

    async def ask(self, name: str, request: object) -> Any: ...

    def listen(self, name: str, request: object) -> AbstractAsyncContextManager[AsyncIterator[Any]]: ...


def serve_images(images: ImageStore) -> Mapping[str, Handler]:
    """The handlers of `node.image_find` and `node.image_read`."""

    async def find(_caller: Caller, request: FindImage) -> FoundImage:
        return await trio.to_thread.run_sync(_found, images, request.reference)

    async def read(_caller: Caller, request: ReadImage) -> AsyncGenerator[FilePiece, None]:
        fd = await trio.to_thread.run_sync(_opened, images, request)
        try:
            at = request.start
            while piece := await trio.to_thread.run_sync(os.pread, fd, PIECE_BYTES, at):
                at += len(piece)
                yield FilePiece(piece)
        finally:
            os.close(fd)

    return {"node.image_find": find, "node.image_read": read}


def _found(images: ImageStore, reference: str) -> FoundImage:
    """Raises NotFound, also for what a registry gave out against credentials."""
    try:
        image = images.get(reference)
    except (NoSuchImage, ValueError):
        raise NotFound(f"No such image: {reference}") from None
    if images.is_private(image.id):
        raise NotFound(f"No such image: {reference}")
    layers = tuple((blob.digest, blob.path.stat().st_size) for blob in images.layer_blobs(image.id))
    return FoundImage("", image.id, len(image.raw), layers)


def _opened(images: ImageStore, request: ReadImage) -> int:
    """A descriptor of one of the image's files. Raises NotFound, InvalidArgument."""
    found = _found(images, request.reference)
    if found.image_id != request.image_id or request.digest not in {found.image_id, *(digest for digest, _ in found.layers)}:
        raise NotFound(f"the image {request.reference} has no {request.digest}")
    if request.start < 0:
        raise InvalidArgument("a file begins at byte 0")
    path = images.blob_path(request.digest)
    if path is None:
        raise NotFound(f"the image {request.reference} has no {request.digest}")
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


class AnotherNode:
    """An image on another node, as a pull reads it."""

    def __init__(self, managers: Managers, reference: str, found: FoundImage) -> None:
        self._managers, self._reference, self._found = managers, reference, found

    @property
    def manifest(self) -> Manifest:
        layers = tuple(Descriptor(_LAYER_TYPE, digest, size) for digest, size in self._found.layers)
        return Manifest("", Descriptor(_CONFIG_TYPE, self._found.image_id, self._found.config_bytes), layers)

    async def small_blob(self, digest: str, limit_bytes: int) -> bytes:
        """Raises RegistryUnreachable, RegistryRefused."""
        whole = bytearray()
        async with self.blob(digest) as blob:
            async for piece in blob.pieces:
                whole += piece
                if len(whole) > limit_bytes:
                    raise RegistryRefused(f"{digest} is longer than {limit_bytes} bytes")
        return bytes(whole)

    @asynccontextmanager
    async def blob(self, digest: str, offset: int = 0) -> AsyncIterator[Blob]:
        """Raises RegistryUnreachable for what may come again, RegistryRefused."""
        request = ReadImage(self._reference, self._found.node_id, self._found.image_id, digest, offset)
        try:
            async with self._managers.listen("image.read", request) as pieces:
                yield Blob(offset, (piece.data async for piece in pieces))
        except NotFound as error:
            raise RegistryRefused(error.message) from error
        except ClusterError as error:
            raise RegistryUnreachable(error.message) from error


async def look(managers: Managers, reference: str) -> AnotherNode | None:
    """The image where another node has it."""
    try:
        found = await managers.ask("image.find", FindImage(reference))
    except ClusterError:
        return None
    assert isinstance(found, FoundImage)
    return AnotherNode(managers, reference, found)
