"""Identifiers. Owns how ids look; never draws randomness itself (it comes in as bytes).

Cluster objects have 25 base-36 characters (SwarmKit `identity.NewID`), containers, images and local networks 64 hex digits.
"""

from __future__ import annotations

from typing import NewType

ClusterId = NewType("ClusterId", str)
NodeId = NewType("NodeId", str)
ServiceId = NewType("ServiceId", str)
TaskId = NewType("TaskId", str)
NetworkId = NewType("NetworkId", str)
SecretId = NewType("SecretId", str)
ConfigId = NewType("ConfigId", str)

ID_LENGTH = 25
ID_RANDOM_BYTES = 17
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)  # two digits at a time: managers make ids by the thousand


def base36(number: int, width: int) -> str:
    """`number` in base 36, left-padded with zeros to `width` characters (the low digits where it is longer)."""
    pairs = []
    for _ in range((width + 1) // 2):
        number, pair = divmod(number, 1296)
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))[-width:]


def make_id(random_bytes: bytes) -> str:
    """A cluster object's id from at least ID_RANDOM_BYTES random bytes. Never all digits, never ambiguous with a hex id."""
    assert len(random_bytes) >= ID_RANDOM_BYTES
    text = base36(int.from_bytes(random_bytes[:ID_RANDOM_BYTES], "big"), ID_LENGTH)
    return text if not text.isdigit() else "z" + text[1:]
