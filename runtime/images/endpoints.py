"""Where the registry of a name is asked, and how safely. Pure.

Owns Docker's rules: docker.io is registry-1.docker.io and has mirrors; every registry is HTTPS with a checked
certificate, but for loopback addresses and those that the node was told are insecure, which may also have an unchecked
certificate or plain HTTP. Source: moby registry/config.go, registry/service_v2.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cluster.model.reference import DEFAULT_DOMAIN, LEGACY_DOMAIN
from runtime.errors import RuntimeFault

DOCKER_HUB = "registry-1.docker.io"
INDEX_HOST = "index.docker.io"
"""Where Docker Hub is searched."""

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class BadSetting(RuntimeFault, ValueError):
    """A mirror or insecure registry that can't be one."""


@dataclass(frozen=True, slots=True)
class Registries:
    """What the node's configuration says: `mirrors` of Docker Hub as URLs, `insecure` as HOST, HOST:PORT or CIDR.
    `certificates`: a folder with one for each registry, named HOST or HOST:PORT, as Docker's certs.d; empty: none."""

    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
    certificates: str = ""


AS_DOCKER = Registries()
"""Without any setting."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to a registry. `verified`: its certificate is checked; `mirror`: what it lacks may still exist; `certificates`: the folder
    of its own, which need not exist."""

    url: str  # without a slash at the end
    verified: bool = True
    mirror: bool = False
    certificates: str = ""

    @property
    def host(self) -> str:
        """HOST or HOST:PORT."""
        return self.url.partition("://")[2]


def checked(mirrors: Iterable[str], insecure: Iterable[str], certificates: str = "") -> Registries:
    """The settings from a command line. Raises BadSetting in Docker's words."""
    urls = []
    for text in mirrors:
        scheme, separator, rest = text.rstrip("/").partition("://")
        if not separator or scheme not in ("http", "https"):
            raise BadSetting(f'invalid mirror: unsupported scheme "{scheme if separator else ""}" in "{text}"')
        if not rest or any(c in rest for c in "/?#@ "):
            raise BadSetting(f'invalid mirror: path, query, or fragment at end of the URI "{text}"')
        urls.append(f"{scheme}://{rest}")
    names = []
    for text in insecure:
        if "://" in text:
            raise BadSetting(f"insecure registry {text} should not contain '://'")
        if not text or text.startswith("-"):
            raise BadSetting(f'insecure registry {text} is not valid: invalid host "{text}"')
        names.append(text)
    return Registries(tuple(urls), tuple(names), certificates)


def endpoints(domain: str, registries: Registries) -> tuple[Endpoint, ...]:
    """Where to ask, in this order. `domain` is a reference's."""
    found = _endpoints(domain, registries)
    return tuple(replace(one, certificates=f"{registries.certificates}/{one.host}") for one in found) if registries.certificates else found


def index_endpoints(domain: str, registries: Registries) -> tuple[Endpoint, ...]:
    """Where images are searched, in this order: Docker Hub's index has no mirrors."""
    return (Endpoint(f"https://{INDEX_HOST}"),) if domain in (DEFAULT_DOMAIN, LEGACY_DOMAIN) else endpoints(domain, registries)


def _endpoints(domain: str, registries: Registries) -> tuple[Endpoint, ...]:
    found: list[Endpoint] = []
    if domain in (DEFAULT_DOMAIN, LEGACY_DOMAIN):
        for url in registries.mirrors:
            scheme, _, host = url.partition("://")
            found += [Endpoint(url, verified=scheme == "http" or not is_insecure(host, registries), mirror=True)]
        return (*found, Endpoint(f"https://{DOCKER_HUB}"))
    if is_insecure(domain, registries):
        return (Endpoint(f"https://{domain}", verified=False), Endpoint(f"http://{domain}", verified=False))
    return (Endpoint(f"https://{domain}"),)


def is_insecure(host: str, registries: Registries) -> bool:
    """Whether HOST or HOST:PORT may be talked to without a checked certificate."""
    bare = host_of(host)
    if bare == "localhost":
        return True
    address = _address(bare)
    if address is not None and any(address in network for network in LOOPBACK):
        return True
    for known in registries.insecure:
        if known in (host, bare):
            return True
        if address is not None and "/" in known and _within(address, known):
            return True
    return False


def host_of(host: str) -> str:
    """`[::1]:5000` -> `::1`, `registry:5000` -> `registry`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, cidr: str) -> bool:
    try:
        return address in ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return False
