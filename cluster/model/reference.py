"""The grammar of image references: `busybox`, `containous/whoami:latest`, `registry.example:5000/a/b@sha256:…`.

Owns the syntax and its normal form only; never looks an image up. Source: github.com/distribution/reference (grammar
in reference.go, normalize.go).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

DEFAULT_DOMAIN: Final = "docker.io"
OFFICIAL: Final = "library/"
DEFAULT_TAG: Final = "latest"
NAME_LENGTH_LIMIT: Final = 255  # characters of domain and path together

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?", re.ASCII)
_PATH: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}", re.ASCII)
_HEX_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Reference(msgspec.Struct, frozen=True):
    """One parsed reference. `tag` and `digest` are empty where the text had none."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The full repository name: `docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """The name as users write it: `busybox`, `containous/whoami`, `registry.example/x`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        rest = self.path.removeprefix(OFFICIAL)
        return rest if "/" not in rest else self.path


def parse(text: str) -> Reference:
    """The reference that `text` means. Raises ValueError with one sentence when it is none."""
    if _HEX_ID.fullmatch(text):
        raise ValueError(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError("invalid reference format")
    slash = rest.rfind("/")
    colon = rest.rfind(":")
    tag = ""
    if colon > slash:
        rest, tag = rest[:colon], rest[colon + 1 :]
        if not _TAG.fullmatch(tag):
            raise ValueError("invalid reference format")
    domain, path = _split_domain(rest)
    if path != path.lower():
        raise ValueError("invalid reference format: repository name must be lowercase")
    if not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path):
        raise ValueError("invalid reference format")
    if len(domain) + 1 + len(path) > NAME_LENGTH_LIMIT:
        raise ValueError(f"repository name must not be more than {NAME_LENGTH_LIMIT} characters")
    return Reference(domain, path, tag, digest)


def _split_domain(name: str) -> tuple[str, str]:
    """(registry, path): the first part is a registry when it could not be a path component of Docker Hub."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        domain, path = first, rest
    else:
        domain, path = DEFAULT_DOMAIN, name
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = OFFICIAL + path
    return domain, path
