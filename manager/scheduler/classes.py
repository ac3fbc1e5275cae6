"""Classes of nodes: for each set of static requirements the nodes that meet it, in lazy heaps by number of tasks.

Owns the heaps; never places. One class serves all services that ask for the same, so that a task finds its node in
about O(log nodes) without looking at the others; a service with tasks on most nodes has an order of its own there. Only
a change of a node's own attributes changes who is in a class. An entry whose number is too low is refreshed when it
comes up; for a number that went down a new entry is pushed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Final

from cluster.model.ids import NodeId, ServiceId
from cluster.model.objects import Node
from manager.scheduler.filters import Static, suits
from manager.scheduler.usage import NodeUse

CLASSES: Final = 64
"""Classes kept; the one that was asked for least recently goes first."""

ORDERS: Final = 16
"""Orders kept of one class; the one that was asked for least recently goes first."""

ANY: Final = ServiceId("")

HEAP_SLACK: Final = 64
"""Stale entries that a heap may carry beyond three per node before it is rebuilt."""


class NodeOrder:
    """The nodes of one class by their tasks of one service (none: the empty id) and by all of their tasks, the fewest first."""

    __slots__ = ("_heap", "_nodes", "_service_id", "_uses", "lowered")

    def __init__(self, service_id: ServiceId, nodes: Mapping[NodeId, None], uses: Mapping[NodeId, NodeUse]) -> None:
        self.lowered: dict[NodeId, None] = {}  # nodes that may need an entry with a lower number
        self._service_id = service_id
        self._nodes = nodes
        self._uses = uses
        self._heap: list[tuple[int, int, NodeId]] = []
        self._rebuild()

    def _key(self, node_id: NodeId) -> tuple[int, int, NodeId]:
        use = self._uses[node_id]
        return use.by_service.get(self._service_id, 0), use.active, node_id

    def _rebuild(self) -> None:
        self.lowered.clear()
        self._heap = [self._key(node_id) for node_id in self._nodes]
        heapq.heapify(self._heap)

    def first(self) -> NodeId | None:
        """The first node; it stays the first until it gets a task or is taken out. None when there is none."""
        if len(self._heap) + len(self.lowered) > 4 * len(self._nodes) + HEAP_SLACK:
            self._rebuild()
        heap, nodes = self._heap, self._nodes
        for node_id in self.lowered:
            if node_id in nodes:
                heapq.heappush(heap, self._key(node_id))
        self.lowered.clear()
        while heap:
            entry = heap[0]
            node_id = entry[2]
            if node_id in nodes:
                now = self._key(node_id)
                if entry == now:
                    return node_id
                if entry < now:
                    heapq.heapreplace(heap, now)
                    continue
            heapq.heappop(heap)
        return None

    def take_out(self) -> None:
        """Take out the node that `first` gave, with every entry of its number; `give_back` puts it in again."""
        entry = heapq.heappop(self._heap)
        while self._heap and self._heap[0] == entry:
            heapq.heappop(self._heap)

    def give_back(self, node_ids: Iterable[NodeId]) -> None:
        self.lowered.update(dict.fromkeys(node_ids))

    def some(self, limit: int) -> tuple[NodeId, ...]:
        """About the first nodes: exact while there are few."""
        self.first()
        return tuple(dict.fromkeys(entry[2] for entry in self._heap[:limit] if entry[2] in self._nodes))


class NodeClass:
    """The nodes that meet one set of static requirements, in the orders that are in use."""

    __slots__ = ("_orders", "_uses", "nodes", "static")

    def __init__(self, static: Static, nodes: Iterable[Node], uses: Mapping[NodeId, NodeUse]) -> None:
        self.static = static
        self.nodes: dict[NodeId, None] = {n.id: None for n in nodes if suits(static, n)}
        self._uses = uses
        self._orders: dict[ServiceId, NodeOrder] = {}

    def judge(self, node_id: NodeId, node: Node | None) -> None:
        """The node appeared, changed or went."""
        if node is None or not suits(self.static, node):
            self.nodes.pop(node_id, None)
        elif node_id not in self.nodes:
            self.nodes[node_id] = None
            self.lowered(node_id)

    def lowered(self, node_id: NodeId) -> None:
        """The node has fewer tasks than before, or is new."""
        for order in self._orders.values():
            order.lowered[node_id] = None

    def order(self, service_id: ServiceId = ANY) -> NodeOrder:
        """The nodes in the order for this service; ANY: by all of their tasks. The first time, every node of the class is looked at."""
        found = self._orders.get(service_id)
        if found is None:
            while len(self._orders) >= ORDERS:
                del self._orders[next(key for key in self._orders if key != ANY)]
            found = self._orders[service_id] = NodeOrder(service_id, self.nodes, self._uses)
        elif service_id != ANY:
            self._orders[service_id] = self._orders.pop(service_id)
        return found

    def first(self, limit: int) -> tuple[NodeId, ...]:
        """About the `limit` nodes with the fewest tasks, for an explanation: exact while there are few nodes."""
        candidates = self.order().some(2 * limit)
        return tuple(sorted(candidates, key=lambda node_id: (self._uses[node_id].active, node_id))[:limit])


class ClassBook:
    """All classes that are in use. Owned by the index."""

    def __init__(self, nodes: Mapping[NodeId, Node], uses: Mapping[NodeId, NodeUse]) -> None:
        self._nodes = nodes
        self._uses = uses
        self._classes: dict[Static, NodeClass] = {}

    def of(self, static: Static) -> NodeClass:
        """The class of these requirements. The first time, every node is looked at."""
        found = self._classes.pop(static, None)
        if found is None:
            found = NodeClass(static, self._nodes.values(), self._uses)
            while len(self._classes) >= CLASSES:
                del self._classes[next(iter(self._classes))]
        self._classes[static] = found
        return found

    def judge(self, node_id: NodeId, node: Node | None) -> None:
        for nodes in self._classes.values():
            nodes.judge(node_id, node)

    def lowered(self, node_id: NodeId) -> None:
        """The node has fewer tasks than before."""
        for nodes in self._classes.values():
            if node_id in nodes.nodes:
                nodes.lowered(node_id)
