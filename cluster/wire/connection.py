"""Calls and streams over one TLS connection, with trio: the shell around cluster/wire/rpc.py.

Owns the connection: reading, writing, one task per call that it serves. Made by cluster/wire/peer.py, and looked after by
cluster/wire/keepalive.py when it is silent. Never decides what a call means: that is its handler's; nor who may make it:
that is cluster/wire/permissions.py's. A ClusterError that a handler raises crosses the wire with its code and message;
anything else that it raises is our own bug: logged, answered as an internal error, and the process goes on.

What there is to say leaves at once, by whoever says it; only what the network does not take then has a task that waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from inspect import isasyncgenfunction
from typing import Any, Final, cast

import trio

from cluster.identity import subject, tls
from cluster.model.errors import ClusterError, InvalidArgument, PermissionDenied, Unavailable, from_wire
from cluster.model.specs import Role
from cluster.wire import calls, permissions, rpc
from cluster.wire.codec import BadMessage, decode, encode
from cluster.wire.frames import FrameTooLong
from cluster.wire.silence import Silence, Verdict
from cluster.wire.tls_stream import TlsStream

log = logging.getLogger("festoon.wire")

UNKNOWN_FRAME_BYTES: Final = 64 * 1024
"""Longest message of a peer without a valid certificate: more than a request for one takes."""

UNKNOWN_CALLS: Final = 4
"""How many calls such a peer may have under way."""

MAX_UNSENT_BYTES: Final = 4 * 1024 * 1024
"""Bytes waiting for the network above which calls and items wait."""

RECEIVE_BYTES: Final = 64 * 1024

_LOST = (trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: what the peer's certificate says, verified; everything empty for one without (role None). `late`: the
    certificate may have expired, for the connection is for its renewal only."""

    node_id: str
    role: Role | None
    cluster_id: str
    address: str  # the peer's plain address
    peer: Peer = field(repr=False)
    late: bool = False


Handler = Callable[[Caller, Any], Awaitable[Any]] | Callable[[Caller, Any], AsyncIterator[Any]] | Callable[[Caller, Any, "Items"], Awaitable[None]]
"""Serves one call: (caller, request) -> answer; for a stream an async generator function, or an async function that puts its items by
itself and ends the stream when it returns. It is cancelled when the caller gives up or is lost."""

Admit = Callable[[Caller, calls.Call], None]
"""Asked before each call that the table allows; refuses by raising PermissionDenied."""


@dataclass(slots=True)
class _Waiting:
    """A call or stream that this side made: where its answer or items go."""

    answered: trio.Event = field(default_factory=trio.Event)
    body: bytes = b""
    failure: ClusterError | None = None
    items: trio.MemorySendChannel[bytes] | None = None
    take: Callable[[bytes], None] | None = None


@dataclass(slots=True)
class _Serving:
    scope: trio.CancelScope
    credited: trio.Event = field(default_factory=trio.Event)


class Peer:
    """One open connection. `silence` is what is known of the other side's."""

    def __init__(self, stream: TlsStream, handlers: Mapping[str, Handler], silence: Silence, admit: Admit | None = None) -> None:
        self.closed = trio.Event()
        self.silent_s = 0.0
        """For how long nothing was heard when silence ended the connection; 0 while it has not."""

        self.address, self.port = stream.remote()
        identity = subject.from_peer_certificate(stream.certificate())
        self.caller = Caller(
            identity.node_id if identity else "",
            identity.role if identity else None,
            identity.cluster_id if identity else "",
            self.address,
            self,
            stream.protocol() == tls.RENEWAL_PROTOCOL,
        )
        self.known = identity is not None and not self.caller.late
        self._stream = stream
        self._handlers = handlers
        self._admit = admit
        self._rpc = rpc.Connection() if self.known else rpc.Connection(UNKNOWN_CALLS, UNKNOWN_FRAME_BYTES)
        self._waiting: dict[int, _Waiting] = {}
        self._serving: dict[int, _Serving] = {}
        self._slots = trio.Semaphore(rpc.MAX_CALLS_IN_FLIGHT)
        self._nursery: trio.Nursery | None = None  # while the connection is open
        self._sending = False  # a task waits for the network
        self._room = trio.Event()
        self._silence = silence
        self._pings = 0
        self._reason = ""
        self.broke = ""  # what the other side did against the protocol

    def certificate_pem(self) -> str:
        """The certificate that the other side showed, verified; empty for none."""
        return self._stream.certificate_pem()

    def forgive(self, late_s: float) -> None:
        """The other side is known to have been silent so long and come back: it has more time from now on."""
        self._silence.forgive(late_s)

    # -- calling ----------------------------------------------------------------------------------------------------

    async def call(self, name: str, request: object) -> Any:
        """The answer to one call. Raises the ClusterError that the peer answered, Unavailable when the connection is
        or gets lost, InvalidArgument when the request is too long. Cancellation tells the peer, which cancels its
        handler."""
        contract = _contract(name, stream=False)
        async with self._slots:
            await self._wait_for_room()
            waiting = _Waiting()
            await self._until_answered(self._begin(name, request, stream=False), waiting)
        return _decoded(name, waiting.body, contract.answer)

    @asynccontextmanager
    async def stream(self, name: str, request: object) -> AsyncIterator[AsyncIterator[Any]]:
        """`async with peer.stream(name, request) as items: async for item in items: ...`. Iteration ends with the
        stream and raises what ended it otherwise, as `call` does. Leaving the block cancels the stream at the peer.
        At most rpc.STREAM_CREDIT_ITEMS wait unread."""
        contract = _contract(name, stream=True)
        async with self._slots:
            await self._wait_for_room()
            number = self._begin(name, request, stream=True)
            send, receive = trio.open_memory_channel[bytes](rpc.STREAM_CREDIT_ITEMS)
            waiting = self._waiting[number] = _Waiting(items=send)
            try:
                async with aclosing(self._items(number, waiting, receive, contract)) as items:
                    yield items
            finally:
                send.close()
                receive.close()
                self._forget(number)

    async def listen(self, name: str, request: object, take: Callable[[Any], None]) -> None:
        """A stream whose items are handed to `take` the moment that they are read, before anything else is done: for those
        for whom every switch of tasks counts. Returns when the stream ends; raises what ended it otherwise, also the
        ClusterError that `take` raised."""
        contract = _contract(name, stream=True)

        def taken(body: bytes) -> None:
            take(_decoded(name, body, contract.answer))

        async with self._slots:
            await self._wait_for_room()
            await self._until_answered(self._begin(name, request, stream=True), _Waiting(take=taken))

    async def _until_answered(self, number: int, waiting: _Waiting) -> None:
        """Raises what ended it otherwise."""
        self._waiting[number] = waiting
        try:
            await waiting.answered.wait()
        finally:
            self._forget(number)
        if waiting.failure is not None:
            raise waiting.failure

    async def _items(
        self, number: int, waiting: _Waiting, receive: trio.MemoryReceiveChannel[bytes], contract: calls.Call
    ) -> AsyncGenerator[Any, None]:
        async for body in receive:
            self._rpc.item_read(number)
            self._flush()
            yield _decoded(contract.name, body, contract.answer)
        if waiting.failure is not None:
            raise waiting.failure

    def _begin(self, name: str, request: object, *, stream: bool) -> int:
        if self.closed.is_set():
            raise self._lost()
        try:
            number = self._rpc.request(name, encode(request), stream=stream)
        except FrameTooLong as e:
            raise InvalidArgument(f"{name}: {e}") from e
        self._flush()
        return number

    def _forget(self, number: int) -> None:
        self._waiting.pop(number, None)
        if not self.closed.is_set():
            self._rpc.cancel(number)
            self._flush()

    def _lost(self) -> Unavailable:
        return Unavailable(f"the connection to {self.address}:{self.port} is lost{self._reason}")

    # -- the connection's own tasks ---------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry the connection until it ends: by either side, by an error, by silence. Returns normally for all of
        these."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                try:
                    await self._read(nursery)
                finally:
                    self._nursery = None
                nursery.cancel_scope.cancel()
        finally:
            self.closed.set()
            self._room.set()
            for waiting in self._waiting.values():
                _finish(waiting, self._lost())
            self._stream.close()

    async def _read(self, nursery: trio.Nursery) -> None:
        while True:
            try:
                data = await self._stream.receive_some(RECEIVE_BYTES)
                events = self._rpc.receive(data) if data else None
            except rpc.ProtocolError as e:
                self.broke, self._reason = str(e), f": {e}"
                return
            except _LOST as e:
                self._reason = f": {e.__cause__ or e}"
                return
            if events is None:
                return
            self._silence.heard(trio.current_time())
            for event in events:
                self._handle(event, nursery)
            self._flush()

    def _handle(self, event: rpc.Event, nursery: trio.Nursery) -> None:
        match event:
            case rpc.Requested():
                serving = self._serving[event.id] = _Serving(trio.CancelScope())
                nursery.start_soon(self._serve, event, serving)
            case rpc.Cancelled(id):
                self._serving[id].scope.cancel()
            case rpc.Credited(id):
                self._serving[id].credited.set()
            case rpc.ItemReceived(id, body):
                if (waiting := self._waiting.get(id)) is not None:
                    self._take_item(id, waiting, body)
            case rpc.Answered(id, body):
                if (waiting := self._waiting.get(id)) is not None:
                    waiting.body = body
                    _finish(waiting, None)
            case rpc.Failed(id, code, message):
                if (waiting := self._waiting.get(id)) is not None:
                    _finish(waiting, from_wire(code, message))
            case rpc.Ended(id):
                if (waiting := self._waiting.get(id)) is not None:
                    _finish(waiting, None)
            case rpc.Refused() | rpc.Ponged():
                pass

    def _take_item(self, id: int, waiting: _Waiting, body: bytes) -> None:
        if waiting.items is not None:
            waiting.items.send_nowait(body)
        elif waiting.take is not None:
            try:
                waiting.take(body)
            except ClusterError as error:
                waiting.take = None
                _finish(waiting, error)
            self._rpc.item_read(id)

    def _flush(self) -> None:
        """Send what there is to be sent, as far as the network takes it now; a task waits with the rest."""
        if self._nursery is None or self._sending or not self._rpc.outgoing_bytes:
            return
        data = self._rpc.take_outgoing()
        self._room.set()
        try:
            sent = self._stream.send_now(data)
        except _LOST:
            self._nursery.cancel_scope.cancel()
            return
        if sent < len(data):
            self._sending = True
            self._nursery.start_soon(self._send, memoryview(data)[sent:], self._nursery.cancel_scope)

    async def _send(self, data: memoryview | bytes, scope: trio.CancelScope) -> None:
        try:
            while data:
                await self._stream.send_all(data)
                data = self._rpc.take_outgoing()
                self._room.set()
        except _LOST:
            scope.cancel()
        self._sending = False

    def look(self, now_s: float) -> float:
        """Whether the other side still says something; when to look again. cluster/wire/keepalive.py calls it."""
        if self._nursery is None:
            return float("inf")
        match self._silence.look(now_s):
            case Verdict.DEAD:
                self.silent_s = self._silence.lasted_s(now_s)
                self._reason = f": nothing heard for {self.silent_s:.1f} s"
                self._nursery.cancel_scope.cancel()
                return float("inf")
            case Verdict.SILENT:
                self._reason = f": nothing heard for {self._silence.lasted_s(now_s):.1f} s"
                self._pings += 1
                self._rpc.ping(self._pings)
                self._flush()
            case Verdict.HEARD:
                self._reason = ""
        return self._silence.due_s

    @property
    def look_due_s(self) -> float:
        """When to look the first time."""
        return self._silence.due_s

    async def _wait_for_room(self) -> None:
        while self._rpc.outgoing_bytes > MAX_UNSENT_BYTES and not self.closed.is_set():
            if self._room.is_set():
                self._room = trio.Event()
            await self._room.wait()

    # -- serving ----------------------------------------------------------------------------------------------------

    async def _serve(self, request: rpc.Requested, serving: _Serving) -> None:
        try:
            with serving.scope:
                await self._answer(request, serving)
        except ClusterError as e:
            if isinstance(e, PermissionDenied):
                who = {"node": self.caller.node_id, "address": self.address}
                log.warning("a call is refused", extra={"fields": {"call": request.name, **who, "error": e.message}})
            self._rpc.error(request.id, e.code, e.message)
        except FrameTooLong as e:
            self._rpc.error(request.id, "internal", f"{request.name}: {e}")
        except Exception as e:  # noqa: BLE001  the boundary: our own bug in one call must not end the process
            log.exception("a call failed by a bug", extra={"fields": {"call": request.name}})
            self._rpc.error(request.id, "internal", f"{request.name}: internal error: {type(e).__name__}")
        finally:
            self._serving.pop(request.id, None)
            self._flush()

    async def _answer(self, request: rpc.Requested, serving: _Serving) -> None:
        contract, handler = calls.CALLS.get(request.name), self._handlers.get(request.name)
        if contract is None or handler is None or contract.stream is not request.stream:
            raise InvalidArgument(calls.UNKNOWN_CALL.format(request.name))
        permissions.authorize(contract, self.caller.role, late=self.caller.late)
        if self._admit is not None:
            self._admit(self.caller, contract)
        body = _decoded(request.name, request.body, contract.request)
        if contract.stream and not isasyncgenfunction(handler):
            await cast("Callable[[Caller, Any, Items], Awaitable[None]]", handler)(self.caller, body, Items(self, request.id))
            self._rpc.end(request.id)
            return
        if not isasyncgenfunction(handler):
            answer = await cast("Callable[[Caller, Any], Awaitable[Any]]", handler)(self.caller, body)
            encoded = encode(calls.Nothing() if answer is None else answer)
            await self._wait_for_room()
            self._rpc.answer(request.id, encoded)
            return
        async with aclosing(cast("Callable[[Caller, Any], AsyncGenerator[Any, None]]", handler)(self.caller, body)) as items:
            async for item in items:
                await self._wait_credit(request.id, serving)
                await self._wait_for_room()
                self._rpc.item(request.id, encode(item))
                self._flush()
        self._rpc.end(request.id)

    async def _wait_credit(self, id: int, serving: _Serving) -> None:
        while not self._rpc.may_send_item(id):
            serving.credited = trio.Event()
            await serving.credited.wait()


class Items:
    """The items of one stream that is served, for a handler that puts them itself, at the moment that it has them."""

    def __init__(self, peer: Peer, id: int) -> None:
        self._peer = peer
        self._id = id

    @property
    def has_room(self) -> bool:
        """Whether the reader and the network take another item now."""
        return self._peer._rpc.may_send_item(self._id) and self._peer._rpc.outgoing_bytes <= MAX_UNSENT_BYTES

    def put(self, item: object) -> None:
        """Send the item now; there must be room. Raises FrameTooLong."""
        self._peer._rpc.item(self._id, encode(item))
        self._peer._flush()

    async def wait_room(self) -> None:
        """Return when there is room."""
        if (serving := self._peer._serving.get(self._id)) is not None:
            await self._peer._wait_credit(self._id, serving)
        await self._peer._wait_for_room()


def _contract(name: str, *, stream: bool) -> calls.Call:
    contract = calls.CALLS[name]
    assert contract.stream is stream, f"{name} is {'' if contract.stream else 'not '}a stream"
    return contract


def _finish(waiting: _Waiting, failure: ClusterError | None) -> None:
    waiting.failure = failure
    waiting.answered.set()
    if waiting.items is not None:
        waiting.items.close()


def _decoded(name: str, body: bytes, kind: object) -> Any:
    try:
        return decode(body, kind)
    except BadMessage as e:
        raise InvalidArgument(f"{name}: {e}") from e
