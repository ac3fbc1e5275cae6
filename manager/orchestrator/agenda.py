"""What the planner has to look at: marks on services, slots, nodes, networks and waiting tasks, and the times at which marks come by
themselves.

Owns the marks and the deadlines; never decides. A mark stays until a plan has looked there and found nothing to do,
so that a plan that the store refused, or that was never proposed, is made again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from cluster.model.ids import NetworkId, NodeId, ServiceId, TaskId

SlotKey = int | str
"""A replicated task's slot number, a global task's node id."""


class ServiceMarks:
    """What of one service is to be looked at."""

    __slots__ = ("again", "every", "itself", "slots")

    def __init__(self) -> None:
        self.slots: dict[SlotKey, None] = {}
        self.itself = False  # what it asks for: its endpoint, how many slots it has, its update
        self.every = False  # each of its slots, also those that it is to have
        self.again = False  # how many slots it has, and an update that is under way: the last plan changed something there

    def copy(self) -> ServiceMarks:
        other = ServiceMarks()
        other.slots, other.itself, other.every, other.again = dict(self.slots), self.itself, self.every, self.again
        return other


class Agenda:
    """Marks and deadlines. Owned by the index."""

    def __init__(self) -> None:
        self.services: dict[ServiceId, ServiceMarks] = {}
        self.networks: dict[NetworkId, None] = {}
        self.nodes: dict[NodeId, None] = {}
        self.retry_pending = False  # something was freed or came: tasks that found no place may find one now
        self.retry: dict[TaskId, None] = {}  # those that are still to be tried for that
        self._armed: dict[tuple[ServiceId, SlotKey | None], int] = {}
        self._heap: list[tuple[int, ServiceId, str, SlotKey | None]] = []

    def _marks(self, service_id: ServiceId) -> ServiceMarks:
        found = self.services.get(service_id)
        if found is None:
            found = self.services[service_id] = ServiceMarks()
        return found

    def touch(self, service_id: ServiceId, key: SlotKey) -> None:
        """Look at this slot."""
        marks = self.services.get(service_id) or self._marks(service_id)
        if not marks.every:
            marks.slots[key] = None

    def touch_service(self, service_id: ServiceId) -> None:
        """Look at what the service asks for."""
        self._marks(service_id).itself = True

    def touch_again(self, service_id: ServiceId) -> None:
        """Look at the service once more after what a plan intends there: it may be refused, and then be made again from nothing but this mark."""
        self._marks(service_id).again = True

    def touch_all(self, service_id: ServiceId) -> None:
        """Look at the whole service, slot by slot."""
        marks = self._marks(service_id)
        marks.itself = marks.every = True

    def arm(self, at_ns: int, service_id: ServiceId, key: SlotKey | None) -> None:
        """Mark this slot (None: the service itself) at that time, unless it is marked earlier anyway."""
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
                self.touch_service(service_id)
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

    def settle_service(self, service_id: ServiceId, keys: Iterable[SlotKey], *, itself: bool) -> None:
        """There is nothing to do in these slots any more, nor (`itself`) at the service."""
        marks = self.services.get(service_id)
        if marks is None:
            return
        for key in keys:
            marks.slots.pop(key, None)
        if itself:
            marks.itself = marks.again = False
        if not (marks.slots or marks.itself or marks.every or marks.again):
            del self.services[service_id]

    def settle(self, networks: Iterable[NetworkId], nodes: Iterable[NodeId], tasks: Iterable[TaskId]) -> None:
        """There is nothing to do at these any more."""
        for network_id in networks:
            self.networks.pop(network_id, None)
        for node_id in nodes:
            self.nodes.pop(node_id, None)
        for task_id in tasks:
            self.retry.pop(task_id, None)

    def copy(self) -> Agenda:
        """The same marks and deadlines, to plan with and to throw away."""
        other = Agenda()
        other.services = {service_id: marks.copy() for service_id, marks in self.services.items()}
        other.networks, other.nodes = dict(self.networks), dict(self.nodes)
        other.retry_pending, other.retry = self.retry_pending, dict(self.retry)
        other._armed, other._heap = dict(self._armed), list(self._heap)
        return other
