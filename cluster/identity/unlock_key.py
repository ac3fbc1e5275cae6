"""Unlock keys as people keep them: `SWMKEY-1-<32 bytes, base64 without padding>` (SwarmKit's form), and what is said to who has none.

Owns the form and the sentences. Pure: randomness comes in as bytes.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from cluster.identity.seal import KEY_BYTES
from cluster.model.errors import InvalidArgument

PREFIX: Final = "SWMKEY-1-"
LOCKED: Final = 'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.'
WRONG: Final = "swarm could not be unlocked: invalid key provided"


def text_of(key: bytes) -> str:
    """The key as its owner keeps it."""
    assert len(key) == KEY_BYTES
    return PREFIX + base64.b64encode(key).decode().rstrip("=")


def parse(text: str) -> bytes:
    """The key, of whatever length it claims to be. Raises InvalidArgument: invalid key string."""
    encoded = text.removeprefix(PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument("invalid key string") from error
    if not text.startswith(PREFIX) or "=" in text:
        raise InvalidArgument("invalid key string")
    return key
