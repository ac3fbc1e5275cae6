"""The node's session with the managers: connects, opens the stream of assignments, acknowledges what is applied, reports statuses,
comes back after a loss and goes on with the version that it has.

Owns the one connection that everything of this node goes through (assignments, statuses, and on managers the engine's control calls).
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple, cast

import trio

from agent.reporter import Reporter
from agent.spares import Spares
from cluster.identity.contexts import Contexts
from cluster.model.assignments import Assignments, SessionState
from cluster.model.errors import NO_LEADER, ClusterError, Conflict, FailedPrecondition, NodeRemoved, NotLeader, PermissionDenied, Unavailable
from cluster.model.objects import NodeDescription
from cluster.wire import versions
from cluster.wire.calls import Applied, Nothing, OpenSession, UpdateStatuses
from cluster.wire.peer import Handler, Peer, connect

log = logging.getLogger("festoon.session")
RETRY_FIRST_S: Final = 0.05
RETRY_LAST_S: Final = 0.5
DIAL_TIMEOUT_S: Final = 1.0  # the kernel's own second try comes later: after a partition it would be waited for
KEEPALIVE_S: Final = 1.0
MESSAGES_AHEAD: Final = 64  # assignments that are heard before the kernel is brought to the first of them; a further one waits at the connection
CALL_WAIT_S: Final = 5.0  # how long a control call waits for a session before it says that no manager answers

LOST: Final = "the connection to the manager that leads was lost before it answered; whether the change was made is not known"

READS: Final = frozenset({"control.query", "control.why", "control.preview", "control.raft_status", "control.raft_log"})
"""Calls that change nothing: asked again when the connection was lost before the answer came."""


class Told(NamedTuple):
    """Who takes in what the managers say. `hear` is called as each message of assignments comes, in their order, also while `apply` is busy with one that came
    before; after a loss what has not been applied comes, and is heard, again."""

    state: Callable[[SessionState], Awaitable[None]]
    hear: Callable[[Assignments], None]
    apply: Callable[[Assignments], Awaitable[None]]


class Sequence(Exception):
    """A delta does not apply to what we have: the session starts anew."""


class Session:
    """State: the open connection, and which managers are known."""

    def __init__(self, contexts: Contexts, managers: tuple[str, ...], description: NodeDescription, advertise: str,
                 local: tuple[str, str] = ("", ""), speak: int = versions.VERSION) -> None:  # fmt: skip
        """`managers`: host:port. `local`: on a manager the host that it advertises, and host:port where it is reached from here. `speak`: see
        cluster/wire/versions.py."""
        self._speak, self._process = speak, os.urandom(16).hex()
        self._contexts = contexts
        self._managers, self._description, self._advertise, self._local = managers, description, advertise, local
        self._peer: Peer | None = None
        self._changed = trio.Event()
        self._connection = trio.CancelScope()
        self._handlers: Mapping[str, Handler] = {}
        self._spares = Spares(self._dial)
        self._left = False
        self._stream, self._version = "", 0  # what has been taken in, of which stream; "" for nothing that could be gone on with
        self.state: SessionState | None = None
        self.problem = ""
        self.refusal = ""  # why the managers do not take this node as it is; they are asked again
        self.removed = False  # they do not know it any more: nobody is asked again

    def describe(self, description: NodeDescription) -> None:
        """What the next session begins with."""
        self._description = description

    @property
    def managers(self) -> tuple[str, ...]:
        return self._managers

    def reopen(self, local: tuple[str, str]) -> None:
        """Come back at once, as what the present certificate says; `local` as above."""
        self._local = local
        self._spares.renew()
        self._connection.cancel()

    async def wait_open(self) -> None:
        """Until a manager has answered the hello. With no timeout of its own."""
        while self._peer is None:
            await self._changed.wait()

    async def run(self, told: Told, reporter: Reporter, handlers: Mapping[str, Handler], on_loss: Callable[[], None]) -> None:
        """Keep a session until the node was removed, with the manager that leads: whichever answers says who that is. `on_loss` is called whenever it was
        lost or could not be had."""
        self._handlers = handlers
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._spares.run)
            await self._keep(told, reporter, on_loss)
            nursery.cancel_scope.cancel()

    async def _keep(self, told: Told, reporter: Reporter, on_loss: Callable[[], None]) -> None:
        """One session after the other."""
        delay, turn, leader, since = RETRY_FIRST_S, 0, "", trio.current_time()
        silent: tuple[str, float] | None = None  # the manager that fell silent in the last session, and when it was heard last
        while not self._left:
            address = leader or self._managers[turn % len(self._managers)]
            named, leader = bool(leader), ""
            try:
                ended: Exception | None = None
                with trio.CancelScope() as self._connection:
                    async with self._spares.line(address) as peer:
                        if silent is not None and silent[0] == address:  # it was only slow
                            peer.forgive(trio.current_time() - silent[1])
                        ended = await self._serve(peer, address, told, reporter)
                        silent = (address, trio.current_time() - peer.silent_s) if peer.silent_s else None
                if self._connection.cancelled_caught:
                    leader = address
                elif ended is not None:
                    raise ended
            except NodeRemoved as gone:
                self.problem, self.removed = gone.message, True
                log.warning("removed from the swarm", extra={"fields": {"manager": address, "error": gone.message}})
                return
            except (Conflict, FailedPrecondition) as refused:
                if refused.message != self.refusal:
                    log.warning("refused by the manager", extra={"fields": {"manager": address, "error": refused.message}})
                self.problem = self.refusal = refused.message
            except PermissionDenied as refused:
                self.problem = refused.message
                log.warning("refused by the manager", extra={"fields": {"manager": address, "error": refused.message}})
            except NotLeader as elsewhere:
                self.problem = NO_LEADER
                if not named or self.state is not None:  # one redirect: who was named and does not lead either may not know yet
                    leader = elsewhere.message
                log.info("another manager leads", extra={"fields": {"manager": address, "leader": elsewhere.message}})
            except ClusterError as lost:
                self.problem = lost.message
                log.info("no session", extra={"fields": {"manager": address, "error": lost.message}})
            except Sequence:
                self._stream, self._version = "", 0
                log.warning("assignments out of sequence: the session starts anew", extra={"fields": {"manager": address}})
            finally:
                self._note_peer(None)
            if was_open := self.state is not None:
                delay, self.state, turn, since = RETRY_FIRST_S, None, 0, trio.current_time()
            turn += 1
            if leader:
                continue
            on_loss()
            if not was_open and turn % len(self._managers):
                continue  # one that does not answer, or knows of no leader, says nothing of the others
            # jitter, so that a crowd does not come back at once; what the round has taken counts: after a partition nobody waits longer than for one try
            await trio.sleep_until(since + delay * random.uniform(0.5, 1.0))  # noqa: S311
            delay, since = min(delay * 2, RETRY_LAST_S), trio.current_time()

    def _dial(self, manager: str) -> AbstractAsyncContextManager[Peer]:
        where, context = self.reached_at(manager), self._contexts.client
        return connect(where, context, self._handlers, keepalive_s=KEEPALIVE_S, dial_timeout_s=DIAL_TIMEOUT_S)

    def reached_at(self, manager: str) -> str:
        """Where to dial a manager: the one of this node locally."""
        own, local = self._local
        return local if own and manager.rpartition(":")[0] == own else manager

    async def call(self, name: str, request: object) -> Any:
        """One call over the session. What a manager that leads no longer did not do, and what only reads, is asked again of the next one. Raises Unavailable
        when none answers within CALL_WAIT_S."""
        return await self._ask(lambda peer: peer.call(name, request), again=name in READS)

    async def read(self, name: str, request: object) -> list[Any]:
        """All items of a stream that only reads. As `call`."""

        async def all_items(peer: Peer) -> list[Any]:
            async with peer.stream(name, request) as items:
                return [item async for item in items]

        return cast("list[Any]", await self._ask(all_items, again=True))

    async def _ask(self, ask: Callable[[Peer], Awaitable[Any]], *, again: bool) -> Any:
        """`again`: also when it may have been done already."""
        until, tried = trio.current_time() + CALL_WAIT_S, None
        while True:
            peer = tried = await self._wait_peer(until, tried)
            try:
                return await ask(peer)
            except NotLeader:
                continue
            except Unavailable as error:
                if not peer.closed.is_set():
                    raise
                if not again:
                    raise Unavailable(LOST) from error

    async def call_own(self, name: str, request: object) -> Any:
        """One call to the manager of this node itself, whoever leads, over a connection of its own. Raises Unavailable when it does not answer within
        CALL_WAIT_S."""
        with trio.move_on_after(CALL_WAIT_S):
            async with connect(self._local[1], self._contexts.client, dial_timeout_s=DIAL_TIMEOUT_S) as peer:
                return await peer.call(name, request)
        raise Unavailable(f"the manager of this node did not answer within {CALL_WAIT_S:g} s")

    @asynccontextmanager
    async def stream(self, name: str, request: object) -> AsyncIterator[AsyncIterator[Any]]:
        """Raises NotLeader when it broke off because the manager was lost or leads no longer: the next one may be asked. Otherwise as `call`."""
        peer = await self._wait_peer(trio.current_time() + CALL_WAIT_S)
        try:
            async with peer.stream(name, request) as items:
                yield items
        except Unavailable as error:
            if peer.closed.is_set():
                raise NotLeader("") from error
            raise

    async def leave(self) -> None:
        """Tell the manager, if one listens, that this node goes away for good."""
        if self._peer is not None:
            with trio.move_on_after(CALL_WAIT_S):
                try:
                    self._left = True
                    await self._peer.call("agent.leave", Nothing())
                except ClusterError as error:
                    log.info("left without a manager's notice", extra={"fields": {"error": error.message}})

    async def _wait_peer(self, until: float, tried: Peer | None = None) -> Peer:
        """The session's connection, another one than `tried`. Raises Unavailable when there is none by then."""
        with trio.move_on_at(until):
            while self._peer is None or self._peer is tried:
                await self._changed.wait()
        if self._peer is None or self._peer is tried:
            raise Unavailable(self.refusal or NO_LEADER)
        return self._peer

    async def _serve(self, peer: Peer, address: str, told: Told, reporter: Reporter) -> Exception | None:
        """Until the stream ends; returns what ended it (raised here, it would leave the nurseries around it in a group)."""
        begun, heard = False, self._version
        applied = trio.Event()
        hearing, applying = trio.open_memory_channel[Assignments](MESSAGES_AHEAD)

        async def acknowledge() -> None:
            """Tell the manager the newest version that is applied, as often as it gets the answer."""
            nonlocal applied
            while True:
                await applied.wait()
                applied = trio.Event()
                await peer.call("agent.applied", Applied(self._version))

        async def send(batch: UpdateStatuses) -> None:
            await peer.call("agent.statuses", batch)

        async def take(message: SessionState | Assignments) -> None:
            nonlocal begun, heard
            if isinstance(message, SessionState):
                self.state, self._managers, self.problem, self.refusal = message, message.managers or self._managers, "", ""
                self._note_peer(peer)
                self._spares.want(other for other in self._managers if other != address and self._local[0])
                await told.state(message)
                return
            if not message.complete and (not (begun or self._stream) or message.applies_to != heard):
                raise Sequence
            if message.complete:
                self._stream = ""  # until it is taken in there is nothing to go on with
            begun, heard = True, message.results_in
            told.hear(message)
            await hearing.send(message)

        async def apply() -> None:
            async for message in applying:
                await told.apply(message)
                self._version = message.results_in
                self._stream = self.state.stream if self.state is not None else ""
                applied.set()

        ended: Exception | None = None
        async with peer.stream("agent.session", self._hello()) as messages:
            async with trio.open_nursery() as applied_to_the_end, hearing:
                applied_to_the_end.start_soon(apply)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_lost, partial(reporter.run, send))
                    nursery.start_soon(_until_lost, acknowledge)
                    try:
                        async for message in messages:
                            await take(message)
                    except (ClusterError, Sequence) as error:
                        ended = error
                    nursery.cancel_scope.cancel()
        return ended

    def _hello(self) -> OpenSession:
        return OpenSession(self._description, self._advertise, self._speak, self._process, self._stream, self._version)

    def _note_peer(self, peer: Peer | None) -> None:
        self._peer = peer
        self._changed.set()
        self._changed = trio.Event()


async def _until_lost(telling: Callable[[], Awaitable[None]]) -> None:
    try:
        await telling()
    except ClusterError:
        pass  # the connection is lost; the stream of messages ends with it, and what was not sent waits
