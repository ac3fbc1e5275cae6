"""Images as one tar that is both an OCI layout and what `docker save` writes: index.json and manifest.json name the same
blobs.

Owns the layout; nothing is kept in memory but the small documents: `parts` gives bytes, and paths of files whose content
is to follow. Source: OCI image-layout specification 1.1; Docker image specification v1.2.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.model import reference
from cluster.model.reference import Reference
from runtime.images import blobs, compression, tar_writer
from runtime.images.config import Image
from runtime.images.store import ImageStore

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_SUFFIXES = ((b"\x1f\x8b", "+gzip"), (b"\x28\xb5\x2f\xfd", "+zstd"))
_UNSHARED = (b"BZh", b"\xfd7zXZ\0")  # compressions that the specification does not know

Part = bytes | Path


@dataclass(frozen=True)
class Chosen:
    """An image and the names under which it goes into the archive."""

    image: Image
    names: tuple[Reference, ...]


def choose(store: ImageStore, texts: Sequence[str]) -> tuple[Chosen, ...]:
    """What `docker save` takes for names and ids: a name without a tag means all tags of its repository. Raises
    NoSuchImage, InvalidReference.
    """
    chosen: dict[str, tuple[Image, dict[str, Reference]]] = {}
    for text in texts:
        for name in _expanded(store, text):
            image = store.get(name)
            names = chosen.setdefault(image.id, (image, {}))[1]
            if not (digits := reference.id_prefix(name)) or not image.id.removeprefix("sha256:").startswith(digits):
                parsed = reference.parse(name).with_default_tag()
                if parsed.tag:
                    names[parsed.canonical] = parsed
    return tuple(Chosen(image, tuple(names.values())) for image, names in chosen.values())


def _expanded(store: ImageStore, text: str) -> tuple[str, ...]:
    if reference.id_prefix(text) and text.startswith("sha256:"):
        return (text,)
    if len(text) == 64 and reference.id_prefix(text):
        return (text,)
    name = reference.parse(text)
    if name.tag or name.digest:
        return (text,)
    return store.named_in(name.repository) or (text,)


def parts(store: ImageStore, chosen: Sequence[Chosen], staging: Path) -> Iterator[Part]:
    """The tar from beginning to end. `staging`: a folder for layers that have to be written anew; must stay until the
    last part has been read.
    """
    written: set[str] = set()
    descriptors: list[dict[str, Any]] = []
    manifest: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    yield from (tar_writer.plain("blobs", 0, folder=True), tar_writer.plain("blobs/sha256", 0, folder=True))
    for one in chosen:
        layers = [_layer(path, digest, staging) for path, digest in ((b.path, b.digest) for b in store.layer_blobs(one.image.id))]
        for path, digest, _ in layers:
            yield from _file(_blob(digest), path, written)
        yield from _document(_blob(one.image.id), one.image.raw, written)
        oci = _json(_manifest(one.image, layers))
        digest = f"sha256:{hashlib.sha256(oci).hexdigest()}"
        yield from _document(_blob(digest), oci, written)
        descriptors += _described(one, digest, len(oci))
        manifest.append({"Config": _blob(one.image.id), "RepoTags": [n.familiar for n in one.names] or None, "Layers": [_blob(d) for _, d, _ in layers]})
        for name in one.names:
            repositories.setdefault(name.familiar_repository, {})[name.tag] = (layers[-1][1] if layers else one.image.id).removeprefix("sha256:")
    yield from _document("index.json", _json({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": descriptors}), written)
    yield from _document("manifest.json", _json(manifest), written)
    yield from _document("oci-layout", b'{"imageLayoutVersion":"1.0.0"}', written)
    yield from _document("repositories", _json(repositories), written)
    yield bytes(2 * tar_writer.BLOCK_BYTES)


def _layer(path: Path, digest: str, staging: Path) -> tuple[Path, str, str]:
    """(file, digest, media type) of a layer; one in a compression that the specification lacks is written plain."""
    with open(path, "rb", buffering=0) as file:
        magic = file.read(compression.MAGIC_BYTES)
        if magic.startswith(_UNSHARED):
            file.seek(0)
            plain = staging / digest.removeprefix("sha256:")
            if plain.exists():
                plain.unlink()
            return plain, blobs.write_file(plain, blobs.chunks(compression.reader(file.read))), LAYER_TYPE
    return path, digest, LAYER_TYPE + next((suffix for start, suffix in _SUFFIXES if magic.startswith(start)), "")


def _manifest(image: Image, layers: Sequence[tuple[Path, str, str]]) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": image.id, "size": len(image.raw)},
        "layers": [{"mediaType": kind, "digest": digest, "size": path.stat().st_size} for path, digest, kind in layers],
    }


def _described(one: Chosen, digest: str, size_bytes: int) -> list[dict[str, Any]]:
    """The index's lines: one for each name."""
    platform = {"architecture": one.image.architecture, "os": one.image.os}
    base: dict[str, Any] = {"mediaType": MANIFEST_TYPE, "digest": digest, "size": size_bytes, "platform": platform}
    named = [
        base | {"annotations": {"io.containerd.image.name": name.canonical, "org.opencontainers.image.ref.name": name.tag}} for name in one.names
    ]
    return named or [base]


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _file(name: str, path: Path, written: set[str]) -> Iterator[Part]:
    if name in written:
        return
    written.add(name)
    size = path.stat().st_size
    yield tar_writer.plain(name, size)
    yield path
    yield bytes(-size % tar_writer.BLOCK_BYTES)


def _document(name: str, data: bytes, written: set[str]) -> Iterator[Part]:
    if name not in written:
        written.add(name)
        yield tar_writer.plain(name, len(data)) + data + bytes(-len(data) % tar_writer.BLOCK_BYTES)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
