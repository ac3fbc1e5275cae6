"""Calls and streams without IO: two connections whose bytes are carried by hand."""

from __future__ import annotations

import msgspec
import pytest

from cluster.wire import rpc
from cluster.wire.frames import frame


def carried(sender: rpc.Connection, receiver: rpc.Connection) -> list[rpc.Event]:
    return receiver.receive(sender.take_outgoing())


def raw(*message: object) -> bytes:
    return frame(msgspec.msgpack.encode(message))


def test_a_call_is_answered_once() -> None:
    a, b = rpc.Connection(), rpc.Connection()
    number = a.request("x", b"question")
    assert carried(a, b) == [rpc.Requested(number, "x", b"question", False)]
    b.answer(number, b"yes")
    b.answer(number, b"again")
    assert carried(b, a) == [rpc.Answered(number, b"yes")]
    assert a.made == 0


def test_an_error_carries_code_and_message_cut_to_its_limit() -> None:
    a, b = rpc.Connection(), rpc.Connection()
    number = a.request("x", b"")
    carried(a, b)
    b.error(number, "not_found", "n" * (rpc.MAX_ERROR_LENGTH + 5))
    assert carried(b, a) == [rpc.Failed(number, "not_found", "n" * rpc.MAX_ERROR_LENGTH)]


def test_a_stream_stops_at_its_credit_and_goes_on_when_items_are_read() -> None:
    a, b = rpc.Connection(), rpc.Connection()
    number = a.request("s", b"", stream=True)
    carried(a, b)
    for i in range(rpc.STREAM_CREDIT_ITEMS):
        assert b.may_send_item(number)
        b.item(number, bytes([i]))
    assert not b.may_send_item(number)
    items = carried(b, a)
    assert [e.body for e in items if isinstance(e, rpc.ItemReceived)] == [bytes([i]) for i in range(len(items))]
    for _ in range(rpc.STREAM_CREDIT_ITEMS // 2):
        a.item_read(number)
    assert carried(a, b) == [rpc.Credited(number)]
    assert b.may_send_item(number)
    b.end(number)
    assert carried(b, a) == [rpc.Ended(number)]


def test_cancelling_stops_the_callee_and_late_answers_are_dropped() -> None:
    a, b = rpc.Connection(), rpc.Connection()
    number = a.request("x", b"")
    carried(a, b)
    b.answer(number, b"late")
    late = b.take_outgoing()
    a.cancel(number)
    assert a.receive(late) == []
    assert carried(a, b) == []  # b had answered already
    other = a.request("y", b"")
    carried(a, b)
    a.cancel(other)
    assert carried(a, b) == [rpc.Cancelled(other)]
    b.answer(other, b"nobody wants it")
    assert b.take_outgoing() == b""


def test_both_sides_call_over_one_connection() -> None:
    a, b = rpc.Connection(), rpc.Connection()
    first, second = a.request("from a", b"1"), b.request("from b", b"2")
    assert first == second == 1
    assert carried(a, b) == [rpc.Requested(1, "from a", b"1", False)]
    assert carried(b, a) == [rpc.Requested(1, "from b", b"2", False)]


def test_one_call_too_many_is_refused_and_the_others_go_on() -> None:
    a, b = rpc.Connection(), rpc.Connection(max_calls=2)
    numbers = [a.request("x", b"") for _ in range(3)]
    events = carried(a, b)
    assert [type(e) for e in events] == [rpc.Requested, rpc.Requested, rpc.Refused]
    (failed,) = carried(b, a)
    assert isinstance(failed, rpc.Failed)
    assert (failed.id, failed.code) == (numbers[2], "unavailable")


def test_pings_are_answered_without_anybody_asking() -> None:
    a, b = rpc.Connection(), rpc.Connection()
    a.ping(7)
    assert carried(a, b) == []
    assert carried(b, a) == [rpc.Ponged(7)]


@pytest.mark.parametrize(
    "data",
    [
        frame(b"\xc1"),
        raw(99, 1),
        raw(1, 1, "n" * 500, b"", 0),
        raw(1, 1, "x", b"", rpc.STREAM_CREDIT_ITEMS + 1),
        raw(1, 1, "x", b"", 0) + raw(1, 1, "x", b"", 0),
        raw(2, 5, b"an answer to nothing"),
        raw(1, 1, "x", b"", 1) + raw(7, 1, rpc.STREAM_CREDIT_ITEMS + 1),
        raw(1, 1, "x", b"", 1) + raw(7, 1, -1),
        b"\xff\xff\xff\xff",
    ],
)
def test_a_peer_that_breaks_the_protocol_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(rpc.ProtocolError):
        rpc.Connection().receive(data)


def test_an_answer_of_the_wrong_kind_is_a_protocol_error() -> None:
    a = rpc.Connection()
    number = a.request("x", b"")
    with pytest.raises(rpc.ProtocolError):
        a.receive(raw(4, number, b"an item of a call"))
    b = rpc.Connection()
    number = b.request("x", b"", stream=True)
    with pytest.raises(rpc.ProtocolError):
        b.receive(raw(2, number, b"an answer to a stream"))
