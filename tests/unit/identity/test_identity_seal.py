"""Sealed records: what opens, and what must not."""

from __future__ import annotations

import pytest

from cluster.identity import seal
from cluster.identity.seal import BadSeal, Sealer

KEY, SALT = b"k" * 32, b"s" * 32


def test_a_record_opens_with_the_same_key_sequence_and_context_only() -> None:
    sealed = Sealer(KEY, SALT).seal(7, b"secret", b"segment 1")
    assert b"secret" not in sealed
    assert Sealer(KEY, SALT).open(7, sealed, b"segment 1") == b"secret"
    for key, salt, sequence, context in (
        (b"x" * 32, SALT, 7, b"segment 1"),
        (KEY, b"x" * 32, 7, b"segment 1"),
        (KEY, SALT, 8, b"segment 1"),
        (KEY, SALT, 7, b"segment 2"),
    ):
        with pytest.raises(BadSeal):
            Sealer(key, salt).open(sequence, sealed, context)


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:3], lambda d: b"", lambda d: bytes([d[0] ^ 1]) + d[1:]])
def test_damage_is_noticed(damage: object) -> None:
    assert callable(damage)
    sealed = Sealer(KEY, SALT).seal(1, b"record")
    with pytest.raises(BadSeal):
        Sealer(KEY, SALT).open(1, damage(sealed))


def test_a_data_key_is_wrapped_under_another() -> None:
    wrapped = seal.wrap(KEY, b"d" * 32, SALT)
    assert seal.unwrap(KEY, wrapped) == b"d" * 32
    for key, text in ((b"x" * 32, wrapped), (KEY, wrapped[:-1]), (KEY, b"")):
        with pytest.raises(BadSeal):
            seal.unwrap(key, text)
