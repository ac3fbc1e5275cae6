"""The grammar of image references: `busybox` -> `docker.io/library/busybox:latest` and the familiar form back.

Pure. Owns the syntax, its normal forms and the words of refusal; never looks an image up. Source:
github.com/distribution/reference (grammar in reference.go, normalize.go).
"""

from __future__ import annotations

import re
from typing import ClassVar, Final, NamedTuple

from cluster.model.errors import InvalidArgument

DEFAULT_DOMAIN: Final = "docker.io"
LEGACY_DOMAIN: Final = "index.docker.io"
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
_ID_PREFIX: Final = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})", re.ASCII)


class InvalidReference(InvalidArgument, ValueError):
    """The text is no image name. The message is Docker's."""

    code: ClassVar[str] = "invalid_argument"


class Reference(NamedTuple):
    """One parsed reference. `tag` and `digest` are empty where the text had none."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """`docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """`busybox`, `containous/whoami`, `registry.example/team/app`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        rest = self.path.removeprefix(OFFICIAL)
        return self.path if "/" in rest else rest

    @property
    def canonical(self) -> str:
        """The whole name, which is the key in a store."""
        return self.repository + self._suffix()

    @property
    def familiar(self) -> str:
        """The name as people write and read it."""
        return self.familiar_repository + self._suffix()

    def with_default_tag(self) -> Reference:
        """`:latest` where the name says neither tag nor digest."""
        return self if self.tag or self.digest else self._replace(tag=DEFAULT_TAG)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """The normalised name of what a user wrote. Raises InvalidReference in Docker's words."""
    if _HEX_ID.fullmatch(text):
        raise InvalidReference(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, rest = _split_domain(text)
    remote = rest.partition(":")[0]
    if remote.lower() != remote:
        raise InvalidReference(f"invalid reference format: repository name ({remote}) must be lowercase")
    name, at, digest = rest.partition("@")
    path, colon, tag = name.partition(":")
    if not _PATH.fullmatch(path) or not _DOMAIN.fullmatch(domain) or (colon and not _TAG.fullmatch(tag)) or (at and not _DIGEST.fullmatch(digest)):
        raise InvalidReference("invalid reference format")
    if len(f"{domain}/{path}") > NAME_LENGTH_LIMIT:
        raise InvalidReference(f"repository name must not be more than {NAME_LENGTH_LIMIT} characters")
    return Reference(domain, path, tag, digest)


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def familiar(canonical: str) -> str:
    """The familiar form of a name that `Reference.canonical` gave."""
    return parse(canonical).familiar


def is_id(text: str) -> bool:
    """Whether it can be nothing but the whole id of an image."""
    return _HEX_ID.fullmatch(text.removeprefix("sha256:")) is not None


def id_prefix(text: str) -> str:
    """The lower-case hex digits when the text can be (the beginning of) an image id, else empty."""
    match = _ID_PREFIX.fullmatch(text)
    return match[1] if match else ""


def _split_domain(text: str) -> tuple[str, str]:
    """(registry, rest): the first part is a registry when it could not be a path component of Docker Hub."""
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, remainder = first, rest
    else:
        domain, remainder = DEFAULT_DOMAIN, text
    if domain == LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = OFFICIAL + remainder
    return domain, remainder
