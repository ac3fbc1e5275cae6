"""Many silent connections, looked at by one task."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from cluster.wire.keepalive import LOOKS_PER_INTERVAL, Keepalive

INTERVAL_S = 1.0
LATE_S = INTERVAL_S / LOOKS_PER_INTERVAL


class Connection:
    """Due again after `every_s`, for `turns` looks."""

    def __init__(self, first_s: float, every_s: float, turns: int) -> None:
        self.look_due_s = trio.current_time() + first_s
        self._every_s = every_s
        self._turns = turns
        self.late_s: list[float] = []

    def look(self, now_s: float) -> float:
        self.late_s.append(now_s - self.look_due_s)
        self.look_due_s += self._every_s
        return self.look_due_s if len(self.late_s) < self._turns else float("inf")


def watched(*made: tuple[float, float, int], later: tuple[float, float, int] | None = None) -> list[Connection]:
    async def main() -> list[Connection]:
        keepalive = Keepalive(INTERVAL_S)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keepalive.run)
            connections = [Connection(*each) for each in made]
            for each in connections:
                keepalive.add(each)
            if later is not None:
                await trio.sleep(2.0)
                connections.append(Connection(*later))
                keepalive.add(connections[-1])
            await trio.sleep(60.0)
            nursery.cancel_scope.cancel()
        return connections

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def test_each_is_looked_at_whenever_it_is_due_and_hardly_later() -> None:
    connections = watched(*((1.0 + number / 977, 1.0, 20) for number in range(500)))
    for connection in connections:
        assert len(connection.late_s) == 20
        assert min(connection.late_s) >= 0.0
        assert max(connection.late_s) <= LATE_S + 1e-6


def test_one_that_is_due_before_all_others_is_not_late() -> None:
    late = watched((30.0, 1.0, 1), later=(0.5, 1.0, 3))[-1].late_s
    assert len(late) == 3
    assert max(late) <= LATE_S + 1e-6


def test_the_first_of_all_is_looked_at_however_long_there_was_none() -> None:
    assert len(watched(later=(1.0, 1.0, 2))[-1].late_s) == 2
