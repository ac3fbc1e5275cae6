"""The image of a service by the digest that a registry knows it by now, so that all nodes run the same. Asks the daemon, which asks the registry.

An image that the daemon has and no registry ever had is left as it is: nodes get it from each other. Source: docker/cli and moby's client/service_create.go.
"""

from __future__ import annotations

from typing import Any

from cli.api import Api, reference
from cli.credentials import header_for
from cli.failures import ApiFailure
from cluster.model.reference import InvalidReference
from cluster.model.reference import parse as parse_reference
from cluster.wire.http_events import Headers


def credentials_of(image: str, *, wanted: bool) -> Headers:
    """What the user has logged in to the image's registry with, as a header; nothing unless it is wanted."""
    try:
        return header_for(parse_reference(image).domain) if wanted else ()
    except InvalidReference:
        return ()


def pin(api: Api, task: dict[str, Any], headers: Headers) -> str:
    """Put the digest and the platforms of its image into a TaskTemplate. The warning, for when the service is there, that there are none to be had;
    empty when all is well."""
    image = str(task["ContainerSpec"]["Image"])
    try:
        parse_reference(image)
    except InvalidReference:
        return ""  # the managers say so
    local = api.find(f"/images/{reference(image)}/json")
    if local is not None and not local.get("RepoDigests"):
        return ""
    by_digest, platforms = look_up(api, image, headers)
    if not by_digest:
        return unpinned(image)
    task["ContainerSpec"]["Image"] = by_digest
    if platforms:
        task.setdefault("Placement", {})["Platforms"] = platforms
    return ""


def look_up(api: Api, image: str, headers: Headers) -> tuple[str, list[dict[str, str]]]:
    """The image by its digest, empty when no registry can be asked, and the platforms that it is for."""
    named = parse_reference(image)
    if named.digest:
        return image, []
    try:
        found = api.send("GET", f"/distribution/{reference(image)}/json", None, headers)
    except ApiFailure:
        return "", []
    platforms = [{"Architecture": _architecture(one.get("architecture", "")), "OS": one.get("os", "")} for one in found.get("Platforms") or ()]
    return f"{image if named.tag else image + ':latest'}@{found['Descriptor']['digest']}", platforms


def _architecture(name: str) -> str:
    """Arm's variants are told apart by nothing that a node says of itself: any will do, as with docker."""
    return "" if name.lower() == "arm" else name


def unpinned(image: str) -> str:
    return (
        f"image {image} could not be accessed on a registry to record\nits digest. Each node will access {image} independently,\n"
        "possibly leading to different nodes running different\nversions of the image.\n"
    )
