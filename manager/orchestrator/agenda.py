"""What the planner has to look at: marks on services, slots, nodes and networks, and the times at which marks come by
themselves.

Owns the marks and the deadlines; never decides. A mark stays until a plan has looked there and found nothing to do,
so that a plan that the store refused, or that was never proposed, is made again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from cluster.model.ids import NetworkId, NodeId, ServiceId

SlotKey = int | str
"""A replicated task's slot number, a global task's node id."""


class Agenda:
    """Marks and deadlines. Owned by the index."""

    def __init__(self) -> None:
        self.services: dict[ServiceId, dict[SlotKey, None] | None] = {}  # None: the whole service
        self.networks: dict[NetworkId, None] = {}
        self.nodes: dict[NodeId, None] = {}
        self.retry_pending = False  # something was freed or came: tasks that found no place may find one now
        self._armed: dict[tuple[ServiceId, SlotKey | None], int] = {}
        self._heap: list[tuple[int, ServiceId, str, SlotKey | None]] = []

    def touch(self, service_id: ServiceId, key: SlotKey) -> None:
        """Look at this slot."""
        keys = self.services.setdefault(service_id, {})
        if keys is not None:
            keys[key] = None

    def touch_all(self, service_id: ServiceId) -> None:
        """Look at the whole service."""
        self.services[service_id] = None

    def arm(self, at_ns: int, service_id: ServiceId, key: SlotKey | None) -> None:
        """Mark this slot (None: the whole service) at that time, unless it is marked earlier anyway."""
        known = self._armed.get((service_id, key))
        if known is None or at_ns < known:
            self._armed[service_id, key] = at_ns
            heapq.heappush(self._heap, (at_ns, service_id, str(key), key))

    def wake(self, now_ns: int) -> None:
        """Turn the deadlines that have come into marks."""
        while self._heap and (self._heap[0][0] <= now_ns or self._is_stale(0)):
            at_ns, service_id, _, key = heapq.heappop(self._heap)
            if self._armed.get((service_id, key)) != at_ns:
                continue
            del self._armed[service_id, key]
            if key is None:
                self.touch_all(service_id)
            else:
                self.touch(service_id, key)

    def _is_stale(self, position: int) -> bool:
        at_ns, service_id, _, key = self._heap[position]
        return self._armed.get((service_id, key)) != at_ns

    def next_deadline_ns(self) -> int | None:
        """The earliest deadline; None when there is none."""
        while self._heap and self._is_stale(0):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def settle(
        self, services: Iterable[ServiceId], networks: Iterable[NetworkId], nodes: Iterable[NodeId]
    ) -> None:
        """There is nothing to do at these any more."""
        for service_id in services:
            self.services.pop(service_id, None)
        for network_id in networks:
            self.networks.pop(network_id, None)
        for node_id in nodes:
            self.nodes.pop(node_id, None)

    def copy(self) -> Agenda:
        """The same marks and deadlines, to plan with and to throw away."""
        other = Agenda()
        other.services = {key: None if keys is None else dict(keys) for key, keys in self.services.items()}
        other.networks, other.nodes = dict(self.networks), dict(self.nodes)
        other.retry_pending = self.retry_pending
        other._armed, other._heap = dict(self._armed), list(self._heap)
        return other
