"""The grammar of `--mount`, of containers and of services. Pure, but for the working folder. Source: docker/cli's opts/mount.go."""

from __future__ import annotations

import os
from typing import Any, Final

from cli.records import fields_of
from cli.units import parse_size

_BELOW: Final = {"enabled": (), "disabled": ("NonRecursive",), "writable": ("ReadOnlyNonRecursive",), "readonly": ("ReadOnlyForceRecursive",)}
"""Of bind-recursive=: the fields of BindOptions that are set."""
_MOUNT_TYPES: Final = frozenset({"bind", "volume", "tmpfs", "npipe", "cluster", "image"})
_OWNERS: Final = {"BindOptions": "bind", "VolumeOptions": "volume", "ImageOptions": "image", "TmpfsOptions": "tmpfs"}
"""Which type of mount has them."""


def parse_mount(text: str) -> dict[str, Any]:
    """`type=volume,source=v,target=/a,readonly`: a Mount. Raises ValueError."""
    mount: dict[str, Any] = {"Type": "volume"}
    extra: dict[str, dict[str, Any]] = {name: {} for name in _OWNERS}
    for field in fields_of(text):
        key, equals, value = field.partition("=")
        _field(mount, extra, key.lower(), value, field, given=bool(equals))
    kind = mount["Type"]
    if not mount.get("Target"):
        raise ValueError("target is required")
    if kind not in _MOUNT_TYPES:
        return {k: mount[k] for k in ("Type", "Source", "Target", "ReadOnly") if k in mount}
    for name, owner in _OWNERS.items():
        if extra[name] and kind != owner:
            raise ValueError(f"cannot mix '{owner}-*' options with mount type '{kind}'")
        if extra[name]:
            mount[name] = extra[name]
    _check_below(mount)
    if kind == "bind" and mount.get("Source", "").startswith("."):
        mount["Source"] = os.path.abspath(mount["Source"])
    order = ("Type", "Source", "Target", "ReadOnly", "Consistency", *_OWNERS)
    return {name: mount[name] for name in order if name in mount}


def _field(mount: dict[str, Any], extra: dict[str, dict[str, Any]], key: str, value: str, field: str, *, given: bool) -> None:
    if not given and key not in {"readonly", "ro", "volume-nocopy", "bind-nonrecursive"}:
        raise ValueError(f"invalid field '{field}' must be a key=value pair")
    bind, volume, tmpfs, image = extra["BindOptions"], extra["VolumeOptions"], extra["TmpfsOptions"], extra["ImageOptions"]
    if key == "type":
        mount["Type"] = value.lower()
    elif key in {"source", "src"}:
        mount["Source"] = value
    elif key in {"target", "dst", "destination"}:
        mount["Target"] = value
    elif key in {"readonly", "ro"}:
        mount["ReadOnly"] = _boolean(key, value, given=given)
    elif key == "consistency":
        mount["Consistency"] = value.lower()
    elif key == "bind-propagation":
        bind["Propagation"] = value.lower()
    elif key == "bind-nonrecursive":
        bind["NonRecursive"] = _boolean(key, value, given=given)
    elif key == "bind-recursive":
        if value not in _BELOW:
            raise ValueError(f'invalid value for {key}: {value} (must be "enabled", "disabled", "writable", or "readonly")')
        bind.update(dict.fromkeys(_BELOW[value], True))
    elif key == "volume-subpath":
        volume["Subpath"] = value
    elif key == "volume-nocopy":
        volume["NoCopy"] = _boolean(key, value, given=given)
    elif key == "volume-label":
        _pair(volume.setdefault("Labels", {}), value)
    elif key == "volume-driver":
        volume.setdefault("DriverConfig", {})["Name"] = value
    elif key == "volume-opt":
        _pair(volume.setdefault("DriverConfig", {}).setdefault("Options", {}), value)
    elif key == "image-subpath":
        image["Subpath"] = value
    elif key == "tmpfs-size":
        try:
            tmpfs["SizeBytes"] = parse_size(value)
        except ValueError as e:
            raise ValueError(f"invalid value for {key}: {value}") from e
    elif key == "tmpfs-mode":
        try:
            tmpfs["Mode"] = int(value, 8)
        except ValueError as e:
            raise ValueError(f"invalid value for {key}: {value}") from e
    else:
        raise ValueError(f"unexpected key '{key}' in '{field}'")


def _pair(known: dict[str, str], text: str) -> None:
    """One without a name says nothing."""
    name, _, value = text.partition("=")
    if name:
        known[name] = value


def _check_below(mount: dict[str, Any]) -> None:
    """What a bind says of the mounts below it has to fit the rest. Raises ValueError."""
    bind, read_only = mount.get("BindOptions") or {}, mount.get("ReadOnly")
    for value in ("writable", "readonly"):
        if bind.get(_BELOW[value][0]) and not read_only:
            raise ValueError(f"option 'bind-recursive={value}' requires 'readonly' to be specified in conjunction")
    if bind.get("ReadOnlyForceRecursive") and bind.get("Propagation") != "rprivate":
        raise ValueError("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")


def _boolean(key: str, value: str, *, given: bool) -> bool:
    if not given:
        return True
    known = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}.get(value.lower())
    if known is None:
        raise ValueError(f"invalid value for {key}: {value}")
    return known
