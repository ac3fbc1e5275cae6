"""Names of images: `busybox` -> `docker.io/library/busybox:latest` and the familiar form back.

Pure. Owns the grammar only; it never looks at a store. Source: github.com/distribution/reference (grammar,
normalisation, messages).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from runtime.errors import RuntimeFault

DEFAULT_DOMAIN = "docker.io"
LEGACY_DOMAIN = "index.docker.io"
OFFICIAL_PREFIX = "library/"
DEFAULT_TAG = "latest"
MAX_NAME_CHARACTERS = 255

_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_PART}(?:/{_PATH_PART})*")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_ID_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


class InvalidReference(RuntimeFault, ValueError):
    """The text is no image name. The message is Docker's."""


@dataclass(frozen=True)
class Reference:
    """A normalised name. `tag` and `digest` may be empty."""

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
        rest = self.path.removeprefix(OFFICIAL_PREFIX)
        return self.path if "/" in rest else rest

    @property
    def canonical(self) -> str:
        """The whole name, which is the key in the store."""
        return self.repository + self._suffix()

    @property
    def familiar(self) -> str:
        """The name as people write and read it."""
        return self.familiar_repository + self._suffix()

    def with_default_tag(self) -> Reference:
        """`:latest` where the name says neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """The normalised name of what a user wrote. Raises InvalidReference in Docker's words."""
    if _IMAGE_ID.fullmatch(text):
        raise InvalidReference(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, rest = _split_domain(text)
    remote = rest.partition("@")[0].partition(":")[0]
    if remote.lower() != remote:
        raise InvalidReference(f"invalid reference format: repository name ({remote}) must be lowercase")
    name, at, digest = rest.partition("@")
    path, colon, tag = name.partition(":")
    if not _PATH.fullmatch(path) or not _DOMAIN.fullmatch(domain) or (colon and not _TAG.fullmatch(tag)) or (at and not _DIGEST.fullmatch(digest)):
        raise InvalidReference("invalid reference format")
    if len(f"{domain}/{path}") > MAX_NAME_CHARACTERS:
        raise InvalidReference(f"repository name must not be more than {MAX_NAME_CHARACTERS} characters")
    return Reference(domain, path, tag, digest)


def familiar(canonical: str) -> str:
    """The familiar form of a name that `Reference.canonical` gave."""
    return parse(canonical).familiar


def id_prefix(text: str) -> str:
    """The lower-case hex digits when the text can be (the beginning of) an image id, else empty."""
    match = _ID_PREFIX.fullmatch(text)
    return match[1] if match else ""


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, remainder = DEFAULT_DOMAIN, text
    else:
        domain, remainder = first, rest
    if domain == LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = OFFICIAL_PREFIX + remainder
    return domain, remainder
