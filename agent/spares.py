"""Open connections of a manager's node to the managers that do not lead: when another one does, whoever waits for an answer need not wait for a
handshake as well.

Owns these connections; decides nothing. The session (agent/session.py) says which are wanted, takes one over when it moves, and gives it up when it has ended.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import trio

from cluster.model.errors import ClusterError
from cluster.wire.peer import Peer

DIAL_AFTER_S: Final = 1.0
"""How long it takes, at most, until a connection that is wanted is dialled, and dialled again: those who move at the same time, and
what they have to do first, come before it."""

Dial = Callable[[str], AbstractAsyncContextManager[Peer]]
"""An open connection to that manager, until the block is left. Raises ClusterError."""


class _Spare:
    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.over = trio.Event()


class Spares:
    """`run` must be running for anything to be open."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._wanted: frozenset[str] = frozenset()
        self._changed = trio.Event()
        self._keepers: dict[str, trio.CancelScope] = {}
        self._open: dict[str, _Spare] = {}

    def want(self, addresses: Iterable[str]) -> None:
        """Have connections to these managers, and to no others."""
        self._wanted = frozenset(addresses)
        self._changed.set()

    def renew(self) -> None:
        """Close what is open: the node shows another certificate from now on."""
        for address in tuple(self._keepers):
            self._keepers.pop(address).cancel()
        self._changed.set()

    @asynccontextmanager
    async def line(self, address: str) -> AsyncIterator[Peer]:
        """A connection to this manager that is the caller's until the block is left: one that is open already, or a new one. Raises as `Dial`."""
        spare = self._open.pop(address, None)
        if spare is None or spare.peer.closed.is_set():
            async with self._dial(address) as peer:
                yield peer
            return
        self._keepers.pop(address, None)  # which cancels it no more
        try:
            yield spare.peer
        finally:
            spare.over.set()

    async def run(self) -> None:
        """Keep what is wanted open, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = trio.Event()
                for address in [known for known in self._keepers if known not in self._wanted]:
                    self._keepers.pop(address).cancel()
                for address in sorted(self._wanted - self._keepers.keys()):
                    scope = self._keepers[address] = trio.CancelScope()
                    nursery.start_soon(self._keep, address, scope)
                await self._changed.wait()

    async def _keep(self, address: str, scope: trio.CancelScope) -> None:
        with scope:
            while self._keepers.get(address) is scope:
                await trio.sleep(DIAL_AFTER_S * random.uniform(0.5, 1.0))  # noqa: S311
                try:
                    async with self._dial(address) as peer:
                        spare = self._open[address] = _Spare(peer)
                        try:
                            await self._until_over(spare)
                        finally:
                            if self._open.get(address) is spare:
                                del self._open[address]
                except ClusterError:
                    pass  # nobody answers there: the next time

    async def _until_over(self, spare: _Spare) -> None:
        """Until it is given up, or ends by itself while nobody has it."""
        async with trio.open_nursery() as nursery:

            async def ended() -> None:
                await spare.peer.closed.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(ended)
            await spare.over.wait()
            nursery.cancel_scope.cancel()
