"""Archives for the tests of the image store: layers and images made entry by entry, also wrong ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from typing import Any


def entry(name: str, content: bytes | None = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A tar entry; content None makes a folder, `link`/`hard` a link."""
    info = tarfile.TarInfo(name)
    info.mode = 0o755 if content is None else 0o644
    if "link" in fields:
        info.type, info.linkname = tarfile.SYMTYPE, fields.pop("link")
    elif "hard" in fields:
        info.type, info.linkname = tarfile.LNKTYPE, fields.pop("hard")
    elif content is None:
        info.type = tarfile.DIRTYPE
    data = content or b""
    if info.type == tarfile.REGTYPE:
        info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def tar(entries: Iterable[tuple[tarfile.TarInfo, bytes]], format_: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def configuration(layers: Iterable[bytes], **config: Any) -> bytes:
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest(x) for x in layers]},
        }
    ).encode()


def docker_archive(layers: list[bytes], tags: list[str] | None, config: bytes | None = None) -> bytes:
    """As `docker save` 20.10: folders, symlinks for a layer that occurs twice, the manifest last."""
    raw = configuration(layers, Cmd=["sh"], Env=["A=b"]) if config is None else config
    entries, names, seen = [], [], dict[str, str]()
    for n, layer in enumerate(layers):
        name = f"{n:064x}/layer.tar"
        entries.append(entry(f"{n:064x}", None))
        key = digest(layer)
        entries.append(entry(name, link=f"../{seen[key]}") if key in seen else entry(name, layer))
        seen.setdefault(key, name)
        names.append(name)
    entries.append(entry("config.json", raw))
    entries.append(
        entry("manifest.json", json.dumps([{"Config": "config.json", "RepoTags": tags, "Layers": names}]).encode())
    )
    return tar(entries)


def oci_layout(layer: bytes, name: str, *, wrong_digest: bool = False) -> bytes:
    """An OCI layout with a compressed layer and an index in the index, for two platforms."""
    blobs: dict[str, bytes] = {}

    def add(data: bytes) -> str:
        blobs[digest(data)] = data
        return digest(data)

    compressed = gzip.compress(layer, mtime=0)
    raw = configuration([layer])
    manifest = add(json.dumps({"config": {"digest": add(raw)}, "layers": [{"digest": add(compressed)}]}).encode())
    index = add(
        json.dumps(
            {
                "manifests": [
                    {"digest": manifest, "platform": {"os": "linux", "architecture": "amd64"}},
                    {"digest": "sha256:" + "1" * 64, "platform": {"os": "linux", "architecture": "nowhere"}},
                ]
            }
        ).encode()
    )
    top = {
        "schemaVersion": 2,
        "manifests": [
            {
                "digest": index,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "latest"},
            }
        ],
    }
    if wrong_digest:
        blobs[digest(compressed)] = compressed + b"more"
    entries = [entry(f"blobs/sha256/{d[7:]}", data) for d, data in blobs.items()]
    return tar([entry("oci-layout", b"{}"), *entries, entry("index.json", json.dumps(top).encode())])
