"""Detach keys (ctrl-p, ctrl-q): found in what a user types, kept from the program. Pure.

Source: the Engine API's `detachKeys` and moby/term (ascii.go): single characters, `ctrl-X` with a small letter or one of `@ [ \\ ] ^ _`, and `DEL`,
separated by commas.
"""

from __future__ import annotations

from typing import Final

from cluster.model.errors import InvalidArgument

DEFAULT: Final = "ctrl-p,ctrl-q"
MAX_KEYS: Final = 32
CONTROLS: Final = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def keys_of(text: str) -> bytes:
    """The bytes of a key sequence. Raises InvalidArgument for what is no key."""
    names = (text or DEFAULT).split(",")
    if len(names) > MAX_KEYS:
        raise InvalidArgument(f"Invalid detach keys ({text}): more than {MAX_KEYS}")
    return bytes(_key(name, text) for name in names)


def _key(name: str, text: str) -> int:
    if len(name) == 1 and name.isascii():
        return ord(name)
    if name == "DEL":
        return 0x7F
    letter = name.removeprefix("ctrl-")
    if name.startswith("ctrl-") and len(letter) == 1 and letter in CONTROLS:
        return ord(letter) & 0x1F
    raise InvalidArgument(f"Invalid detach keys ({text}): Unknown character: '{name}'")


class Detacher:
    """Feed it what comes from the client; it holds back the beginning of the sequence until that is complete or broken."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what the program gets, whether the sequence is complete). What follows a complete sequence is dropped."""
        out = bytearray()
        for byte in data:
            if byte != self._keys[self._matched] and self._matched:
                out += self._keys[: self._matched]
                self._matched = 0
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(out), True
            else:
                out.append(byte)
        return bytes(out), False
