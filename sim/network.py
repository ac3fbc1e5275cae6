"""What carries messages between processes: datagrams that may be lost, doubled, late and out of order, and connections
that keep order or break.

Owns who cannot reach whom, and how bad the weather is. Between managers everything is a datagram, because Raft claims
to need no more; agents and managers use connections, as the product does. A connection over a cut path is silent; when
it has been for SILENCE_NS, both ends see it closed (the wire's own keep-alive).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sim.process import Process
from sim.world import MS, SECOND, World

SILENCE_NS: Final = 3 * SECOND


@dataclass
class Weather:
    """How datagrams fare now; `late_ns` is added at most, to some."""

    loss_permille: int = 0
    double_permille: int = 0
    late_permille: int = 0
    late_ns: int = 0
    least_ns: int = MS // 5
    spread_ns: int = MS // 2


class Connection:
    """One connection. Messages to each end come in order."""

    __slots__ = ("_held", "_last", "closed", "ends", "handlers", "network")

    def __init__(self, network: Network, ends: tuple[Process, Process], handlers: tuple[Handler, Handler]) -> None:
        self.network = network
        self.ends = ends
        self.handlers = handlers
        self.closed = [False, False]
        self._last = [0, 0]
        self._held: list[tuple[int, object]] = []

    def send(self, side: int, message: object) -> None:
        """From the end `side` to the other."""
        if self.closed[side] or self.closed[1 - side]:
            return
        if self.network.is_cut(self.ends[side].name, self.ends[1 - side].name):
            self._held.append((1 - side, message))
            return
        self._deliver(1 - side, message)

    def close(self, side: int) -> None:
        """This end goes; the other sees it, unless the path is cut: then it finds out by silence."""
        if self.closed[side]:
            return
        self.closed[side] = True
        other = 1 - side
        if not self.closed[other] and not self.network.is_cut(self.ends[side].name, self.ends[other].name):
            self.ends[other].later(self._when(other), self.see_closed, other)
        if self.closed[other]:
            self.network.forget(self)

    def see_closed(self, side: int) -> None:
        """This end notices that the connection is over."""
        if self.closed[side]:
            return
        self.close(side)
        self.handlers[side](self, None)

    def flush(self) -> None:
        """The path is whole again."""
        held, self._held = self._held, []
        for side, message in held:
            self.send(1 - side, message)
        for side in (0, 1):
            if self.closed[side] and not self.closed[1 - side]:
                self.ends[1 - side].later(self._when(1 - side), self.see_closed, 1 - side)

    def _when(self, side: int) -> int:
        now_ns, last = self.network.world.now_ns, self._last
        at = now_ns + self.network.delay()
        at = max(at, last[side])
        last[side] = at
        return at - now_ns

    def _deliver(self, side: int, message: object) -> None:
        self.ends[side].later(self._when(side), self._arrive, side, message)

    def _arrive(self, side: int, message: object) -> None:
        if not self.closed[side]:
            self.handlers[side](self, message)


Handler = Callable[[Connection, Any], None]
"""Takes what comes over a connection; None: it is closed."""


class Network:
    """All paths between processes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.weather = Weather()
        self._draws = world.draws.fork("network")
        self._cuts: dict[tuple[str, str], int] = {}  # (from, to): how many partitions cut it
        self._connections: dict[str, dict[Connection, None]] = {}
        self._latest: dict[tuple[str, str], int] = {}  # when the last one arrives, in bad weather
        self.sent = self.lost = 0

    def is_cut(self, sender: str, to: str) -> bool:
        return bool(self._cuts) and self._cuts.get((sender, to), 0) > 0

    @property
    def is_calm(self) -> bool:
        """Whether every message arrives, and soon."""
        weather = self.weather
        return not (self._cuts or weather.loss_permille or weather.double_permille or weather.late_permille)

    def delay(self) -> int:
        return self.weather.least_ns + self._draws.bits() % self.weather.spread_ns

    def datagram(self, sender: str, to: Process, action: Callable[..., None], *arguments: object) -> None:
        """Have `action` happen at `to`, if all goes well."""
        self.sent += 1
        weather = self.weather
        if self.is_cut(sender, to.name) or (weather.loss_permille and self._draws.chance(weather.loss_permille)):
            self.lost += 1
            self.world.occurred["message lost" if weather.loss_permille else "message cut off"] += 1
            return
        if weather.late_permille or weather.double_permille:
            self._in_bad_weather(sender, to, action, arguments)
            return
        to.later(self.delay(), action, *arguments)

    def _in_bad_weather(self, sender: str, to: Process, action: Callable[..., None], arguments: tuple[object, ...]) -> None:
        """Twice, late, or behind others that were sent after it."""
        weather, occurred = self.weather, self.world.occurred
        copies = 2 if weather.double_permille and self._draws.chance(weather.double_permille) else 1
        occurred["message doubled"] += copies - 1
        for _ in range(copies):
            delay_ns = self.delay()
            if weather.late_permille and self._draws.chance(weather.late_permille):
                delay_ns += self._draws.below(weather.late_ns + 1)
                occurred["message late"] += 1
            at_ns = self.world.now_ns + delay_ns
            occurred["message reordered"] += at_ns < self._latest.get((sender, to.name), 0)
            self._latest[sender, to.name] = at_ns
            to.later(delay_ns, action, *arguments)

    # -- connections

    def connect(self, dialer: Process, to: Process, handlers: tuple[Handler, Handler]) -> Connection | None:
        """None when nobody answers there."""
        if not to.alive or self.is_cut(dialer.name, to.name) or self.is_cut(to.name, dialer.name):
            return None
        connection = Connection(self, (dialer, to), handlers)
        for end in connection.ends:
            self._connections.setdefault(end.name, {})[connection] = None
        return connection

    def forget(self, connection: Connection) -> None:
        for end in connection.ends:
            self._connections.get(end.name, {}).pop(connection, None)

    def hang_up(self, process: Process) -> None:
        """The process has ended: its kernel says so on every connection."""
        for connection in tuple(self._connections.get(process.name, ())):
            connection.close(connection.ends.index(process))

    # -- partitions

    def cut(self, pairs: tuple[tuple[str, str], ...]) -> None:
        """Nothing passes from the first to the second of each pair, until `mend` of the same."""
        self.world.occurred["partition" if {(to, one) for one, to in pairs} == set(pairs) else "partition one way"] += 1
        for pair in pairs:
            self._cuts[pair] = self._cuts.get(pair, 0) + 1
        for connection in self._crossing(pairs):
            self.world.later(SILENCE_NS, self._silence, connection)

    def mend(self, pairs: tuple[tuple[str, str], ...]) -> None:
        for pair in pairs:
            self._cuts[pair] -= 1
            if not self._cuts[pair]:
                del self._cuts[pair]
        for connection in self._crossing(pairs):
            if not self._is_crossed(connection):
                connection.flush()

    def watch_silence(self, process: Process) -> None:
        """The process is paused: who talks to it hears nothing."""
        for connection in tuple(self._connections.get(process.name, ())):
            self.world.later(SILENCE_NS, self._silence, connection)

    def _crossing(self, pairs: tuple[tuple[str, str], ...]) -> list[Connection]:
        found: dict[Connection, None] = {}
        for one, other in pairs:
            for connection in self._connections.get(one, ()):
                if any(end.name == other for end in connection.ends):
                    found[connection] = None
        return list(found)

    def _is_crossed(self, connection: Connection) -> bool:
        one, other = (end.name for end in connection.ends)
        return self.is_cut(one, other) or self.is_cut(other, one)

    def _silence(self, connection: Connection) -> None:
        """Whoever still hears nothing gives up. (A path that was whole in between is forgiven.)"""
        quiet = self._is_crossed(connection)
        for side, end in enumerate(connection.ends):
            if (quiet or connection.ends[1 - side].paused) and not connection.closed[side]:
                end.later(0, connection.see_closed, side)
