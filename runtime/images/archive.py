"""Reading image archives: `docker save`'s format (manifest.json) and the OCI layout (index.json), from one pass over a
stream.

Owns the two formats. Every member is first written to a staging folder under a number (never under its own name),
because the manifest may come last; then the manifest says which member is what. Source: Docker image specification
v1.2, OCI image-layout specification 1.1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.model import reference
from runtime.errors import BadImage, UnpackFailed
from runtime.images import blobs, compression, config
from runtime.images.tar import Kind, TarReader

MAX_MEMBERS = 20_000
MAX_ARCHIVE_BYTES = 256 * 1024**3
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_INDEX_DEPTH = 4
MAX_LINKS_FOLLOWED = 4

_INDEX_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True)
class StagedBlob:
    """A file of the archive and the digest that it has."""

    path: Path
    digest: str


@dataclass(frozen=True)
class StagedImage:
    """One image of an archive. Names are normalised; layers are lowest first, compressed or not."""

    config: bytes
    names: tuple[reference.Reference, ...]
    layers: tuple[StagedBlob, ...]


def read(stream: Callable[[int], bytes], staging: Path, platform: str) -> list[StagedImage]:
    """The images of an archive, their files below `staging`. `platform` ("linux/amd64") chooses in an index for
    several. Raises BadImage.
    """
    try:
        members = _spool(stream, staging)
    except BadImage as error:
        raise UnpackFailed(str(error)) from error
    if "manifest.json" in members.files:
        return _docker(members)
    if "index.json" in members.files:
        return _oci(members, platform)
    raise BadImage("open manifest.json: no such file or directory: the archive is neither one of `docker save` nor an OCI layout")


@dataclass
class _Members:
    files: dict[str, StagedBlob]
    links: dict[str, str]

    def find(self, name: str) -> StagedBlob:
        path = _inside(name)
        for _ in range(MAX_LINKS_FOLLOWED):
            if path in self.files:
                return self.files[path]
            if path not in self.links:
                break
            path = self.links[path]
        raise BadImage(f"open {name}: no such file or directory in the archive")

    def small(self, name: str) -> bytes:
        path = self.find(name).path
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BadImage(f"{name} is longer than {MAX_MANIFEST_BYTES} bytes")
        return path.read_bytes()

    def json(self, name: str) -> Any:
        try:
            return json.loads(self.small(name))
        except (ValueError, RecursionError):
            raise BadImage(f"{name} is no JSON") from None

    def by_digest(self, digest: str) -> StagedBlob:
        algorithm, _, value = digest.partition(":")
        blob = self.find(f"blobs/{algorithm}/{value}")
        if blob.digest != digest:
            raise BadImage(f"blob {digest} has digest {blob.digest}")
        return blob


def _spool(stream: Callable[[int], bytes], staging: Path) -> _Members:
    members = _Members({}, {})
    total = 0
    tar = TarReader(compression.reader(stream))
    for number, entry in enumerate(tar):
        total += entry.size_bytes
        if number >= MAX_MEMBERS or total > MAX_ARCHIVE_BYTES:
            raise BadImage(f"an archive of more than {MAX_MEMBERS} members or {MAX_ARCHIVE_BYTES} bytes")
        if entry.kind is Kind.DIRECTORY:
            continue
        name = _inside(entry.name)
        if entry.kind is Kind.FILE:
            path = staging / f"member-{number}"
            members.files[name] = StagedBlob(path, blobs.write_file(path, tar.data()))
        elif entry.kind is Kind.SYMLINK:  # how older versions of `docker save` write a layer that occurs twice
            members.links[name] = _inside(entry.target, name.rpartition("/")[0])
        elif entry.kind is Kind.HARDLINK:
            members.links[name] = _inside(entry.target)
        else:
            raise BadImage(f"an image archive holds no {entry.kind.value} ({entry.name!r})")
    return members


def _inside(name: str, folder: str = "") -> str:
    parts: list[str] = [p for p in folder.split("/") if p]
    if name.startswith("/"):
        raise BadImage(f"invalid name in archive: {name!r} leaves the archive")
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise BadImage(f"invalid name in archive: {name!r} leaves the archive")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _docker(members: _Members) -> list[StagedImage]:
    manifest = members.json("manifest.json")
    try:
        return [
            StagedImage(
                config=members.small(str(item["Config"])),
                names=tuple(_tag(str(t)) for t in item.get("RepoTags") or ()),
                layers=tuple(members.find(str(layer)) for layer in item.get("Layers") or ()),
            )
            for item in manifest
        ]
    except (KeyError, TypeError, AttributeError):
        raise BadImage("manifest.json is malformed") from None


def _tag(text: str) -> reference.Reference:
    try:
        name = reference.parse(text)
    except reference.InvalidReference as error:
        raise BadImage(f"invalid tag {text!r}: {error}") from None
    if not name.tag:
        raise BadImage(f"invalid tag {text!r}")
    return name


def _oci(members: _Members, platform: str) -> list[StagedImage]:
    try:
        return list(_from_index(members, members.json("index.json"), platform, (), depth=0))
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise BadImage("the OCI layout is malformed") from None


def _from_index(members: _Members, index: dict[str, Any], platform: str, names: tuple[reference.Reference, ...], *, depth: int) -> Iterator[StagedImage]:
    if depth > MAX_INDEX_DEPTH:
        raise BadImage(f"indexes nested deeper than {MAX_INDEX_DEPTH}")
    found: dict[str, list[reference.Reference]] = {}
    descriptors: dict[str, dict[str, Any]] = {}
    for descriptor in index["manifests"]:
        where = descriptor.get("platform")
        wanted = where is None or f"{where.get('os')}/{where.get('architecture')}" == platform
        if wanted:
            digest = str(descriptor["digest"])
            descriptors.setdefault(digest, descriptor)
            found.setdefault(digest, []).extend(_annotated(descriptor.get("annotations") or {}))
    for digest, descriptor in descriptors.items():
        document = json.loads(members.small(_blob_name(members, digest)))
        own = tuple(dict.fromkeys((*names, *found[digest])))
        if "manifests" in document or descriptor.get("mediaType") in _INDEX_TYPES:
            yield from _from_index(members, document, platform, own, depth=depth + 1)
            continue
        raw = members.small(_blob_name(members, str(document["config"]["digest"])))
        config.parse(raw)
        layers = tuple(members.by_digest(str(layer["digest"])) for layer in document.get("layers") or ())
        yield StagedImage(raw, own, layers)


def _blob_name(members: _Members, digest: str) -> str:
    members.by_digest(digest)
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"


def _annotated(annotations: dict[str, Any]) -> list[reference.Reference]:
    for key in _NAME_ANNOTATIONS:
        text = str(annotations.get(key) or "")
        if text and (":" in text or "/" in text):  # else it is a bare tag, of no known repository
            try:
                return [reference.parse(text).with_default_tag()]
            except reference.InvalidReference:
                return []
    return []
