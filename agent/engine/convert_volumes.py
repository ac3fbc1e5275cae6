"""Volumes -> the API's JSON. Pure. Source: the Engine API's Volume, version 1.51."""

from __future__ import annotations

from agent.engine.convert import SECOND_NS, Json, mapping, time_text
from agent.volumes import DRIVER
from runtime.storage.volumes import Volume


def volume_json(volume: Volume, folder: str, usage: tuple[int, int] | None = None) -> Json:
    """`folder`: what containers see; `usage`: (bytes, containers) where it was measured."""
    labels = mapping(volume.labels) | ({"com.docker.volume.anonymous": ""} if volume.anonymous else {})
    out: Json = {
        "CreatedAt": time_text(volume.created_at_ns // SECOND_NS * SECOND_NS),
        "Driver": DRIVER,
        "Labels": labels or None,
        "Mountpoint": folder,
        "Name": volume.name,
        "Options": mapping(volume.options) or None,
        "Scope": "local",
    }
    return out if usage is None else out | {"UsageData": {"Size": usage[0], "RefCount": usage[1]}}
