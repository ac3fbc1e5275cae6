"""Calls and streams over a byte stream, without IO: bytes in, events out; intentions in, bytes out. Both directions
are alike.

    caller                                  callee
      REQUEST id name body credit   ---->   (credit 0: one answer; else a stream with that many items allowed)
      <----  ANSWER id body  |  ERROR id code message                      a call ends with exactly one of these
      <----  ITEM id body ...  END id  |  ERROR id code message            a stream ends with END or ERROR
      CREDIT id n  ---->                                                   n more items are allowed
      CANCEL id    ---->                                                   the caller has gone; late answers are
      dropped PING n       ---->   PONG n                                          both ways, to notice a dead peer

Ids are given by the caller, upwards from 1, each used once; the two directions number independently. Every message
is one frame (cluster/wire/frames.py) with a msgpack array whose first element is the message's number.
Owns the state of one connection; never reads a clock or a socket, never interprets a body.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

import msgspec

from cluster.wire.frames import MAX_FRAME_BYTES, FrameReader, FrameTooLong, frame

STREAM_CREDIT_ITEMS: Final = 32
"""Items of one stream that may be on their way or unread. The reader grants more when half of them are used."""

MAX_CALLS_IN_FLIGHT: Final = 1024
"""Calls and streams that one side may have open at the other; one more is refused."""

MAX_NAME_LENGTH: Final = 128
MAX_ERROR_LENGTH: Final = 16 * 1024
"""Characters of an error message; what is longer is cut."""


class ProtocolError(ValueError):
    """The peer broke the protocol; the connection is of no use any more."""


class _M(enum.IntEnum):
    REQUEST = 1
    ANSWER = 2
    ERROR = 3
    ITEM = 4
    END = 5
    CANCEL = 6
    CREDIT = 7
    PING = 8
    PONG = 9


@dataclass(frozen=True, slots=True)
class Requested:
    id: int
    name: str
    body: bytes
    stream: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A request beyond MAX_CALLS_IN_FLIGHT; the error that it gets is already in `Connection.take_outgoing`."""

    id: int


@dataclass(frozen=True, slots=True)
class Answered:
    id: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    id: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ItemReceived:
    id: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    id: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The caller of request `id` does not want it any more; nothing may be sent for it."""

    id: int


@dataclass(frozen=True, slots=True)
class Credited:
    """The stream `id` may send again."""

    id: int


@dataclass(frozen=True, slots=True)
class Ponged:
    number: int


Event = Requested | Refused | Answered | Failed | ItemReceived | Ended | Cancelled | Credited | Ponged


@dataclass(slots=True)
class _Made:
    """A request that this side made."""

    stream: bool
    credit: int = 0  # items that the callee may still send
    read: int = 0  # items read since the last grant


@dataclass(slots=True)
class _Served:
    """A request that the peer made."""

    stream: bool
    credit: int = 0


@dataclass(slots=True)
class Connection:
    """One side of a connection. Every method that has something to send appends it to the outgoing bytes:
    `take_outgoing`."""

    max_calls: int = MAX_CALLS_IN_FLIGHT
    max_frame_bytes: int = MAX_FRAME_BYTES  # of what the peer may send
    _made: dict[int, _Made] = field(default_factory=dict)
    _served: dict[int, _Served] = field(default_factory=dict)
    _last_made: int = 0
    _last_served: int = 0
    _outgoing: bytearray = field(default_factory=bytearray)
    _reader: FrameReader = field(init=False)

    def __post_init__(self) -> None:
        self._reader = FrameReader(self.max_frame_bytes)

    # -- what this side wants ---------------------------------------------------------------------------------------

    def request(self, name: str, body: bytes, *, stream: bool = False) -> int:
        """Begin a call or a stream; its id. Raises FrameTooLong."""
        number = self._last_made + 1
        credit = STREAM_CREDIT_ITEMS if stream else 0
        self._send(_M.REQUEST, number, name, body, credit)
        self._last_made = number
        self._made[number] = _Made(stream, credit)
        return number

    def cancel(self, id: int) -> None:
        """Give up a call or a stream that this side made; no effect when it has ended."""
        if self._made.pop(id, None) is not None:
            self._send(_M.CANCEL, id)

    def item_read(self, id: int) -> None:
        """An item of a stream that this side made has been consumed: room for another."""
        made = self._made.get(id)
        if made is None:
            return
        made.read += 1
        if made.read * 2 >= STREAM_CREDIT_ITEMS:
            made.credit += made.read
            self._send(_M.CREDIT, id, made.read)
            made.read = 0

    def answer(self, id: int, body: bytes) -> None:
        """End a served call with its answer; no effect when it was cancelled. Raises FrameTooLong, and the call goes
        on."""
        if id in self._served:
            self._send(_M.ANSWER, id, body)
            del self._served[id]

    def error(self, id: int, code: str, message: str) -> None:
        """End a served call or stream with an error; no effect when it was cancelled."""
        if self._served.pop(id, None) is not None:
            self._send(_M.ERROR, id, code, message[:MAX_ERROR_LENGTH])

    def may_send_item(self, id: int) -> bool:
        """Whether the stream has credit left, or has been cancelled (then an item goes nowhere)."""
        served = self._served.get(id)
        return served is None or served.credit > 0

    def item(self, id: int, body: bytes) -> None:
        """One item of a served stream; the caller has asked `may_send_item`. No effect when it was cancelled. Raises
        FrameTooLong."""
        served = self._served.get(id)
        if served is None:
            return
        assert served.stream, "items belong to streams"
        assert served.credit > 0, "an item without credit"
        self._send(_M.ITEM, id, body)
        served.credit -= 1

    def end(self, id: int) -> None:
        """End a served stream; no effect when it was cancelled."""
        if self._served.pop(id, None) is not None:
            self._send(_M.END, id)

    def ping(self, number: int) -> None:
        self._send(_M.PING, number)

    def take_outgoing(self) -> bytes:
        """All bytes to send, once."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    @property
    def outgoing_bytes(self) -> int:
        return len(self._outgoing)

    @property
    def made(self) -> int:
        """Calls and streams that this side has open."""
        return len(self._made)

    # -- what the peer sent -----------------------------------------------------------------------------------------

    def receive(self, data: bytes | bytearray) -> list[Event]:
        """What the peer's bytes mean, in order. Raises ProtocolError; the connection must then be closed."""
        try:
            payloads = self._reader.feed(data)
        except FrameTooLong as e:
            raise ProtocolError(str(e)) from e
        events: list[Event] = []
        for payload in payloads:
            try:
                message = msgspec.msgpack.decode(payload, type=_Message)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
                raise ProtocolError(f"malformed message: {e}") from e
            event = self._interpret(message)
            if event is not None:
                events.append(event)
        return events

    def _interpret(self, m: _Message) -> Event | None:
        if isinstance(m, _Request):
            return self._requested(m)
        if isinstance(m, _Ping):
            self._send(_M.PONG, m.number)
            return None
        if isinstance(m, _Pong):
            return Ponged(m.number)
        if isinstance(m, _Cancel):
            return Cancelled(m.id) if self._served.pop(m.id, None) is not None else None
        if isinstance(m, _Credit):
            return self._credited(m)
        return self._returned(m)

    def _requested(self, m: _Request) -> Event:
        if m.id <= self._last_served:
            raise ProtocolError(f"request {m.id} after request {self._last_served}")
        if len(m.name) > MAX_NAME_LENGTH:
            raise ProtocolError(f"a call's name of {len(m.name)} characters")
        if not 0 <= m.credit <= STREAM_CREDIT_ITEMS:
            raise ProtocolError(f"a credit of {m.credit} items; the limit is {STREAM_CREDIT_ITEMS}")
        self._last_served = m.id
        if len(self._served) >= self.max_calls:
            self._send(_M.ERROR, m.id, "unavailable", f"too many calls at once: the limit is {self.max_calls}")
            return Refused(m.id)
        self._served[m.id] = _Served(m.credit > 0, m.credit)
        return Requested(m.id, m.name, m.body, m.credit > 0)

    def _credited(self, m: _Credit) -> Event | None:
        served = self._served.get(m.id)
        if served is None:
            return None
        if not served.stream or m.items < 1 or served.credit + m.items > STREAM_CREDIT_ITEMS:
            raise ProtocolError(f"a grant of {m.items} items to request {m.id}")
        served.credit += m.items
        return Credited(m.id)

    def _returned(self, m: _Answer | _Error | _Item | _End) -> Event | None:
        made = self._made.get(m.id)
        if made is None:
            if m.id > self._last_made:
                raise ProtocolError(f"an answer to request {m.id}, which was never made")
            return None  # it was cancelled; the peer had not heard yet
        if isinstance(m, _Item):
            made.credit -= 1
            if not made.stream or made.credit < 0:
                raise ProtocolError(f"an item of request {m.id} that was not asked for")
            return ItemReceived(m.id, m.body)
        if made.stream is not isinstance(m, _End) and not isinstance(m, _Error):
            raise ProtocolError(f"request {m.id} ended in the wrong way")
        del self._made[m.id]
        if isinstance(m, _Error):
            return Failed(m.id, m.code, m.message)
        return Answered(m.id, m.body) if isinstance(m, _Answer) else Ended(m.id)

    def _send(self, *message: object) -> None:
        self._outgoing += frame(msgspec.msgpack.encode(message))


class _Request(msgspec.Struct, array_like=True, frozen=True, tag=int(_M.REQUEST)):
    id: int
    name: str
    body: bytes
    credit: int


class _Answer(msgspec.Struct, array_like=True, frozen=True, tag=int(_M.ANSWER)):
    id: int
    body: bytes


class _Error(msgspec.Struct, array_like=True, frozen=True, tag=int(_M.ERROR)):
    id: int
    code: str
    message: str


class _Item(msgspec.Struct, array_like=True, frozen=True, tag=int(_M.ITEM)):
    id: int
    body: bytes


class _End(msgspec.Struct, array_like=True, frozen=True, tag=int(_M.END)):
    id: int


class _Cancel(msgspec.Struct, array_like=True, frozen=True, tag=int(_M.CANCEL)):
    id: int


class _Credit(msgspec.Struct, array_like=True, frozen=True, tag=int(_M.CREDIT)):
    id: int
    items: int


class _Ping(msgspec.Struct, array_like=True, frozen=True, tag=int(_M.PING)):
    number: int


class _Pong(msgspec.Struct, array_like=True, frozen=True, tag=int(_M.PONG)):
    number: int


_Message = _Request | _Answer | _Error | _Item | _End | _Cancel | _Credit | _Ping | _Pong
