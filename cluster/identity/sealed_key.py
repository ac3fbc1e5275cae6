"""A node's private key as it lies on a locked manager's disk: sealed, in the armour of a PEM text (RFC 7468). Pure: salts come in as bytes.

Owns the form. Under what it is sealed, and who may know that, manager/autolock.py says.
"""

from __future__ import annotations

import base64
import binascii
import textwrap
from typing import Final

from cluster.identity import unlock_key
from cluster.identity.seal import SALT_BYTES, BadSeal, Sealer
from cluster.model.errors import FailedPrecondition

BEGIN: Final = "-----BEGIN FESTOON SEALED KEY-----"
END: Final = "-----END FESTOON SEALED KEY-----"
_LINE: Final = 64


class KeySealed(FailedPrecondition):
    """The key does not open with what is known here; the message is Docker's, of a swarm that is locked."""

    def __init__(self, message: str = unlock_key.LOCKED) -> None:
        super().__init__(message)


def is_sealed(text: str) -> bool:
    return text.startswith(BEGIN)


def close(key_pem: str, sealing: bytes, salt: bytes) -> str:
    """The key's text, sealed. `salt`: drawn anew for each."""
    body = base64.b64encode(salt + Sealer(sealing, salt).seal(0, key_pem.encode())).decode()
    return "\n".join((BEGIN, *textwrap.wrap(body, _LINE), END, ""))


def opened(text: str, sealing: bytes | None) -> str:
    """The key, PEM: the text itself where it is not sealed. Raises KeySealed."""
    if not is_sealed(text):
        return text
    if sealing is None:
        raise KeySealed
    try:
        body = base64.b64decode("".join(text.strip().splitlines()[1:-1]), validate=True)
        return Sealer(sealing, body[:SALT_BYTES]).open(0, body[SALT_BYTES:]).decode()
    except (binascii.Error, BadSeal, AssertionError) as error:
        raise KeySealed from error
