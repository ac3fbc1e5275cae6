"""`--platform` of commands about images that are here: an image has one platform, so a wish for another one is refused.

Source of the forms: containerd's platforms package (`os/arch[/variant]`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from cli.api import Api, reference
from cli.failures import CliFailure

INVALID: Final = "invalid platform: "
_OWN_OS: Final = "linux"
_SYSTEMS: Final = {"macos": "darwin"}
_ARCHITECTURES: Final = {
    "x86_64": ("amd64", ""), "x86-64": ("amd64", ""), "i386": ("386", ""), "aarch64": ("arm64", ""), "armhf": ("arm", ""), "armel": ("arm", "v6"),
}  # fmt: skip
_USUAL: Final = {("amd64", "v1"): "", ("arm64", "8"): "v8", **{("arm", digit): f"v{digit}" for digit in "5678"}}
"""How a variant is said."""
_KNOWN_SYSTEMS: Final = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris windows zos".split()
)
_KNOWN_ARCHITECTURES: Final = frozenset(
    "386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le ppc riscv riscv64 s390 s390x sparc "
    "sparc64 wasm".split()
)
_PART: Final = re.compile("[A-Za-z0-9_.-]+", re.ASCII)
_SYSTEM: Final = re.compile(r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)\))?", re.ASCII)


class Platform(NamedTuple):
    os: str
    architecture: str
    variant: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


def platform(text: str) -> Platform:
    """Of `os`, `architecture`, `os/architecture[/variant]`, in their usual names. Raises ValueError in containerd's words."""
    parts = text.split("/")
    if "*" in text:
        raise _invalid(f'"{text}": wildcards not yet supported')
    if len(parts) > 3:
        raise _invalid(f'"{text}": cannot parse platform specifier')
    for place, part in enumerate(parts):
        if place or len(parts) == 1:
            if not _PART.fullmatch(part):
                raise _invalid(f'"{part}" is an invalid component of "{text}": platform specifier component must match "^{_PART.pattern}$"')
        elif not _SYSTEM.fullmatch(part):
            raise _invalid(f'"{part}" is an invalid OS component of "{text}": OSAndVersion specifier component must match "^{_go_text(_SYSTEM.pattern)}$"')
    first = parts[0].partition("(")[0].lower()
    system = _SYSTEMS.get(first, first)
    if len(parts) > 1:
        return Platform(system, *_architecture(*parts[1:]))
    if system in _KNOWN_SYSTEMS:
        return Platform(system, *_architecture(os.uname().machine))
    architecture, variant = _architecture(first)
    if architecture not in _KNOWN_ARCHITECTURES:
        raise _invalid(f'"{text}": unknown operating system or architecture')
    return Platform(_OWN_OS, architecture, variant)


def _architecture(said: str, variant: str = "") -> tuple[str, str]:
    name, usual = _ARCHITECTURES.get(said.lower(), (said.lower(), ""))
    variant = variant.lower() or usual
    return name, _USUAL.get((name, variant), variant)


def _invalid(words: str) -> ValueError:
    return ValueError(f"{words}: invalid argument")


def _go_text(pattern: str) -> str:
    return pattern.replace("\\", "\\\\")


def asked(text: str | None, preface: str = "") -> Platform | None:
    """What a flag says. Raises CliFailure, its words behind `preface`."""
    try:
        return platform(text) if text else None
    except ValueError as e:
        raise CliFailure(f"{preface}{e}") from e


def require(api: Api, images: Iterable[str], *wanted: Platform | None) -> None:
    """Raises CliFailure for an image of another platform."""
    given = [one for one in wanted if one is not None]
    for image in images if given else ():
        found = api.get(f"/images/{reference(image)}/json")
        for one in given:
            if (found.get("Os"), found.get("Architecture")) != (one.os, one.architecture):
                raise CliFailure(f"image with reference {image} was found but does not provide the specified platform ({one})")


def platform_query(wanted: Platform | None) -> str | None:
    """The API's parameter."""
    if wanted is None:
        return None
    from cluster.model.template_functions import as_json

    made: dict[str, Any] = {"os": wanted.os, "architecture": wanted.architecture}
    return as_json(made | ({"variant": wanted.variant} if wanted.variant else {}))
