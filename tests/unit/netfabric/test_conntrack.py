"""Which of the tracked connections are forgotten when a server is gone."""

from __future__ import annotations

import struct

import pytest

from netfabric.netlink.conntrack import TIME_WAIT, counted, deletions
from netfabric.netlink.messages import address_bytes, attribute, attributes, nested

ID = b"\0\0\0\7"
CLIENT, VIRTUAL, SERVER = "192.0.2.7", "10.0.0.3", "10.0.0.6"
ESTABLISHED, LAST_ACK, CLOSE = b"\3", b"\6", b"\10"


def ends(source: str, destination: str) -> bytes:
    return nested(1, attribute(1, address_bytes(source)), attribute(2, address_bytes(destination)))


def entry(tcp_state: bytes = b"", *, server: str = SERVER) -> tuple[int, bytes]:
    info = nested(4, nested(1, attribute(1, tcp_state))) if tcp_state else b""
    return 0x100, struct.pack("=BBH", 2, 0, 0) + nested(1, ends(CLIENT, VIRTUAL)) + nested(2, ends(server, CLIENT)) + info + attribute(12, ID)


@pytest.mark.parametrize("state", [b"", ESTABLISHED, LAST_ACK, CLOSE])
def test_what_may_still_carry_something_is_deleted_by_its_key_and_id(state: bytes) -> None:
    (message,) = deletions((entry(state),), frozenset({SERVER}))
    assert message.kind == 0x102
    assert dict(attributes(message.body, 4)) == {1: ends(CLIENT, VIRTUAL), 12: ID}


def test_what_has_ended_and_what_has_another_server_stays() -> None:
    assert list(deletions((entry(TIME_WAIT), entry(ESTABLISHED, server="10.0.0.9"), entry(ESTABLISHED, server=VIRTUAL)), frozenset({SERVER, VIRTUAL}))) == []


def test_connections_are_counted_by_their_server() -> None:
    assert counted((entry(), entry(TIME_WAIT), entry(server="10.0.0.9")), (SERVER, CLIENT)) == {SERVER: 2, CLIENT: 0}
