"""Whatever is called, streamed, cancelled and cut into pieces: each side's picture of the other stays true."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.wire import rpc

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["call", "stream", "item", "end", "answer", "fail", "cancel", "read", "carry"]),
        st.integers(0, 1),
        st.integers(0, 5),
        st.integers(1, 40),
    ),
    max_size=120,
)


class Side:
    """One side and what its user knows: calls made (id -> bodies got), calls served."""

    def __init__(self) -> None:
        self.connection = rpc.Connection()
        self.got: dict[int, list[bytes]] = {}
        self.unread: dict[int, int] = {}
        self.streams: set[int] = set()
        self.open: set[int] = set()
        self.ended: dict[int, str] = {}
        self.served: dict[int, bool] = {}
        self.sent: dict[int, list[bytes]] = {}
        self.wire = b""

    def take(self, event: rpc.Event) -> None:
        match event:
            case rpc.Requested(id, _, _, stream):
                assert id not in self.sent, "an id is used once"
                self.served[id], self.sent[id] = stream, []
            case rpc.Cancelled(id):
                del self.served[id]
            case rpc.ItemReceived(id, body):
                assert id in self.open
                self.got[id].append(body)
                self.unread[id] += 1
                assert self.unread[id] <= rpc.STREAM_CREDIT_ITEMS, "flow control bounds what waits unread"
            case rpc.Answered(id, body):
                self.got[id].append(body)
                self._end(id, "answered")
            case rpc.Ended(id):
                self._end(id, "ended")
            case rpc.Failed(id, _, _):
                self._end(id, "failed")

    def _end(self, id: int, how: str) -> None:
        assert id in self.open, "a call ends once"
        self.open.discard(id)
        self.ended[id] = how


def pick(ids: list[int], n: int) -> int | None:
    return ids[n % len(ids)] if ids else None


def carry(sender: Side, receiver: Side, size: int) -> None:
    """Up to `size` bytes on their way, then all of them when size is large."""
    sender.wire += sender.connection.take_outgoing()
    data, sender.wire = sender.wire[:size], sender.wire[size:]
    for event in receiver.connection.receive(data):
        receiver.take(event)


def step(sides: tuple[Side, Side], what: str, who: int, n: int, size: int) -> None:
    me, other = sides[who], sides[1 - who]
    streams = [i for i, stream in me.served.items() if stream]
    calls = [i for i, stream in me.served.items() if not stream]
    if what in {"call", "stream"}:
        made = me.connection.request("x", b"", stream=what == "stream")
        me.got[made], me.unread[made] = [], 0
        me.open.add(made)
        if what == "stream":
            me.streams.add(made)
    elif what == "item" and (number := pick(streams, n)) is not None and me.connection.may_send_item(number):
        body = bytes([len(me.sent[number]) % 256])
        me.connection.item(number, body)
        me.sent[number].append(body)
    elif what == "end" and (number := pick(streams, n)) is not None:
        me.connection.end(number)
        del me.served[number]
    elif what == "answer" and (number := pick(calls, n)) is not None:
        me.connection.answer(number, b"a")
        me.sent[number].append(b"a")
        del me.served[number]
    elif what == "fail" and (number := pick(list(me.served), n)) is not None:
        me.connection.error(number, "internal", "no")
        del me.served[number]
    elif what == "cancel" and (number := pick(sorted(me.open), n)) is not None:
        me.connection.cancel(number)
        me.open.discard(number)
    elif what == "read" and (number := pick(sorted(i for i in me.open & me.streams if me.unread[i]), n)) is not None:
        me.unread[number] -= 1
        me.connection.item_read(number)
    elif what == "carry":
        carry(me, other, size)


@given(STEPS)
def test_items_arrive_in_order_and_everything_that_is_open_can_end(steps: list[tuple[str, int, int, int]]) -> None:
    sides = (Side(), Side())
    for what, who, n, size in steps:
        step(sides, what, who, n, size)
    for _ in range(3):  # all bytes on their way, the answers to them, and those to these
        for who in (0, 1):
            carry(sides[who], sides[1 - who], 1 << 30)
    for me, other in (sides, sides[::-1]):
        assert me.connection.made == len(me.open)
        for number, bodies in me.got.items():
            assert other.sent.get(number, [])[: len(bodies)] == bodies
        for number in me.open:
            assert number in other.served, "what one side waits for, the other side works on"
        for number in list(me.served):
            me.connection.error(number, "internal", "closing")
    for who in (0, 1):
        carry(sides[who], sides[1 - who], 1 << 30)
    assert all(side.connection.made == 0 for side in sides)
