"""When a node counts as down. Pure: a table of nodes that have no session and until when that is forgiven.

A node whose session ends has GRACE_NS to come back, as long as one that falls silent: an agent that restarts is no failure, and takes
its time on a loaded machine. After the manager's own
start every node gets UNKNOWN_GRACE_NS, because nobody knows yet who is there. A connection that has gone silent is
ended by the wire's own keep-alive (cluster/wire/silence.py) after three intervals of KEEPALIVE_S, later for a node
that is slow at times; the node then has half as long again. So a dead one is known after 4.5 s. One that comes back
was only slow: for how long is told, so that it has more time from then on. Times are nanoseconds of any clock that
never goes back.
"""

from __future__ import annotations

from typing import Final

from cluster.model.ids import NodeId

GRACE_NS: Final = 4_500_000_000
UNKNOWN_GRACE_NS: Final = 6_000_000_000
KEEPALIVE_S: Final = 1.0


class Liveness:
    """Which nodes are missing. Owned by the dispatcher."""

    def __init__(self) -> None:
        self._missing: dict[NodeId, int] = {}
        self._silent_since: dict[NodeId, int] = {}

    def opened(self, node_id: NodeId, now_ns: int) -> int:
        """The node has a session. For how long it had been silent when that ended its last one; 0 when something else did."""
        self._missing.pop(node_id, None)
        return now_ns - self._silent_since.pop(node_id, now_ns)

    def closed(self, node_id: NodeId, now_ns: int, silent_ns: int = 0) -> None:
        """The node's session has ended; `silent_ns`: because so long nothing was heard."""
        self._missing[node_id] = now_ns + (silent_ns // 2 or GRACE_NS)
        if silent_ns:
            self._silent_since[node_id] = now_ns - silent_ns

    def unknown(self, node_id: NodeId, now_ns: int) -> None:
        """Nobody has heard of the node since the manager began."""
        self._missing.setdefault(node_id, now_ns + UNKNOWN_GRACE_NS)

    def forget(self, node_id: NodeId) -> None:
        """The node is no longer of the cluster, or known to be down."""
        self._missing.pop(node_id, None)
        self._silent_since.pop(node_id, None)

    def deadline_ns(self) -> int | None:
        """When the next node has to count as down; None when none is missing."""
        return min(self._missing.values(), default=None)

    def expire(self, now_ns: int) -> tuple[NodeId, ...]:
        """The nodes whose time is over; they are no longer kept here."""
        over = tuple(node_id for node_id, until in self._missing.items() if until <= now_ns)
        for node_id in over:
            del self._missing[node_id]
        return over
