"""Manifests and indexes: OCI image specification 1.1 and Docker's image manifest version 2, schema 2.

Pure: bytes in, values out, and bytes for a push. Nothing that a registry says is believed here: sizes, counts and
digests are bounded and must have their form. The caller compares digests. Messages are Docker's where it has them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtime.errors import BadImage
from runtime.images.blobs import MAX_BLOB_BYTES
from runtime.images.config import MAX_CONFIG_BYTES, MAX_LAYERS

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_INDEX_ENTRIES = 1024
MAX_INDEX_DEPTH = 2

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ACCEPTED = (DOCKER_MANIFEST, DOCKER_LIST, OCI_INDEX, OCI_MANIFEST)

_SCHEMA1 = ("application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws")
_CONFIGS = (OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream", "")
_LAYER = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar)(?:[.+](?:gzip|zstd))?"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Platform:
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of a blob."""

    media_type: str
    digest: str
    size_bytes: int
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform; layers lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """One name for several platforms."""

    media_type: str
    manifests: tuple[Descriptor, ...]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def is_digest(text: str) -> bool:
    """Whether it is a digest that this node can check."""
    return bool(_DIGEST.fullmatch(text))


def parse(raw: bytes, content_type: str = "") -> Manifest | Index:
    """Raises BadImage for what is neither, for both at once, and for what no image has."""
    if len(raw) > MAX_MANIFEST_BYTES:
        raise BadImage(f"a manifest of more than {MAX_MANIFEST_BYTES} bytes")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadImage("the registry's manifest is no JSON") from None
    if not isinstance(document, dict):
        raise BadImage("the registry's manifest is malformed")
    said = content_type.partition(";")[0].strip()
    media_type = str(document.get("mediaType") or said)
    if media_type in _SCHEMA1 or document.get("schemaVersion") == 1:
        raise BadImage("Docker Image Format v1 and Docker Image manifest version 2, schema 1 are not supported: push the image again with a newer tool")
    if said in ACCEPTED and document.get("mediaType") and said != media_type:
        raise BadImage(f"mediaType in manifest should be '{said}' not '{media_type}'")
    whole, several = "config" in document or "layers" in document, "manifests" in document
    if whole and several:  # which of the two is meant must not depend on the reader (CVE-2021-41190)
        raise BadImage("the registry's manifest is malformed: both a manifest and an index")
    if media_type not in ("", *ACCEPTED) or (several and media_type in (OCI_MANIFEST, DOCKER_MANIFEST)) or (whole and media_type in (OCI_INDEX, DOCKER_LIST)):
        raise BadImage(f"unsupported manifest media type and no default available: {media_type}")
    if several:
        entries = _list(document["manifests"], MAX_INDEX_ENTRIES, "an index of more than {} manifests")
        return Index(media_type or OCI_INDEX, tuple(_descriptor(entry, MAX_MANIFEST_BYTES) for entry in entries))
    if not whole:
        raise BadImage("the registry's manifest is malformed: it names neither a configuration nor manifests")
    config = _descriptor(document.get("config"), MAX_CONFIG_BYTES)
    if config.media_type not in _CONFIGS:
        raise BadImage(f'invalid mediatype for image: "{config.media_type}" is no image configuration')
    layers = tuple(_descriptor(entry, MAX_BLOB_BYTES) for entry in _list(document.get("layers") or [], MAX_LAYERS, "max depth exceeded: more than {} layers"))
    for layer in layers:
        if not _LAYER.fullmatch(layer.media_type):
            raise BadImage(f'invalid media type for a layer: "{layer.media_type}"')
    return Manifest(media_type or OCI_MANIFEST, config, layers)


def choose(index: Index, wanted: Platform) -> Descriptor | None:
    """The entry for a platform: the same variant first, then one that says none, then any for the architecture; an
    index whose entries say no platform at all has only one meaning when it has one entry.
    """
    fitting = [m for m in index.manifests if m.platform and (m.platform.os, m.platform.architecture) == (wanted.os, wanted.architecture)]
    for test in (lambda v: v == wanted.variant, lambda v: not v, lambda v: not wanted.variant):
        for entry in fitting:
            if entry.platform and test(entry.platform.variant):
                return entry
    alone = index.manifests[0] if len(index.manifests) == 1 else None
    return alone if alone and alone.platform is None else None


def render(config: tuple[str, int], layers: Sequence[Descriptor]) -> tuple[str, bytes]:
    """(media type, bytes) of the manifest of a push: Docker's schema 2, which every registry takes; OCI's where a layer
    is zstd, for which Docker has no name. `config` is digest and size.
    """
    oci = any(layer.media_type == OCI_LAYER_ZSTD for layer in layers)
    names = {DOCKER_LAYER_GZIP: OCI_LAYER_GZIP} if oci else {}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST if oci else DOCKER_MANIFEST,
        "config": {"mediaType": OCI_CONFIG if oci else DOCKER_CONFIG, "size": config[1], "digest": config[0]},
        "layers": [{"mediaType": names.get(x.media_type, x.media_type), "size": x.size_bytes, "digest": x.digest} for x in layers],
    }
    return str(document["mediaType"]), json.dumps(document, indent=3).encode()


def _descriptor(value: Any, limit_bytes: int) -> Descriptor:
    if not isinstance(value, dict):
        raise BadImage("the registry's manifest is malformed: a descriptor is no object")
    media_type, digest, size = value.get("mediaType", ""), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str) or not is_digest(digest):
        raise BadImage(f"invalid checksum digest format: {str(digest)[:80]!r}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise BadImage(f"the registry's manifest is malformed: a blob of {str(size)[:20]} bytes")
    if size > limit_bytes:
        raise BadImage(f"blob {digest} has {size} bytes: at most {limit_bytes} are taken")
    return Descriptor(media_type, digest, size, _platform(value.get("platform")))


def _platform(value: Any) -> Platform | None:
    if not isinstance(value, dict):
        return None
    parts = [value.get(name) or "" for name in ("os", "architecture", "variant")]
    if not all(isinstance(part, str) for part in parts):
        raise BadImage("the registry's manifest is malformed: a platform that is no text")
    return Platform(*parts)


def _list(value: Any, limit: int, sentence: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadImage("the registry's manifest is malformed: no list")
    if len(value) > limit:
        raise BadImage(sentence.format(limit))
    return value
