"""Connections that are kept for the manager who leads next: taken over, given up, dialled again. Peers are stood in for by what the room uses of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import trio
import trio.testing

from agent.spares import DIAL_AFTER_S, Spares
from cluster.model.errors import Unavailable
from cluster.wire.peer import Peer


class Line:
    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = trio.Event()
        self.left = False


class Dialled:
    """Everything that was dialled, by address; `refuse`: who does not answer."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.refuse: set[str] = set()

    @asynccontextmanager
    async def dial(self, address: str) -> AsyncIterator[Peer]:
        if address in self.refuse:
            raise Unavailable("nobody there")
        line = Line(address)
        self.lines.append(line)
        try:
            yield cast(Any, line)
        finally:
            line.left = True

    def open(self) -> list[str]:
        return [line.address for line in self.lines if not line.left]


async def _lives(dialled: Dialled) -> None:
    spares = Spares(dialled.dial)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spares.run)
        spares.want(["b", "c"])
        await trio.sleep(2 * DIAL_AFTER_S)
        assert sorted(dialled.open()) == ["b", "c"]
        async with spares.line("b") as peer:
            assert peer is cast(Any, next(line for line in dialled.lines if line.address == "b")), "the open one is taken over"
            spares.want(["a", "c"])
            await trio.sleep(2 * DIAL_AFTER_S)
            assert sorted(dialled.open()) == ["a", "b", "c"], "what is taken over stays, though it is wanted no longer"
        await trio.sleep(0)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(dialled.open()) == ["a", "c"], "and is closed when it is given up"
        async with spares.line("d") as fresh:
            assert cast(Any, fresh).address == "d", "who has none is dialled"
        next(line for line in dialled.lines if line.address == "a").closed.set()
        dialled.refuse.add("a")
        await trio.sleep(2 * DIAL_AFTER_S)
        assert dialled.open() == ["c"]
        dialled.refuse.clear()
        await trio.sleep(2 * DIAL_AFTER_S)
        assert sorted(dialled.open()) == ["a", "c"], "who answers again is dialled again"
        before = len(dialled.lines)
        spares.renew()
        await trio.sleep(2 * DIAL_AFTER_S)
        assert sorted(dialled.open()) == ["a", "c"]
        assert len(dialled.lines) == before + 2, "both anew"
        nursery.cancel_scope.cancel()
    assert dialled.open() == []


def test_connections_are_kept_taken_over_and_made_anew() -> None:
    trio.run(_lives, Dialled(), clock=trio.testing.MockClock(autojump_threshold=0))
