"""Requests and answers on a netlink socket, without the socket."""

from __future__ import annotations

import errno
import struct

from netfabric.netlink.exchange import DATAGRAM_BYTES, DATAGRAM_MESSAGES, Exchange, datagrams
from netfabric.netlink.messages import NLM_F_DUMP, NLM_F_REQUEST, Message, add_address, attribute, attributes

ONE = Message(20, 5, b"abcd", "first")
TWO = Message(20, 5, b"ab", "second")


def reply(kind: int, sequence: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 0) + payload + bytes(-len(payload) % 4)


def sequences(data: bytes) -> list[int]:
    found, offset = [], 0
    while offset < len(data):
        length, _, _, sequence, _ = struct.unpack_from("=IHHII", data, offset)
        found.append(sequence)
        offset += (length + 3) & ~3
    return found


def acknowledged(data: bytes) -> list[bool]:
    """Which of a datagram's requests ask for an acknowledgement."""
    found, offset = [], 0
    while offset < len(data):
        length, _, flags = struct.unpack_from("=IHH", data, offset)
        found.append(bool(flags & 4))
        offset += (length + 3) & ~3
    return found


def test_the_last_request_s_acknowledgement_stands_for_all_that_did_not_fail() -> None:
    exchange = Exchange()
    data, (first, second, third) = exchange.prepare([ONE, TWO, ONE])
    assert acknowledged(data) == [False, False, True]
    one, _, three = sequences(data)
    exchange.feed(reply(2, one, struct.pack("=i", -errno.EEXIST)))
    assert (first.done, second.done, third.done) == (True, False, False)
    exchange.feed(reply(2, three, struct.pack("=i", 0)))
    assert (second.done, third.done, second.error, third.error) == (True, True, None, None)
    assert first.error is not None
    assert first.error.errno == errno.EEXIST
    assert str(first.error).endswith("first: File exists")


def test_the_last_request_s_failure_stands_for_the_success_of_the_others() -> None:
    exchange = Exchange()
    data, (first, second) = exchange.prepare([ONE, TWO])
    exchange.feed(reply(2, sequences(data)[1], struct.pack("=i", -errno.EEXIST)))
    assert (first.done, first.error) == (True, None)
    assert second.error is not None


def test_a_dump_is_waited_for_by_itself() -> None:
    exchange = Exchange()
    listing = Message(18, NLM_F_REQUEST | NLM_F_DUMP, b"", "list")
    data, (dump, change) = exchange.prepare([listing, ONE])
    assert acknowledged(data) == [False, True]
    exchange.feed(reply(2, sequences(data)[1], struct.pack("=i", 0)))
    assert (dump.done, change.done) == (False, True)
    data, (change, dump) = exchange.prepare([ONE, listing])
    assert acknowledged(data) == [True, False]


def test_the_kernel_s_own_words_are_kept() -> None:
    exchange = Exchange()
    data, (one,) = exchange.prepare([ONE])
    payload = struct.pack("=i", -errno.EINVAL) + bytes(16) + attribute(1, b"Wrong prefix\0")
    exchange.feed(reply(2, sequences(data)[0], payload, flags=0x300))
    assert "Wrong prefix" in str(one.error)


def test_a_dump_is_collected_until_it_is_done() -> None:
    exchange = Exchange()
    data, (one,) = exchange.prepare([ONE])
    (sequence,) = sequences(data)
    exchange.feed(reply(16, sequence, b"xxxx") + reply(16, sequence, b"yyyy"))
    assert not one.done
    exchange.feed(reply(3, sequence, struct.pack("=i", 0)))
    assert (one.done, one.error, one.parts) == (True, None, [(16, b"xxxx"), (16, b"yyyy")])


def test_answers_to_a_forgotten_request_are_dropped() -> None:
    exchange = Exchange()
    data, pending = exchange.prepare([ONE])
    exchange.forget(pending)
    exchange.feed(reply(2, sequences(data)[0], struct.pack("=i", 0)))
    assert not pending[0].done


def test_long_lists_are_cut_by_number_and_by_size() -> None:
    assert [len(some) for some in datagrams([ONE] * (DATAGRAM_MESSAGES + 1))] == [DATAGRAM_MESSAGES, 1]
    large = Message(20, 5, bytes(DATAGRAM_BYTES // 2), "large")
    assert [len(some) for some in datagrams([large, large, large])] == [1, 1, 1]
    assert list(datagrams([])) == []


def test_an_address_has_its_subnet_s_broadcast_and_an_alias_none() -> None:
    assert dict(attributes(add_address(2, "10.0.1.8/24").body, 8))[4] == bytes([10, 0, 1, 255])
    assert 4 not in dict(attributes(add_address(2, "10.0.1.5/32").body, 8))


def test_truncated_attributes_end_the_list() -> None:
    assert list(attributes(attribute(1, b"abcd") + b"\x08\0\x02")) == [(1, b"abcd")]
