"""Pushing an image: what the registry has already is left where it is or mounted from another repository, the rest goes in
pieces, then the configuration, then the manifest.

Owns the order and the form in which layers travel: gzip (one that was loaded without compression is compressed, the
same way each time), zstd as it came. An interrupted upload goes on where the registry says it stands. Sources: OCI
distribution specification 1.1, moby distribution/push_v2.go for the words.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from cluster.model import reference
from cluster.model.reference import Reference
from runtime.errors import NoSuchImage, RegistryFailed, RegistryRefused, RegistryUnreachable
from runtime.images import blobs, compression, registry
from runtime.images.archive import StagedBlob
from runtime.images.auth import ANONYMOUS, Credentials
from runtime.images.config import Image
from runtime.images.endpoints import Registries, endpoints
from runtime.images.manifest import DOCKER_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor, digest_of, render
from runtime.images.progress import Progress, Report, Steps, short
from runtime.images.puller import MAX_FRUITLESS_ATTEMPTS, all_at_once
from runtime.images.registry import Registry
from runtime.images.store import ImageStore

UPLOADS_AT_ONCE: Final = 3
PIECE_BYTES: Final = 4 * 1024 * 1024
COMPRESSION_LEVEL: Final = 6
MAX_MOUNT_SOURCES: Final = 4
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_WITH_HEADER: Final = 31  # zlib's wbits for gzip, whose header then has no time


@dataclass(frozen=True, slots=True)
class Pushed:
    tag: str
    digest: str
    size_bytes: int


class Pusher:
    """State: the store and the node's registry settings."""

    def __init__(self, store: ImageStore, registries: Registries) -> None:
        self._store, self._registries = store, registries
        self._uploads = trio.CapacityLimiter(UPLOADS_AT_ONCE)

    async def push(self, name: Reference, report: Report, credentials: Credentials = ANONYMOUS) -> Pushed:
        """Send the image that has this name here. Raises NoSuchImage, RegistryFailed. Cancelled, it leaves blobs at most,
        which no manifest names.
        """
        name = name.with_default_tag()
        if name.digest:
            raise RegistryRefused("cannot push a digest reference", http_status=400)
        report(Progress(f"The push refers to repository [{name.repository}]"))
        try:
            image = await trio.to_thread.run_sync(self._store.get, name.canonical)
        except NoSuchImage:
            raise NoSuchImage(f"An image does not exist locally with the tag: {name.familiar_repository}") from None
        unreachable: RegistryUnreachable | None = None
        for endpoint in endpoints(name.domain, self._registries):
            if endpoint.mirror:
                continue
            sources = _mount_sources(image, name)
            scopes = (f"repository:{name.path}:pull,push", *(f"repository:{source}:pull" for source in sources))
            answered = False
            try:
                async with registry.connect(endpoint, name.path, credentials, scopes) as target:
                    answered = True
                    return await self._send(target, image, name, sources, report)
            except RegistryUnreachable as error:
                if answered:
                    raise
                unreachable = error
        assert unreachable is not None
        raise unreachable

    async def _send(self, target: Registry, image: Image, name: Reference, sources: Sequence[str], report: Report) -> Pushed:
        layers = await trio.to_thread.run_sync(self._store.layer_blobs, image.id)
        for diff_id in image.diff_ids:
            report(Progress("Preparing", short(diff_id), layer=True))
        sent: dict[str, Descriptor] = {}
        locks = {layer.digest: trio.Lock() for layer in layers}
        staging = self._store.staging()
        folder = await trio.to_thread.run_sync(staging.__enter__)
        try:

            async def one(diff_id: str, layer: StagedBlob) -> None:
                async with locks[layer.digest], self._uploads:
                    if layer.digest not in sent:
                        sent[layer.digest] = await self._layer(target, layer, diff_id, folder, sources, report)
                    else:
                        report(Progress("Layer already exists", short(diff_id), layer=True))

            await all_at_once([partial(one, *pair) for pair in zip(image.diff_ids, layers, strict=True)])
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(staging.__exit__, None, None, None)
        if not await target.has_blob(image.id):
            location = await target.begin_upload()
            await target.end_upload(await target.send(location, 0, image.raw), image.id)
        media_type, raw = render((image.id, len(image.raw)), [sent[layer.digest] for layer in layers])
        digest = digest_of(raw)
        await target.put_manifest(name.tag, media_type, raw, digest)
        await trio.to_thread.run_sync(self._store.add_digest, name._replace(tag="", digest=digest), image.id)
        report(Progress(f"{name.tag}: digest: {digest} size: {len(raw)}"))
        return Pushed(name.tag, digest, len(raw))

    async def _layer(self, target: Registry, layer: StagedBlob, diff_id: str, folder: Path, sources: Sequence[str], report: Report) -> Descriptor:
        path, described = await trio.to_thread.run_sync(_transport_form, layer, folder)
        name = short(diff_id)
        if await target.has_blob(described.digest):
            report(Progress("Layer already exists", name, layer=True))
            return described
        location = ""
        for source in sources:
            try:
                location = await target.begin_upload(mount=described.digest, source=source)
            except RegistryRefused:
                continue  # not a repository that we may read: then the blob is sent
            if not location:
                report(Progress(f"Mounted from {source}", name, layer=True))
                return described
        location = location or await target.begin_upload()
        await _upload(target, location, path, described, Steps(report, "Pushing", name, described.size_bytes))
        report(Progress("Pushed", name, layer=True))
        return described


async def _upload(target: Registry, location: str, path: Path, described: Descriptor, steps: Steps) -> None:
    offset = fruitless = 0
    while offset < described.size_bytes:
        piece = await trio.to_thread.run_sync(_read, path, offset)
        try:
            location = await target.send(location, offset, piece)
            offset += len(piece)
            fruitless = 0
        except RegistryUnreachable as error:
            fruitless += 1
            if fruitless >= MAX_FRUITLESS_ATTEMPTS:
                raise
            location, offset = await _standing(target, location, error)
            if offset > described.size_bytes:
                raise RegistryRefused(f"the registry has {offset} bytes of a blob of {described.size_bytes}") from error
        steps.at(offset)
    await target.end_upload(location, described.digest)


async def _standing(target: Registry, location: str, cause: RegistryFailed) -> tuple[str, int]:
    """Where an interrupted upload stands; one that the registry has forgotten starts over."""
    try:
        return await target.sent(location)
    except RegistryRefused:
        return await target.begin_upload(), 0
    except RegistryUnreachable as error:
        raise error from cause


def _read(path: Path, offset: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return os.pread(file.fileno(), PIECE_BYTES, offset)


def _transport_form(layer: StagedBlob, folder: Path) -> tuple[Path, Descriptor]:
    """The layer's file as it travels, and its description. In a thread."""
    with open(layer.path, "rb", buffering=0) as file:
        head = file.read(compression.MAGIC_BYTES)
        size = layer.path.stat().st_size
        if head.startswith(_GZIP):
            return layer.path, Descriptor(DOCKER_LAYER_GZIP, layer.digest, size)
        if head.startswith(_ZSTD):
            return layer.path, Descriptor(OCI_LAYER_ZSTD, layer.digest, size)
        file.seek(0)
        path = folder / f"push-{layer.digest[7:]}"
        return path, _compressed(compression.reader(file.read), path)


def _compressed(read: compression.Read, path: Path) -> Descriptor:
    digest = hashlib.sha256()
    size = 0
    with open(path, "xb") as out:
        for piece in _deflated(read):
            digest.update(piece)
            size += out.write(piece)
    return Descriptor(DOCKER_LAYER_GZIP, f"sha256:{digest.hexdigest()}", size)


def _deflated(read: compression.Read) -> Iterator[bytes]:
    deflater = zlib.compressobj(COMPRESSION_LEVEL, wbits=_WITH_HEADER)
    for piece in blobs.chunks(read):
        yield deflater.compress(piece)
    yield deflater.flush()


def _mount_sources(image: Image, name: Reference) -> tuple[str, ...]:
    """Repositories of the same registry that are known to have this image."""
    known = [reference.parse(text) for text in image.repo_digests]
    return tuple(dict.fromkeys(k.path for k in known if k.domain == name.domain and k.path != name.path))[:MAX_MOUNT_SOURCES]
