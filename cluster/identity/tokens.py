"""Join tokens: `SWMTKN-1-<50 base-36 digits: digest of the root certificate>-<25 base-36 digits: secret>`
(SwarmKit's form).

The digest lets a new node check the root that it fetches from a manager it doesn't know; the secret lets the manager
check the node. Pure: randomness comes in as bytes.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Final

from cluster.model.errors import InvalidArgument, PermissionDenied
from cluster.model.ids import base36

NECESSARY: Final = "A valid join token is necessary to join this cluster"
PREFIX: Final = "SWMTKN-1"
DIGEST_BYTES: Final = 32
DIGEST_DIGITS: Final = 50
SECRET_BYTES: Final = 16
SECRET_DIGITS: Final = 25
_FORM: Final = re.compile(rf"{PREFIX}-([0-9a-z]{{{DIGEST_DIGITS}}})-([0-9a-z]{{{SECRET_DIGITS}}})")


@dataclass(frozen=True, slots=True)
class JoinToken:
    digest: bytes  # SHA-256 of the root certificate
    secret: str


def make(digest: bytes, random_bytes: bytes) -> str:
    """A token for the root with this digest, from at least SECRET_BYTES random bytes."""
    assert len(digest) == DIGEST_BYTES
    assert len(random_bytes) >= SECRET_BYTES
    secret = base36(int.from_bytes(random_bytes[:SECRET_BYTES], "big"), SECRET_DIGITS)
    return f"{PREFIX}-{base36(int.from_bytes(digest, 'big'), DIGEST_DIGITS)}-{secret}"


def parse(text: str) -> JoinToken:
    """The parts of a token. Raises PermissionDenied without one, as a manager would; InvalidArgument: invalid join token."""
    if not text:
        raise PermissionDenied(NECESSARY)
    match = _FORM.fullmatch(text)
    number = int(match[1], 36) if match else -1
    if match is None or number >= 1 << (8 * DIGEST_BYTES):
        raise InvalidArgument("invalid join token")
    return JoinToken(number.to_bytes(DIGEST_BYTES, "big"), match[2])


def matches(given: str, expected: str) -> bool:
    """Whether two tokens are the same, in time that doesn't depend on where they differ. An empty expected token
    matches nothing."""
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())
