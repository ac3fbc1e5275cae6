"""What an image has at a path, as far as it can be told without following links: what lies behind one is found out at the start.

A working folder that can't be one is told when the container is made, as Docker does; a tmpfs over a folder of the image gets its mode, as from runc."""

from __future__ import annotations

import os
import stat

from cluster.model.errors import Internal


def check_working_folder(layers: tuple[str, ...], path: str) -> None:
    """`layers`: the image's, top first. Raises Internal in Docker's words when the image has a file there, or on the way there."""
    if not all(stat.S_ISDIR(mode) for mode in _modes(layers, path)):
        raise Internal(f"Cannot mkdir: {path} is not a directory")


def to_be_made(layers: tuple[str, ...], path: str) -> tuple[str, tuple[str, ...]]:
    """(the last folder on the way that the image has, the names that are missing below it); no names where a link or `..` leads elsewhere."""
    parts, there = _parts(path), len(_modes(layers, path))
    unknown = ".." in parts or there == len(parts) or _mode(layers, "/".join(parts[: there + 1])) is not None
    return "/" + "/".join(parts[:there]), () if unknown else tuple(parts[there:])


def mode_of(layers: tuple[str, ...], path: str) -> int | None:
    """The permission bits of the folder at `path`; None when there is none."""
    modes = _modes(layers, path)
    whole = len(modes) == len(_parts(path)) and modes and stat.S_ISDIR(modes[-1])
    return stat.S_IMODE(modes[-1]) if whole else None


def _modes(layers: tuple[str, ...], path: str) -> list[int]:
    """Of each step of the way, up to what is no folder (with it, unless it is a link) or is not there."""
    parts = _parts(path)
    found: list[int] = []
    if ".." in parts:
        return found
    for count in range(1, len(parts) + 1):
        mode = _mode(layers, "/".join(parts[:count]))
        if mode is None or stat.S_ISLNK(mode):
            break
        found.append(mode)
        if not stat.S_ISDIR(mode):
            break
    return found


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _mode(layers: tuple[str, ...], inner: str) -> int | None:
    """Of the topmost entry; None when there is none, or when it has been removed in a layer (a device, in overlayfs)."""
    for layer in layers:
        try:
            mode = os.lstat(os.path.join(layer, inner)).st_mode
        except OSError:
            continue
        return None if stat.S_ISCHR(mode) else mode
    return None
