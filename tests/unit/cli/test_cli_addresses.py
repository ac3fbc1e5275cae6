"""Addresses on the command line, as Docker's client takes them."""

from __future__ import annotations

import pytest

from cli.address_flags import LISTEN_ADDRESS, SUBNETS


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", "0.0.0.0:2377"), ("eth0", "eth0:2377"), ("eth0:", "eth0:2377"), (":2400", "0.0.0.0:2400"), ("tcp://192.0.2.1:1", "192.0.2.1:1"),
        ("[::1]", "[::1]:2377"), ("[::1]:4", "[::1]:4"),
    ],
)  # fmt: skip
def test_what_a_listen_address_leaves_out_is_added(text: str, read: str) -> None:
    assert LISTEN_ADDRESS.parse(text) == read


@pytest.mark.parametrize("text", ["udp://a", "a:b", "::1", "1:2:3"])
def test_what_is_no_listen_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid"):
        LISTEN_ADDRESS.parse(text)


def test_pools_are_subnets() -> None:
    assert SUBNETS.parse("10.0.0.0/8,10.9.0.0/16") == "10.0.0.0/8,10.9.0.0/16"
    for text in ("nonsense", "10.0.0.1", "10.0.0.0/8,x"):
        with pytest.raises(ValueError, match="invalid string being converted to CIDR"):
            SUBNETS.parse(text)
