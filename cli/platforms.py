"""`--platform` of commands about images that are here: an image has one platform, so a wish for another one is refused.

Source of the forms: containerd's platforms package (`os/arch[/variant]`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from cli.api import Api, reference
from cli.failures import CliFailure
from cli.flags import FlagType

_ARCHITECTURES: Final = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}


class Platform(NamedTuple):
    os: str
    architecture: str
    variant: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


def _platform(text: str) -> Platform:
    parts = text.lower().split("/")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise ValueError(f'"{text}" is an invalid OCI platform: must be os[/arch[/variant]]')
    if len(parts) == 1:
        parts = ["linux", parts[0]] if parts[0] != "linux" else [parts[0], ""]
    return Platform(parts[0], _ARCHITECTURES.get(parts[1], parts[1]), parts[2] if len(parts) == 3 else "")


def _platforms(text: str) -> tuple[Platform, ...]:
    return tuple(_platform(part) for part in text.split(","))


PLATFORM: Final = FlagType("string", _platform)
PLATFORMS: Final = FlagType("strings", _platforms, several=True)


def require(api: Api, images: Iterable[str], *wanted: Platform | None) -> None:
    """Raises CliFailure for an image of another platform."""
    asked = [platform for platform in wanted if platform is not None]
    for image in images if asked else ():
        found = api.get(f"/images/{reference(image)}/json")
        for platform in asked:
            if (found.get("Os"), found.get("Architecture")) != (platform.os, platform.architecture or found.get("Architecture")):
                raise CliFailure(f"image with reference {image} was found but does not provide the specified platform ({platform})")


def platform_query(platform: Platform | None) -> str | None:
    """The API's parameter."""
    if platform is None:
        return None
    from cluster.model.template_functions import as_json

    made: dict[str, Any] = {"os": platform.os, "architecture": platform.architecture}
    return as_json(made | ({"variant": platform.variant} if platform.variant else {}))
