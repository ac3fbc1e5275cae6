"""Whether what is mounted below a bind's source later on can be passed on as the user wants it. Pure.

Source: proc(5), mountinfo; moby's daemon/oci_linux.go (ensureShared, ensureSharedOrSlave).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cluster.model.errors import Internal

MODES: Final = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_SHARED, _SLAVE = "shared:", "master:"
_NEEDS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = MappingProxyType({
    "shared": ((_SHARED,), "shared mount"), "rshared": ((_SHARED,), "shared mount"),
    "slave": ((_SHARED, _SLAVE), "shared or slave mount"), "rslave": ((_SHARED, _SLAVE), "shared or slave mount"),
})  # fmt: skip


def check(source: str, mode: str, mountinfo: str) -> None:
    """`source`: an absolute path without links. Raises Internal where its mount has not what the mode needs."""
    if mode not in _NEEDS:
        return
    tags, what = _NEEDS[mode]
    point, optional = _mount_of(source, mountinfo)
    if not any(field.startswith(tags) for field in optional):
        raise Internal(f"path {source} is mounted on {point} but it is not a {what}")


def _mount_of(path: str, mountinfo: str) -> tuple[str, list[str]]:
    """The mount point that a path is below (the latest of those with the longest path), and its optional fields."""
    best: tuple[str, list[str]] = ("/", [])
    for line in mountinfo.splitlines():
        fields = line.split()
        point = fields[4].encode().decode("unicode_escape")
        if len(point) >= len(best[0]) and (path == point or path.startswith(point.rstrip("/") + "/")):
            best = point, fields[6 : fields.index("-")]
    return best
