"""An image made of a container: its image, and one more layer that holds what it wrote, if it wrote anything.

Owns the order of the steps; content and records are store.py's, the layer's form runtime/storage/changes.py's.
Synchronous: callers use threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.model import reference
from runtime.errors import BadImage
from runtime.images import config
from runtime.images.archive import StagedBlob
from runtime.images.config import HistoryEntry, Image
from runtime.images.store import ImageStore, chain_ids
from runtime.storage import changes as written

BUFFER_BYTES = 1024 * 1024
NO_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
"""The digest of a tar with nothing in it."""


def commit(
    store: ImageStore, base: Image, upper: str, container_config: dict[str, Any], changes: Sequence[str], step: HistoryEntry, name: str
) -> str:
    """The new image's id. An empty `name` leaves it without one. Raises BadImage, InvalidReference, OSError; nothing is
    left then.
    """
    names = (reference.parse(name).with_default_tag(),) if name else ()
    if names and names[0].digest:
        raise BadImage("cannot commit to digest reference")
    with store.staging() as staging:
        folder = staging / "image"
        folder.mkdir(mode=0o700)
        path = staging / "layer"
        digest = _write(path, upper)
        empty = digest == NO_LAYER
        raw = config.committed(base.raw, "" if empty else digest, container_config, changes, step)
        config.image(digest, raw, (), ())
        chain = chain_ids(config.diff_ids(config.parse(raw)))
        known = empty or store.has_layer(chain[-1])
        fresh = () if known else (store.unpack(StagedBlob(path, digest), digest, chain[-1], folder, base=not base.diff_ids),)
        store.place(raw, fresh, folder, names)
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _write(path: Path, upper: str) -> str:
    """The layer as a tar; its digest."""
    digest = hashlib.sha256()
    with open(path, "xb", buffering=BUFFER_BYTES) as file:

        def write(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        written.write_layer(upper, write)
        file.flush()
    return f"sha256:{digest.hexdigest()}"
