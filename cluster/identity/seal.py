"""Sealing of what managers write to disk: AES-256-GCM (NIST SP 800-38D) under a key derived by HKDF-SHA-256 (RFC
5869).

A file, each time it is opened for writing, gets a random salt of its own; the key derived from it seals each record
under its sequence number as nonce, so no nonce is ever used twice with a key. Owns the cryptography; never reads
randomness or files: salts come in as bytes.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_RECORDS: Final = b"festoon sealed records 1"
_WRAPPED: Final = b"festoon wrapped key 1"
_NODE_KEY: Final = b"festoon node key 1"


class BadSeal(ValueError):
    """The bytes were not sealed with this key under this sequence and context: damaged, exchanged, or the wrong
    key."""


class Sealer:
    """Seals and opens the records of one file. `key`: KEY_BYTES; `salt`: SALT_BYTES drawn anew whenever the file is
    opened for writing."""

    def __init__(self, key: bytes, salt: bytes) -> None:
        self._cipher = AESGCM(_derive(key, salt, _RECORDS))

    def seal(self, sequence: int, plaintext: bytes, associated: bytes = b"") -> bytes:
        """The sealed record, TAG_BYTES longer than the plaintext. A sequence number must never be used twice with
        one Sealer."""
        return self._cipher.encrypt(_nonce(sequence), plaintext, associated)

    def open(self, sequence: int, sealed: bytes, associated: bytes = b"") -> bytes:
        """The plaintext. Raises BadSeal."""
        try:
            return self._cipher.decrypt(_nonce(sequence), sealed, associated)
        except InvalidTag as e:
            raise BadSeal(f"record {sequence} does not open with this key") from e
        except ValueError as e:
            raise BadSeal(f"record {sequence} is too short: {len(sealed)} bytes") from e


def wrap(key: bytes, data_key: bytes, salt: bytes) -> bytes:
    """A data key sealed under another key (the unlock key, or one kept beside it): the salt, then the sealed
    bytes."""
    return salt + AESGCM(_derive(key, salt, _WRAPPED)).encrypt(_nonce(0), data_key, None)


def unwrap(key: bytes, wrapped: bytes) -> bytes:
    """The data key. Raises BadSeal when the key is the wrong one."""
    salt, sealed = wrapped[:SALT_BYTES], wrapped[SALT_BYTES:]
    if len(sealed) != KEY_BYTES + TAG_BYTES:
        raise BadSeal(f"a wrapped key of {len(wrapped)} bytes")
    try:
        return AESGCM(_derive(key, salt, _WRAPPED)).decrypt(_nonce(0), sealed, None)
    except InvalidTag as e:
        raise BadSeal("the data key does not open with this key") from e


def for_node_key(data_key: bytes) -> bytes:
    """The key that a locked manager's node seals its TLS key under: one that opens nothing of the log."""
    return _derive(data_key, bytes(SALT_BYTES), _NODE_KEY)


def _derive(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    assert len(key) == KEY_BYTES
    assert len(salt) == SALT_BYTES
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=purpose).derive(key)


def _nonce(sequence: int) -> bytes:
    return sequence.to_bytes(NONCE_BYTES, "big")
