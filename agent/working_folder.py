"""Whether a container's working folder can be one, told when the container is made, as Docker does. Looks at the image's layers without
following links: what lies behind one is found out at the start."""

from __future__ import annotations

import os
import stat

from cluster.model.errors import Internal


def check(layers: tuple[str, ...], path: str) -> None:
    """`layers`: the image's, top first. Raises Internal in Docker's words when the image has a file there, or on the way there."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        return
    for count in range(1, len(parts) + 1):
        mode = _mode(layers, "/".join(parts[:count]))
        if mode is None or stat.S_ISLNK(mode):
            return
        if not stat.S_ISDIR(mode):
            raise Internal(f"Cannot mkdir: {path} is not a directory")


def _mode(layers: tuple[str, ...], inner: str) -> int | None:
    """Of the topmost entry; None when there is none, or when it has been removed in a layer (a device, in overlayfs)."""
    for layer in layers:
        try:
            mode = os.lstat(os.path.join(layer, inner)).st_mode
        except OSError:
            continue
        return None if stat.S_ISCHR(mode) else mode
    return None
