"""Mounts between the API's JSON and our values: the long form (Mounts) both ways, the short forms (Binds, Tmpfs) inwards. Pure.

A Mount's `options` carry what the API spreads over BindOptions, VolumeOptions and TmpfsOptions: `propagation`, `nonrecursive`, `writable-below`,
`read-only-below`, `create-mountpoint`, `read-only-as-before` (said by nobody: it is an older API's meaning),
`volume-nocopy`, `volume-driver`, `volume-subpath`, `volume-label:NAME`, `volume-opt:NAME`, `tmpfs-size` (bytes), `tmpfs-mode` (octal), `tmpfs-exec` (exec or
noexec), `consistency`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Final

from agent import propagation
from agent.engine import unread_fields
from agent.engine.convert import Json, filled
from agent.engine.fields import Fields
from agent.mount_points import LABELLED, SHORT, short_tmpfs_options
from cluster.model.errors import InvalidArgument
from cluster.model.specs import Mount, Pairs

KINDS: Final = ("bind", "volume", "tmpfs")
TMPFS_FLAGS: Final = ("exec", "noexec")
PROPAGATIONS: Final = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
MODES: Final = (("ro", "rw"), ("z", "Z"), ("nocopy",), PROPAGATIONS)
"""What may stand behind a second colon, at most one of each kind."""
_OPTIONS_OF: Final = (("BindOptions", "bind"), ("VolumeOptions", "volume"), ("TmpfsOptions", "tmpfs"))
_LABEL: Final = "volume-label:"
_OPTION: Final = "volume-opt:"


def mount_of(fields: Fields, unknown: str = 'invalid mount config for type "{}": mount type unknown') -> Mount:
    """One item of Mounts. Raises InvalidArgument, for a kind that is not served with the sentence `unknown`."""
    kind = fields.text("Type").lower()
    if kind not in KINDS:
        raise InvalidArgument(unknown.format(kind))
    options: list[tuple[str, str]] = []
    bind, volume, tmpfs = fields.section("BindOptions"), fields.section("VolumeOptions"), fields.section("TmpfsOptions")
    driver = volume.section("DriverConfig")
    unread_fields.checked(fields.section("ImageOptions"), unread_fields.IMAGE_MOUNT)
    options += [("propagation", bind.text("Propagation")), ("nonrecursive", _true(bind.flag("NonRecursive")))]
    options += [("writable-below", _true(bind.flag("ReadOnlyNonRecursive"))), ("read-only-below", _true(bind.flag("ReadOnlyForceRecursive")))]
    options += [("create-mountpoint", _true(bind.flag("CreateMountpoint")))]
    options += [("volume-nocopy", _true(volume.flag("NoCopy"))), ("volume-subpath", volume.text("Subpath"))]
    options += [(_LABEL + name, value or " ") for name, value in volume.pairs("Labels")]
    options += [("volume-driver", driver.text("Name"))]
    options += [(_OPTION + name, value or " ") for name, value in driver.pairs("Options")]
    size, mode = tmpfs.natural("SizeBytes"), tmpfs.natural("Mode")
    options += [("tmpfs-size", str(size) if size else ""), ("tmpfs-mode", f"{mode:o}" if mode else "")]
    options += [("tmpfs-exec", _tmpfs_flag(tmpfs.text_lists("Options"))), ("consistency", fields.text("Consistency"))]
    kept = tuple((name, value.strip() if ":" in name else value) for name, value in options if value)
    for name, theirs in _OPTIONS_OF:
        if kind != theirs and fields.has(name):
            raise InvalidArgument(f'invalid mount config for type "{kind}": field {name} must not be specified')
    return _checked(Mount(kind, fields.text("Source"), fields.text("Target"), fields.flag("ReadOnly"), kept))


def _checked(mount: Mount) -> Mount:
    """Docker's rules for the long form (volume/mounts/linux_parser.go)."""
    start = f'invalid mount config for type "{mount.kind}": '
    if not mount.target:
        raise InvalidArgument(f"{start}field Target must not be empty")
    if not mount.target.startswith("/"):
        raise InvalidArgument(f"{start}invalid mount path: '{mount.target}' mount path must be absolute")
    if mount.kind == "bind" and not mount.source:
        raise InvalidArgument(f"{start}field Source must not be empty")
    if mount.kind == "bind" and not mount.source.startswith("/"):
        raise InvalidArgument(f"{start}invalid mount path: '{mount.source}' mount path must be absolute")
    mode = dict(mount.options).get("propagation", "")
    if mode and mode not in propagation.MODES:
        raise InvalidArgument(f"{start}invalid propagation mode: {mode}")
    if mount.kind == "volume" and mount.read_only and not mount.source:
        raise InvalidArgument(f"{start}must not set ReadOnly mode when using anonymous volumes")
    subpath = posixpath.normpath(dict(mount.options).get("volume-subpath", "."))
    if subpath.startswith(("/", "../")) or subpath == "..":
        raise InvalidArgument(f"{start}subpath must be a relative path within the volume")
    if mount.kind == "tmpfs" and mount.source:
        raise InvalidArgument(f"{start}field Source must not be specified")
    return mount


def _tmpfs_flag(given: tuple[tuple[str, ...], ...]) -> str:
    """Docker takes two options of a tmpfs, of which the last one counts. Raises InvalidArgument."""
    for option in given:
        if not 1 <= len(option) <= 2:
            raise InvalidArgument("invalid option array length")
        if option[0] not in TMPFS_FLAGS:
            raise InvalidArgument(f"invalid option: {option[0]}")
    return given[-1][0] if given else ""


def _true(flag: bool) -> str:
    return "true" if flag else ""


def mount_json(mount: Mount) -> Json:
    options = dict(mount.options)
    bind = {
        "Propagation": options.get("propagation"),
        "NonRecursive": "nonrecursive" in options,
        "ReadOnlyNonRecursive": "writable-below" in options,
        "ReadOnlyForceRecursive": "read-only-below" in options,
        "CreateMountpoint": "create-mountpoint" in options,
    }
    driver = {"Name": options.get("volume-driver"), "Options": _prefixed(mount.options, _OPTION)}
    volume = {
        "NoCopy": "volume-nocopy" in options,
        "Labels": _prefixed(mount.options, _LABEL),
        "Subpath": options.get("volume-subpath"),
        "DriverConfig": filled(driver),
    }
    tmpfs: Json = {"SizeBytes": int(options.get("tmpfs-size", "0")), "Mode": int(options.get("tmpfs-mode", "0"), 8)}
    tmpfs |= {"Options": [[options["tmpfs-exec"]]]} if "tmpfs-exec" in options else {}
    return filled(
        {
            "Type": mount.kind,
            "Source": mount.source,
            "Target": mount.target,
            "ReadOnly": mount.read_only,
            "Consistency": options.get("consistency"),
            "BindOptions": filled(bind),
            "VolumeOptions": filled(volume),
            "TmpfsOptions": filled(tmpfs),
        }
    )


def _prefixed(options: Pairs, prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in options if name.startswith(prefix)}


def bind_of(text: str) -> Mount:
    """`source:target[:mode,…]`; a source that is no path names a volume. Raises InvalidArgument in Docker's words."""
    parts = text.split(":")
    if len(parts) == 1 and text.startswith("/"):
        return Mount("volume", "", text, False, ((SHORT, text),))
    if len(parts) not in (2, 3) or not all(parts):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    source, target = parts[0], parts[1]
    kind = "bind" if source.startswith("/") else "volume"
    modes = parts[2].split(",") if len(parts) == 3 else []
    if not target.startswith("/"):
        raise InvalidArgument(f"invalid volume specification: '{text}': invalid mount config for type \"{kind}\": "
                              f"invalid mount path: '{target}' mount path must be absolute")  # fmt: skip
    if not all(modes) or any(sum(mode in kind for mode in modes) > 1 for kind in MODES) or set(modes).difference(*MODES):
        raise InvalidArgument(f"invalid mode: {parts[2]}")
    foreign = "BindOptions" if kind == "volume" and set(modes) & set(PROPAGATIONS) else "VolumeOptions" if kind == "bind" and "nocopy" in modes else ""
    if foreign:
        raise InvalidArgument(f"invalid volume specification: '{text}': invalid mount config for type \"{kind}\": field {foreign} must not be specified")
    options: list[tuple[str, str]] = [(SHORT, text)]
    for mode in modes:
        if mode in PROPAGATIONS:
            options.append(("propagation", mode))
        elif mode == "nocopy":
            options.append(("volume-nocopy", "true"))
    if kind == "bind":
        options.append(("create-mountpoint", "true"))
    return Mount(kind, source, target, "ro" in modes, tuple(options))


def tmpfs_of(target: str, text: str) -> Mount:
    """`--tmpfs target:size=64m,mode=1770,ro`. Raises InvalidArgument for an option that there is not."""
    short_tmpfs_options(text)
    last = next((word for word in reversed(text.split(",")) if word in ("ro", "rw")), "rw")
    return Mount("tmpfs", "", target, last == "ro", ((SHORT, text),))


def binds_of(mounts: Iterable[Mount]) -> list[str]:
    """HostConfig.Binds: what was asked for in the short form, as it was written."""
    return [dict(m.options)[SHORT] for m in mounts if m.kind != "tmpfs" and _is_short(m)]


def tmpfs_json(mounts: Iterable[Mount]) -> dict[str, str]:
    """HostConfig.Tmpfs."""
    return {m.target: dict(m.options)[SHORT] for m in mounts if m.kind == "tmpfs" and _is_short(m)}


def long_form(mounts: Iterable[Mount]) -> list[Json]:
    """HostConfig.Mounts."""
    return [mount_json(m) for m in mounts if not _is_short(m)]


def _is_short(mount: Mount) -> bool:
    return any(name == SHORT for name, _ in mount.options)


def mount_points_json(mounts: Iterable[Mount], root: str) -> list[Json]:
    """A container's Mounts, without what --tmpfs asked for, as in Docker."""
    return [mount_point_json(m, root) for m in mounts if not (m.kind == "tmpfs" and _is_short(m))]


def mount_point_json(mount: Mount, root: str) -> Json:
    """A line of a container's Mounts. `root` is the folder of the node's volumes."""
    options = dict(mount.options)
    point: Json = {"Type": mount.kind}
    if mount.kind == "volume":
        source = f"{root}/{mount.source}/_data"
        point |= {"Name": mount.source, "Source": source, "Destination": mount.target, "Driver": options.get("volume-driver", "local")}
    else:
        point |= {"Source": mount.source, "Destination": mount.target}
    propagation = options.get("propagation", "rprivate") if mount.kind == "bind" else ""
    return point | {"Mode": _mode(mount), "RW": not mount.read_only, "Propagation": propagation}


def _mode(mount: Mount) -> str:
    """What stood behind the second colon; Docker's `z` for a volume that was asked for without one."""
    short = dict(mount.options).get(SHORT, "")
    if short.count(":") > 1:
        return short.rpartition(":")[2]
    return "z" if LABELLED in mount.options else ""
