"""The node's session with the managers: connects, opens the stream of assignments, acknowledges what is applied, reports statuses,
comes back after a loss.

Owns the one connection that everything of this node goes through (assignments, statuses, and on managers the engine's control calls).
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import trio

from agent.reporter import Reporter
from cluster.identity.contexts import Contexts
from cluster.model.assignments import Assignments, SessionState
from cluster.model.errors import ClusterError, PermissionDenied, Unavailable
from cluster.model.objects import NodeDescription
from cluster.wire.calls import Applied, Nothing, OpenSession, UpdateStatuses
from cluster.wire.peer import Handler, Peer, connect

log = logging.getLogger("festoon.session")
RETRY_FIRST_S: Final = 0.05
RETRY_LAST_S: Final = 0.5
DIAL_TIMEOUT_S: Final = 1.0  # the kernel's own second try comes later: after a partition it would be waited for
KEEPALIVE_S: Final = 1.0
CALL_WAIT_S: Final = 5.0  # how long a control call waits for a session before it says that no manager answers

NO_MANAGER: Final = (
    "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online."
)


class Sequence(Exception):
    """A delta does not apply to what we have: the session starts anew."""


class Session:
    """State: the open connection, and which managers are known."""

    def __init__(self, contexts: Contexts, managers: tuple[str, ...], description: NodeDescription, advertise: str,
                 local: tuple[str, str] = ("", "")) -> None:  # fmt: skip
        """`managers`: host:port. `local`: on a manager the host that it advertises, and host:port where it is reached from here."""
        self._contexts = contexts
        self._managers, self._description, self._advertise, self._local = managers, description, advertise, local
        self._peer: Peer | None = None
        self._open = trio.Event()
        self.state: SessionState | None = None
        self.problem = ""

    @property
    def managers(self) -> tuple[str, ...]:
        return self._managers

    async def wait_open(self) -> None:
        """Until a manager has answered the hello. With no timeout of its own."""
        await self._open.wait()

    async def run(self, on_state: Callable[[SessionState], Awaitable[None]], on_assignments: Callable[[Assignments], Awaitable[None]],
                  reporter: Reporter, handlers: Mapping[str, Handler], on_loss: Callable[[], None]) -> None:  # fmt: skip
        """Keep a session for ever, with whichever manager answers; `on_loss` is called whenever it was lost or could not be had."""
        delay = RETRY_FIRST_S
        turn = 0
        while True:
            address = self._managers[turn % len(self._managers)]
            turn += 1
            try:
                async with connect(self.reached_at(address), self._contexts.client, handlers, keepalive_s=KEEPALIVE_S, dial_timeout_s=DIAL_TIMEOUT_S) as peer:
                    ended = await self._serve(peer, on_state, on_assignments, reporter)
                if ended is not None:
                    raise ended
            except PermissionDenied as refused:
                self.problem = refused.message
                log.warning("refused by the manager", extra={"fields": {"manager": address, "error": refused.message}})
            except ClusterError as lost:
                self.problem = lost.message
                log.info("session lost", extra={"fields": {"manager": address, "error": lost.message}})
            except Sequence:
                log.warning("assignments out of sequence: starting over", extra={"fields": {"manager": address}})
            finally:
                self._close()
            on_loss()
            if self.state is not None:
                delay, self.state = RETRY_FIRST_S, None
            await trio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  jitter, so that a crowd does not come back at once
            delay = min(delay * 2, RETRY_LAST_S)

    def reached_at(self, manager: str) -> str:
        """Where to dial a manager: the one of this node locally."""
        own, local = self._local
        return local if own and manager.rpartition(":")[0] == own else manager

    async def call(self, name: str, request: object) -> Any:
        """One call over the session. Raises Unavailable when no manager answers within CALL_WAIT_S."""
        peer = await self._wait_peer()
        try:
            return await peer.call(name, request)
        except Unavailable as error:
            if peer.closed.is_set():
                raise Unavailable(NO_MANAGER) from error  # it fell silent in the middle
            raise

    @asynccontextmanager
    async def stream(self, name: str, request: object) -> AsyncIterator[AsyncIterator[Any]]:
        peer = await self._wait_peer()
        async with peer.stream(name, request) as items:
            yield items

    async def leave(self) -> None:
        """Tell the manager, if one listens, that this node goes away for good."""
        if self._peer is not None:
            with trio.move_on_after(CALL_WAIT_S):
                try:
                    await self._peer.call("agent.leave", Nothing())
                except ClusterError as error:
                    log.info("left without a manager's notice", extra={"fields": {"error": error.message}})

    async def _wait_peer(self) -> Peer:
        with trio.move_on_after(CALL_WAIT_S):
            while self._peer is None:
                await self._open.wait()
        if self._peer is None:
            raise Unavailable(NO_MANAGER)
        return self._peer

    async def _serve(self, peer: Peer, on_state: Callable[[SessionState], Awaitable[None]],
                     on_assignments: Callable[[Assignments], Awaitable[None]], reporter: Reporter) -> Exception | None:  # fmt: skip
        """Until the stream ends; returns what ended it (raised here, it would leave the nurseries around it in a group)."""
        version: int | None = None
        applied = trio.Event()

        async def acknowledge() -> None:
            """Tell the manager the newest version that is applied, as often as it gets the answer."""
            nonlocal applied
            while True:
                await applied.wait()
                applied = trio.Event()
                if version is not None:
                    await peer.call("agent.applied", Applied(version))

        async def send(batch: UpdateStatuses) -> None:
            await peer.call("agent.statuses", batch)

        async def take(message: SessionState | Assignments) -> None:
            nonlocal version
            if isinstance(message, SessionState):
                self.state, self._managers, self.problem = message, message.managers or self._managers, ""
                self._peer = peer
                await on_state(message)
                self._open.set()
                return
            if not message.complete and message.applies_to != version:
                raise Sequence
            await on_assignments(message)
            version = message.results_in
            applied.set()

        ended: Exception | None = None
        async with peer.stream("agent.session", OpenSession(self._description, self._advertise)) as messages:
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

    def _close(self) -> None:
        self._peer = None
        if self._open.is_set():
            self._open = trio.Event()


async def _until_lost(telling: Callable[[], Awaitable[None]]) -> None:
    try:
        await telling()
    except ClusterError:
        pass  # the connection is lost; the stream of messages ends with it, and what was not sent waits
