"""The `platform` of a request, and whether an image is for it. Pure. Source: containerd's platforms package; moby's image store for the words."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from cluster.model.errors import InvalidArgument, NotFound
from runtime.images.config import Image
from runtime.images.manifest import Platform

_COMPONENT: Final = re.compile("[A-Za-z0-9_.-]+")
MAX_PARTS: Final = 3  # system, architecture, variant
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_KNOWN: Final = frozenset({
    "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle", "mips64", "mips64le", "mips64p32", "mips64p32le", "ppc",
    "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
})  # fmt: skip
"""Go's architectures."""
_SYSTEMS: Final = ("linux", "windows", "darwin", "freebsd")


def platform_of(text: str) -> Platform | None:
    """`linux/arm64/v8`, `linux`, `arm64`, or the JSON that newer clients send. Raises InvalidArgument."""
    if not text:
        return None
    if text.startswith("{"):
        try:
            wanted = msgspec.json.decode(text, type=dict[str, str])
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise InvalidArgument(f"invalid platform: {error}") from error
        return Platform(wanted.get("os", "linux"), wanted.get("architecture", ""), wanted.get("variant", ""))
    parts = text.lower().split("/", MAX_PARTS)
    for part in parts:
        if not _COMPONENT.fullmatch(part):
            must = f'platform specifier component must match "^{_COMPONENT.pattern}$"'
            raise InvalidArgument(f'"{part}" is an invalid component of "{text}": {must}: invalid argument')
    if len(parts) > MAX_PARTS:
        raise InvalidArgument(f'"{text}": cannot parse platform specifier: invalid argument')
    if len(parts) == 1 and parts[0] in _SYSTEMS:
        return Platform(parts[0], "")
    if len(parts) == 1 and _ARCHITECTURES.get(parts[0], parts[0]) not in _KNOWN:
        raise InvalidArgument(f'"{text}": unknown operating system or architecture: invalid argument')
    system, architecture, *variant = parts if len(parts) > 1 else ["linux", parts[0]]
    return Platform(system, _ARCHITECTURES.get(architecture, architecture), "".join(variant))


def check(image: Image, reference: str, wanted: Platform) -> None:
    """Raises NotFound: to a client that is a reason to pull the right one."""
    asked = ((wanted.os, image.os), (wanted.architecture, image.architecture), (wanted.variant, image.variant))
    if any(one and other and one != other for one, other in asked):
        actual = "/".join(part for part in (image.os, image.architecture, image.variant) if part)
        raise NotFound(
            f"image with reference {reference} was found but does not match the specified platform: wanted {wanted}, actual: {actual}"
        )
