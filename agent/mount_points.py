"""Which mounts a container gets: what the user asked for, other containers' volumes and the image's own, as one list.

Pure. Owns Docker's rules of precedence and the conversion to the runtime's mounts; makes nothing. A Mount's options are
those of agent/engine/convert_mounts.py; `anonymous` marks a volume that no one named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from posixpath import normpath
from typing import Final

import msgspec

from agent.propagation import MODES
from agent.records import HostConfig
from cluster.model.errors import InvalidArgument
from cluster.model.specs import Mount
from runtime.spec import Mount as RuntimeMount

ANONYMOUS: Final = ("anonymous", "true")
LABELLED: Final = ("label", "z")
"""Marks a volume that --mount or -v asked for: what Docker shows as its mode where the user gave none (SELinux's label)."""
SHORT: Final = "short"
"""The option that keeps how the user wrote a mount (-v a:b:ro, --tmpfs /t:size=1m)."""
ONE_READ_ONLY: Final = "read-only-as-before"
"""The option of a bind that an older API asked for: read-only, it leaves what is mounted below as it is."""

_MODES_FROM: Final = (("ro", "rw"), ("z", "Z"))
"""What may stand behind the container of --volumes-from, at most one of each kind."""
_TMPFS_NUMBERS: Final = ("size", "mode", "uid", "gid", "nr_inodes")
_TMPFS_FLAGS: Final = ("exec", "suid", "dev")
_TMPFS_UNFLAGS: Final = ("noexec", "nosuid", "nodev")
_TMPFS_DEFAULTS: Final = ("defaults", "rw", "ro")
MountsOf = Callable[[str], Iterable[Mount]]


def points(host: HostConfig, volumes: Iterable[str], mounts_of: MountsOf, name: Callable[[], str]) -> tuple[Mount, ...]:
    """The container's mount points: --volumes-from, then -v, --mount and --tmpfs, then the volumes of image and user for
    which nothing is mounted yet. `mounts_of`: another container's points (raises for one that is not there); `name` gives
    the names of anonymous volumes. Raises InvalidArgument.
    """
    found: dict[str, Mount] = {}
    for text in host.volumes_from:
        reference, read_only = _from(text)
        for mount in mounts_of(reference):
            if mount.kind != "tmpfs":
                kept = tuple(option for option in mount.options if option not in (ANONYMOUS, LABELLED) and option[0] != SHORT)
                found[mount.target] = msgspec.structs.replace(mount, read_only=mount.read_only or read_only, options=kept)
    for mount in host.mounts:
        target = clean(mount.target)
        if mount.kind == "tmpfs" and not mount.target.startswith("/"):
            raise InvalidArgument(f"invalid mount path: '{mount.target}' mount path must be absolute")
        if target == "/":
            raise InvalidArgument(_at_the_root(mount))
        options = (*mount.options, LABELLED) if mount.kind == "volume" else mount.options
        found[target] = _named(msgspec.structs.replace(mount, target=target, options=options), name)
    for path in volumes:
        target = clean(path)
        if target == "/" or not path.startswith("/"):
            raise InvalidArgument(f"invalid volume specification: '{path}'")
        if target not in found:
            found[target] = _named(Mount("volume", "", target), name)
    return tuple(found.values())


def _at_the_root(mount: Mount) -> str:
    """The refusal, by the way in which the mount was asked for."""
    short = dict(mount.options).get(SHORT)
    reason = "invalid specification: destination can't be '/'"
    if short is not None and mount.kind == "tmpfs":
        return reason
    reason = f'invalid mount config for type "{mount.kind}": {reason}'
    return reason if short is None else f"invalid volume specification: '{short}': {reason}"


def clean(path: str) -> str:
    """Without dots, doubled and trailing slashes."""
    return "/" + normpath("/" + path).lstrip("/")


def _from(text: str) -> tuple[str, bool]:
    """`container[:mode,…]` -> (container, whether for reading only). Raises InvalidArgument."""
    reference, _, mode = text.partition(":")
    if not text:
        raise InvalidArgument("volumes-from specification cannot be an empty string")
    if not reference:
        raise InvalidArgument(f"invalid volumes-from specification: {text}")
    words = mode.split(",") if mode else []
    if any(sum(word in kind for word in words) > 1 for kind in _MODES_FROM) or set(words).difference(*_MODES_FROM):
        raise InvalidArgument(f"invalid mode: {mode}")
    return reference, "ro" in words


def _named(mount: Mount, name: Callable[[], str]) -> Mount:
    if mount.kind != "volume" or mount.source:
        return mount
    return msgspec.structs.replace(mount, source=name(), options=(*mount.options, ANONYMOUS))


def anonymous_names(mounts: Iterable[Mount]) -> tuple[str, ...]:
    """The volumes that were made for this container alone (`rm -v` takes them along)."""
    return tuple(m.source for m in mounts if m.kind == "volume" and ANONYMOUS in m.options)


def volume_names(mounts: Iterable[Mount]) -> tuple[str, ...]:
    return tuple(m.source for m in mounts if m.kind == "volume")


def runtime_mounts(mounts: Iterable[Mount], volume: Callable[[Mount], RuntimeMount]) -> tuple[RuntimeMount, ...]:
    """What the runtime mounts; `volume` says what a volume is on this node."""
    return tuple(_runtime_mount(mount, volume) for mount in mounts)


def _runtime_mount(mount: Mount, volume: Callable[[Mount], RuntimeMount]) -> RuntimeMount:
    if mount.kind == "volume":
        return volume(mount)
    if mount.kind == "tmpfs":
        return RuntimeMount("tmpfs", mount.target, "", mount.read_only, tmpfs_options(mount))
    asked = dict(mount.options)
    below = {"alone": "nonrecursive" in asked, "writable_below": "writable-below" in asked or ONE_READ_ONLY in asked}
    return RuntimeMount("bind", mount.target, mount.source, mount.read_only, propagation(mount), **below)


def propagation(mount: Mount) -> tuple[tuple[str, str], ...]:
    return tuple(option for option in mount.options if option[0] == "propagation")


def tmpfs_options(mount: Mount) -> tuple[tuple[str, str], ...]:
    """The runtime's options of a tmpfs, from either way to ask for one. Raises InvalidArgument."""
    options = dict(mount.options)
    if SHORT not in options:
        named = (("size", options.get("tmpfs-size", "")), ("mode", options.get("tmpfs-mode", "")))
        return tuple((key, value) for key, value in named if value) + ((("exec", ""),) if options.get("tmpfs-exec") == "exec" else ())
    return short_tmpfs_options(options[SHORT])


def short_tmpfs_options(text: str) -> tuple[tuple[str, str], ...]:
    """`size=64m,mode=1770,exec` as the runtime's pairs. Raises InvalidArgument in Docker's words."""
    found: dict[str, str] = {}
    for word in filter(None, text.split(",")):
        key, equals, value = word.partition("=")
        if key in _TMPFS_NUMBERS and equals and value:
            found[key] = value
        elif word in _TMPFS_FLAGS:
            found[word] = ""
        elif word in _TMPFS_UNFLAGS:
            found.pop(word.removeprefix("no"), None)  # what is said last counts
        elif word in MODES:
            found["propagation"] = word
        elif word not in _TMPFS_DEFAULTS and word not in ("async", "sync", "atime", "noatime", "relatime", "diratime", "nodiratime"):
            parts = " ".join(f'"{part}"' for part in word.split("=", 1))
            raise InvalidArgument(f"invalid tmpfs option [{parts}]")
    return tuple(found.items())


def inside(folder: Path, subpath: str) -> Path:
    """A folder of a volume, with its links followed. Raises InvalidArgument when it is not inside or not there."""
    path = Path(normpath(folder / subpath.lstrip("/"))).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.exists():
        raise InvalidArgument(f"cannot access path {folder / subpath}: no such file or directory in the volume")
    return path
