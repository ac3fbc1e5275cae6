"""Searching an index of images: which one a term means, and what it found. The first registry protocol has the word for it, and of its registries hardly more
than Docker Hub is left.

Owns Docker's sentences; runtime/images/registry.py asks. Source: moby's daemon/pkg/registry/search.go and search_endpoint_v1.go.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

import msgspec

from cluster.model.reference import DEFAULT_DOMAIN, LEGACY_DOMAIN
from runtime.errors import RegistryFailed, RegistryRefused, RegistryUnreachable
from runtime.images import registry
from runtime.images.auth import Credentials
from runtime.images.endpoints import Endpoint, Registries, index_endpoints

_HOST: Final = re.compile(r"[A-Za-z0-9._\-\[\]:]+")


class Found(msgspec.Struct, frozen=True):
    """One image as an index describes it; null counts as absent."""

    name: str | None = None
    description: str | None = None
    star_count: int | None = None
    is_official: bool | None = None


class _Page(msgspec.Struct):
    results: list[Found] | None = None


async def search(term: str, limit: int, credentials: Credentials, registries: Registries) -> tuple[Found, ...]:
    """At most `limit` images, as far as the index keeps to it. Raises RegistryFailed in Docker's words."""
    domain, name = split(term)
    failures: list[RegistryUnreachable] = []
    for endpoint in index_endpoints(domain, registries):
        try:
            return _read(await registry.find(endpoint, urlencode({"q": name, "n": limit}), credentials))
        except RegistryUnreachable as error:
            failures.append(error)
    raise _unreachable(domain, endpoint, failures)


def split(term: str) -> tuple[str, str]:
    """(registry, what is looked for in it). Raises RegistryRefused for what names no registry."""
    if "://" in term:
        raise RegistryRefused(f"invalid repository name: repository name ({term}) should not have a scheme", "", 400)
    first, slash, rest = term.partition("/")
    domain, name = (first, rest) if slash and (first == "localhost" or {".", ":"} & set(first)) else (DEFAULT_DOMAIN, term)
    if domain in (DEFAULT_DOMAIN, LEGACY_DOMAIN):
        return DEFAULT_DOMAIN, name.removeprefix("library/")
    if domain.startswith("-") or domain.endswith("-"):
        raise RegistryRefused(f"invalid index name ({domain}). Cannot begin or end with a hyphen", "", 400)
    if not _HOST.fullmatch(domain):
        raise RegistryRefused(f"invalid index name ({domain})", "", 400)
    return domain, name


def _read(body: bytes) -> tuple[Found, ...]:
    try:
        return tuple(msgspec.json.decode(body, type=_Page).results or ())
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RegistryRefused(f"error decoding registry search results: {error}") from error


def _unreachable(domain: str, endpoint: Endpoint, failures: list[RegistryUnreachable]) -> RegistryFailed:
    if domain == DEFAULT_DOMAIN:
        return failures[0]
    if len(failures) > 1:
        return RegistryRefused(f'invalid registry endpoint "{endpoint.url}/v1/". HTTPS attempt: {failures[0]}. HTTP attempt: {failures[1]}', "", 400)
    return RegistryRefused(
        f"invalid registry endpoint {endpoint.url}/v1/: {failures[0]}. If this private registry supports only HTTP or HTTPS with an unknown CA "
        f"certificate, please add `--insecure-registry {domain}` to the daemon's arguments. In the case of HTTPS, if you have access to the registry's CA "
        f"certificate, no need for the flag; simply place the CA certificate at /etc/docker/certs.d/{domain}/ca.crt",
        "",
        400,
    )
