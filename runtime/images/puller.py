"""Pulling an image: the manifest for this platform, its configuration, its layers three at a time, each unpacked as soon as
it is here, and the image in the store in one step at the end.

Owns the order and what is checked: every byte that is kept has the digest that the manifest says, the manifest that of
its index, the unpacked layers those of the configuration. Interrupted (cancelled, killed), a pull leaves nothing in the
store; what had come of its layers lies in the partial folder, and the next pull goes on from there. Sources: OCI
distribution and image specifications; moby distribution/pull_v2.go for the words.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from cluster.model.reference import Reference
from runtime.errors import BadImage, NoSuchImage, RegistryFailed, RegistryRefused, RegistryUnreachable, RuntimeFault
from runtime.images import config, registry
from runtime.images import partial as partials
from runtime.images.archive import StagedBlob
from runtime.images.auth import ANONYMOUS, Credentials
from runtime.images.endpoints import Endpoint, Registries, endpoints
from runtime.images.manifest import MAX_INDEX_DEPTH, Descriptor, Index, Manifest, Platform, choose, digest_of, parse
from runtime.images.progress import Progress, Report, Steps, short
from runtime.images.registry import Registry
from runtime.images.source import Blob, Source
from runtime.images.store import FreshLayer, ImageStore, architecture, chain_ids

DOWNLOADS_AT_ONCE: Final = 3
UNPACKERS_AT_ONCE: Final = 2
MAX_FRUITLESS_ATTEMPTS: Final = 5  # in a row, at one blob
MAX_ATTEMPTS: Final = 100  # at one blob, when each brings a little
WRITE_BYTES: Final = 1024 * 1024
_DENIED: Final = frozenset({"DENIED", "UNAUTHORIZED", "NAME_UNKNOWN", "NOT_FOUND"})


@dataclass(frozen=True, slots=True)
class Pulled:
    """`digest` is that of the manifest or index which the name stands for; `fresh`: the image was not here before."""

    image_id: str
    digest: str
    fresh: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a name stands for in its registry. `platforms`: those of an index, or of the image."""

    media_type: str
    digest: str
    size_bytes: int
    platforms: tuple[Platform, ...]


class Puller:
    """State: the store, the folder of interrupted downloads, the node's registry settings."""

    def __init__(self, store: ImageStore, partial_folder: Path, registries: Registries) -> None:
        self._store, self._partial, self._registries = store, partial_folder, registries
        self._downloads = trio.CapacityLimiter(DOWNLOADS_AT_ONCE)
        self._unpackers = trio.CapacityLimiter(UNPACKERS_AT_ONCE)

    async def pull(self, name: Reference, report: Report, credentials: Credentials = ANONYMOUS, platform: Platform | None = None) -> Pulled:
        """Bring the image here under its name. Nothing is reported before the registry has answered with a manifest.

        Raises RegistryFailed in Docker's words, BadImage. Cancelled, it leaves the store as it was.
        """
        name = name.with_default_tag()
        wanted = platform or Platform("linux", architecture())
        await trio.to_thread.run_sync(partials.sweep, self._partial, time.time())
        async with self._answering(name, credentials) as (source, media_type, raw):
            digest = digest_of(raw)
            manifest = await _for_platform(source, parse(raw, media_type), wanted, name)
            report(Progress(f"Pulling from {name.path}", name.digest or name.tag))
            image_id = manifest.config.digest
            here = await trio.to_thread.run_sync(self._has_image, image_id)
            names = _names(name, digest)
            named = here and await trio.to_thread.run_sync(self._is_called, image_id, name)
            if here:
                await trio.to_thread.run_sync(self._name_again, image_id, names)
                if credentials == ANONYMOUS:
                    await trio.to_thread.run_sync(self._store.set_public, image_id)
            else:
                await self._take(source, manifest, names, report, private=credentials != ANONYMOUS)
        report(Progress(f"Digest: {digest}"))
        report(Progress(f"Status: {'Image is up to date for' if named else 'Downloaded newer image for'} {name.familiar}"))
        return Pulled(image_id, digest, not here)

    async def take(self, source: Source, manifest: Manifest, name: Reference, report: Report) -> None:
        """The same from another source, which has said what the name is; its word is checked against what comes. Raises as `pull`."""
        if await trio.to_thread.run_sync(self._has_image, manifest.config.digest):
            await trio.to_thread.run_sync(self._name_again, manifest.config.digest, (name,))
        else:
            await self._take(source, manifest, (name,), report)

    async def look_up(self, name: Reference, credentials: Credentials = ANONYMOUS) -> Found:
        """What the registry has under this name, without pulling it. Raises as `pull`."""
        name = name.with_default_tag()
        async with self._answering(name, credentials) as (source, media_type, raw):
            found = parse(raw, media_type)
            if isinstance(found, Index):
                platforms = tuple(entry.platform for entry in found.manifests if entry.platform)
            else:
                document = config.parse(await _config(source, found.config))
                platforms = (Platform(*(str(document.get(key) or "") for key in ("os", "architecture", "variant"))),)
            return Found(found.media_type, digest_of(raw), len(raw), platforms)

    async def tags(self, name: Reference, credentials: Credentials = ANONYMOUS) -> tuple[str, ...]:
        """All tags of the repository. Raises RegistryFailed."""
        last: RegistryUnreachable | None = None
        for endpoint in endpoints(name.domain, self._registries):
            if endpoint.mirror:
                continue
            try:
                async with registry.connect(endpoint, name.path, credentials, (f"repository:{name.path}:pull",)) as source:
                    return await source.tags()
            except RegistryUnreachable as error:
                last = error
        assert last is not None
        raise last

    async def log_in(self, server: str, credentials: Credentials) -> None:
        """Raises RegistryFailed when the registry (HOST or HOST:PORT) does not know them."""
        unreachable: RegistryUnreachable | None = None
        for endpoint in endpoints(server, self._registries):
            if endpoint.mirror:
                continue
            try:
                async with registry.connect(endpoint, "", credentials, ()) as source:
                    await source.login()
                    return
            except RegistryUnreachable as error:
                unreachable = error
        assert unreachable is not None
        raise unreachable

    # --- who answers
    @asynccontextmanager
    async def _answering(self, name: Reference, credentials: Credentials) -> AsyncIterator[tuple[Registry, str, bytes]]:
        """The first endpoint that has the name: (connection, content type, manifest). What the body raises is its own."""
        last: RegistryFailed | None = None
        for endpoint in endpoints(name.domain, self._registries):
            who = ANONYMOUS if endpoint.mirror else credentials  # a mirror is somebody else
            async with _trying(endpoint, name, who) as answer:
                if not isinstance(answer, RegistryFailed):
                    yield answer
                    return
            if isinstance(answer, RegistryRefused) and not endpoint.mirror:
                raise in_dockers_words(answer, name)
            last = answer
        assert last is not None
        raise last

    # --- taking it in
    async def _take(self, source: Source, manifest: Manifest, names: Sequence[Reference], report: Report, *, private: bool = False) -> None:
        raw = await _config(source, manifest.config)
        document = config.parse(raw)
        diff_ids = config.diff_ids(document)
        if (system := str(document.get("os") or "linux")) != "linux":
            raise BadImage(f'image operating system "{system}" cannot be used on this platform: operating system is not supported')
        if len(diff_ids) != len(manifest.layers):
            raise BadImage(f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, got {len(manifest.layers)}")
        config.image(manifest.config.digest, raw, (), ())  # refuses a malformed one before a layer is asked for
        chain = chain_ids(diff_ids)
        wanted: dict[str, tuple[Descriptor, str, bool]] = {}
        for position, (chain_id, layer) in enumerate(zip(chain, manifest.layers, strict=True)):
            if await trio.to_thread.run_sync(self._store.has_layer, chain_id):
                report(Progress("Already exists", short(layer.digest), layer=True))
            elif chain_id not in wanted:
                wanted[chain_id] = (layer, diff_ids[position], position == 0)
                report(Progress("Pulling fs layer", short(layer.digest), layer=True))
        fresh: list[FreshLayer] = []
        async with self._staging() as folder:
            locks = {layer.digest: trio.Lock() for layer, _, _ in wanted.values()}

            async def one(chain_id: str, layer: Descriptor, diff_id: str, base: bool) -> None:
                async with locks[layer.digest]:  # the same blob twice in one image
                    blob = await self._blob(source, layer, folder, report)
                work = partial(self._store.unpack, blob, diff_id, chain_id, folder, base=base)
                report(Progress("Extracting", short(layer.digest), 0, layer.size_bytes, layer=True))
                fresh.append(await trio.to_thread.run_sync(work, limiter=self._unpackers))
                report(Progress("Extracting", short(layer.digest), layer.size_bytes, layer.size_bytes, layer=True))
                report(Progress("Pull complete", short(layer.digest), layer=True))

            await all_at_once([partial(one, chain_id, *rest) for chain_id, rest in wanted.items()])
            with trio.CancelScope(shield=True):  # a moment: all of it or nothing
                await trio.to_thread.run_sync(partial(self._store.place, private=private), raw, fresh, folder, names)

    async def _blob(self, source: Source, layer: Descriptor, folder: Path, report: Report) -> StagedBlob:
        target = folder / f"blob-{layer.digest[7:]}"
        if await trio.to_thread.run_sync(self._borrow, layer.digest, target):
            return StagedBlob(target, layer.digest)
        if self._downloads.available_tokens < 1:
            report(Progress("Waiting", short(layer.digest), layer=True))
        async with self._downloads:
            file = await trio.to_thread.run_sync(partials.claim, self._partial, layer.digest, folder / f"partial-{layer.digest[7:]}")
            try:
                await _download(source, layer, file, Steps(report, "Downloading", short(layer.digest), layer.size_bytes))
                report(Progress("Verifying Checksum", short(layer.digest), layer=True))
                await trio.to_thread.run_sync(file.finish, layer.digest, target)
            finally:
                file.close()
        report(Progress("Download complete", short(layer.digest), layer=True))
        return StagedBlob(target, layer.digest)

    def _borrow(self, digest: str, target: Path) -> bool:
        """Whether the blob is here already, in this pull's folder or in the store (then it is linked into the folder)."""
        if target.exists():
            return True
        known = self._store.blob_path(digest)
        if known is None:
            return False
        try:
            os.link(known, target)
        except FileNotFoundError:  # collected just now
            return False
        return True

    def _has_image(self, image_id: str) -> bool:
        return any(image.id == image_id for image in self._store.list())

    def _is_called(self, image_id: str, name: Reference) -> bool:
        try:
            return self._store.get(name.canonical).id == image_id
        except NoSuchImage:
            return False

    def _name_again(self, image_id: str, names: Sequence[Reference]) -> None:
        for name in names:
            if name.digest:
                self._store.add_digest(name, image_id)
            else:
                self._store.tag(image_id, name.canonical)

    @asynccontextmanager
    async def _staging(self) -> AsyncIterator[Path]:
        staging = self._store.staging()
        folder = await trio.to_thread.run_sync(staging.__enter__)
        try:
            yield folder
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(staging.__exit__, None, None, None)


async def all_at_once(works: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Run them together; the first that fails ends the others, and its error is raised by itself."""
    failures: list[RuntimeFault | OSError] = []
    async with trio.open_nursery() as nursery:

        async def guarded(work: Callable[[], Awaitable[None]]) -> None:
            try:
                await work()
            except (RuntimeFault, OSError) as error:
                failures.append(error)
                nursery.cancel_scope.cancel()

        for work in works:
            nursery.start_soon(guarded, work)
    if failures:
        raise failures[0]


def in_dockers_words(error: RegistryRefused, name: Reference) -> RegistryRefused:
    """What Docker makes of a registry's refusal of a manifest."""
    if error.code == "MANIFEST_UNKNOWN":
        return RegistryRefused(f"manifest for {name.familiar} not found: {error}", error.code, 404)
    if error.code == "NAME_UNKNOWN":
        return RegistryRefused(f"repository {name.familiar_repository} not found: {error}", error.code, 404)
    if error.code == "DENIED" or (error.code == "UNAUTHORIZED" and str(error).startswith("unauthorized")):
        said = f"pull access denied for {name.familiar_repository}, repository does not exist or may require 'docker login': {error}"
        return RegistryRefused(said, error.code, 404)
    return error


@asynccontextmanager
async def _trying(endpoint: Endpoint, name: Reference, credentials: Credentials) -> AsyncIterator[tuple[Registry, str, bytes] | RegistryFailed]:
    """A connection with the name's manifest, or why there is none. Failures of the body pass through."""
    began = False
    failure: RegistryFailed | None = None
    try:
        async with registry.connect(endpoint, name.path, credentials, (f"repository:{name.path}:pull",)) as source:
            media_type, raw = await source.manifest(name.digest or name.tag)
            if name.digest and digest_of(raw) != name.digest:
                raise BadImage(f"manifest verification failed for digest {name.digest}")
            began = True
            yield source, media_type, raw
    except RegistryFailed as error:
        if began:
            raise
        failure = error
    if failure is not None:
        yield failure


async def _for_platform(source: Registry, found: Manifest | Index, wanted: Platform, name: Reference) -> Manifest:
    depth = 0
    while isinstance(found, Index):
        entry = choose(found, wanted)
        if entry is None:
            raise RegistryRefused(f"no matching manifest for {wanted} in the manifest list entries", "MANIFEST_UNKNOWN", 404)
        depth += 1
        if depth > MAX_INDEX_DEPTH:
            raise BadImage(f"indexes nested deeper than {MAX_INDEX_DEPTH}")
        try:
            media_type, raw = await source.manifest(entry.digest)
        except RegistryRefused as error:
            raise in_dockers_words(error, name) from error
        if digest_of(raw) != entry.digest:
            raise BadImage(f"manifest verification failed for digest {entry.digest}")
        found = parse(raw, media_type)
    return found


async def _config(source: Source, wanted: Descriptor) -> bytes:
    raw = await source.small_blob(wanted.digest, wanted.size_bytes)
    if digest_of(raw) != wanted.digest:
        raise BadImage(f"image config verification failed for digest {wanted.digest}")
    return raw


async def _download(source: Source, layer: Descriptor, file: partials.Partial, steps: Steps) -> None:
    """Fill the file with the blob, going on after every interruption for as long as something comes."""
    if file.size_bytes > layer.size_bytes:
        file.clear()
    fruitless = attempts = 0
    while file.size_bytes < layer.size_bytes or attempts == 0:
        if file.size_bytes == layer.size_bytes > 0:
            return
        before, attempts = file.size_bytes, attempts + 1
        problem: RegistryFailed = RegistryUnreachable(f"blob {layer.digest}: unexpected EOF")
        try:
            async with source.blob(layer.digest, before) as blob:
                if blob.start != before:
                    file.clear()
                    before = 0
                    if blob.start:
                        raise RegistryRefused(f"the registry sent {layer.digest} from byte {blob.start} on", "RANGE_INVALID")
                await _write(blob, layer, file, steps)
        except RegistryUnreachable as error:
            problem = error
        except RegistryRefused as error:
            if error.code != "RANGE_INVALID" or not before:
                raise
            file.clear()
            problem = error
        fruitless = 0 if file.size_bytes > before else fruitless + 1
        if file.size_bytes < layer.size_bytes and (fruitless >= MAX_FRUITLESS_ATTEMPTS or attempts >= MAX_ATTEMPTS):
            raise problem


async def _write(blob: Blob, layer: Descriptor, file: partials.Partial, steps: Steps) -> None:
    waiting = bytearray()
    try:
        async for piece in blob.pieces:
            waiting += piece
            if file.size_bytes + len(waiting) > layer.size_bytes:
                waiting.clear()
                raise BadImage(f"blob {layer.digest} is longer than the {layer.size_bytes} bytes that its manifest says")
            if len(waiting) >= WRITE_BYTES:
                await trio.to_thread.run_sync(file.append, waiting)
                waiting = bytearray()
                steps.at(file.size_bytes)
    finally:
        if waiting:
            with trio.CancelScope(shield=True):  # a moment: what has come is kept for the next attempt
                await trio.to_thread.run_sync(file.append, waiting)
    steps.at(file.size_bytes)


def _names(name: Reference, digest: str) -> tuple[Reference, ...]:
    by_digest = name._replace(tag="", digest=digest)
    return (by_digest,) if name.digest else (name, by_digest)
