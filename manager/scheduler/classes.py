"""Classes of nodes: for each set of static requirements the nodes that meet it, in lazy heaps by number of tasks.

Owns the heaps; never places. One class serves all services that ask for the same, so that a task finds its node in
about O(log nodes) without looking at the others; a service with tasks on most nodes has an order of its own there. Only
a change of a node's own attributes changes who is in a class. An entry whose number is too low is refreshed when it
comes up; for a number that went down a new entry is pushed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from cluster.model.ids import NodeId, ServiceId
from cluster.model.objects import Node
from manager.scheduler.filters import Ask, Load, Static, suits
from manager.scheduler.usage import NodeUse

CLASSES: Final = 64
"""Classes kept; the one that was asked for least recently goes first."""

ORDERS: Final = 16
"""Orders by one service's tasks that are kept of one class; the one that was asked for least recently goes first."""

ANY: Final = ServiceId("")

HEAP_SLACK: Final = 64
"""Stale entries that a heap may carry beyond three per node before it is rebuilt."""


class OrderBy(msgspec.Struct, frozen=True):
    """What a class of nodes is ordered by. `service_id` ANY: not by tasks of one service."""

    service_id: ServiceId
    load: Load
    pack: bool = False


Key = tuple[int, int, int, NodeId]
"""(tasks of the service, load, tasks in total, node id), the lowest first; see scheduler/ranking.py."""


def key(nodes: Mapping[NodeId, Node], uses: Mapping[NodeId, NodeUse], node_id: NodeId, service_id: ServiceId, load: Load, *, pack: bool) -> Key:
    """A node's place in an order."""
    use = uses[node_id]
    reserved = load.of(nodes[node_id], use) if load.cpus or load.memory else 0
    return (0, -reserved, -use.active, node_id) if pack else (use.by_service.get(service_id, 0), reserved, use.active, node_id)


class NodeOrder:
    """The nodes of one class in one order."""

    __slots__ = ("_all", "_heap", "_nodes", "_plain", "_uses", "by", "moved")

    def __init__(self, by: OrderBy, nodes: Mapping[NodeId, None], all_nodes: Mapping[NodeId, Node], uses: Mapping[NodeId, NodeUse]) -> None:
        self.by = by
        self.moved: dict[NodeId, None] = {}  # nodes that may have come to stand further ahead
        self._nodes = nodes
        self._all = all_nodes
        self._uses = uses
        self._heap: list[Key] = []
        self._plain = not (by.pack or by.load.cpus or by.load.memory)  # then a key is quickly made, and most are such
        self._rebuild()

    def _key(self, node_id: NodeId) -> Key:
        return key(self._all, self._uses, node_id, self.by.service_id, self.by.load, pack=self.by.pack)

    def _rebuild(self) -> None:
        self.moved.clear()
        self._heap[:] = [self._key(node_id) for node_id in self._nodes]
        heapq.heapify(self._heap)

    def first(self) -> Key | None:
        """The first node's place; it stays the first until it gets a task or is taken out. None when there is none."""
        return next(iter(self), None)

    def __iter__(self) -> Iterator[Key]:
        """The same again and again: each time the first node as it then is. This costs less than to ask for each."""
        heap, nodes, uses, plain, service_id = self._heap, self._nodes, self._uses, self._plain, self.by.service_id
        while heap or self.moved:
            if self.moved:
                self._take_in_moved()
                continue
            entry = heap[0]
            node_id = entry[3]
            if node_id in nodes:
                use = uses[node_id]  # most orders are plain, and each step is taken for every task
                now = (use.by_service.get(service_id, 0), 0, use.active, node_id) if plain else self._key(node_id)
                if entry == now:
                    yield entry
                    continue
                if entry < now:
                    heapq.heapreplace(heap, now)
                    continue
            heapq.heappop(heap)

    def _take_in_moved(self) -> None:
        if len(self._heap) + len(self.moved) > 4 * len(self._nodes) + HEAP_SLACK:
            self._rebuild()
        for node_id in self.moved:
            if node_id in self._nodes:
                heapq.heappush(self._heap, self._key(node_id))
        self.moved.clear()

    def take_out(self) -> None:
        """Take out the node that `first` gave, with every entry of its number; `give_back` puts it in again."""
        entry = heapq.heappop(self._heap)
        while self._heap and self._heap[0] == entry:
            heapq.heappop(self._heap)

    def give_back(self, node_ids: Iterable[NodeId]) -> None:
        self.moved.update(dict.fromkeys(node_ids))

    def some(self, limit: int) -> tuple[NodeId, ...]:
        """About the first nodes: exact while there are few."""
        self.first()
        return tuple(dict.fromkeys(entry[3] for entry in self._heap[:limit] if entry[3] in self._nodes))


class NodeClass:
    """The nodes that meet one set of static requirements, in the orders that are in use."""

    __slots__ = ("_all", "_orders", "_uses", "nodes", "static")

    def __init__(self, static: Static, all_nodes: Mapping[NodeId, Node], uses: Mapping[NodeId, NodeUse]) -> None:
        self.static = static
        self.nodes: dict[NodeId, None] = {n.id: None for n in all_nodes.values() if suits(static, n)}
        self._all = all_nodes
        self._uses = uses
        self._orders: dict[OrderBy, NodeOrder] = {}

    def judge(self, node_id: NodeId, node: Node | None) -> None:
        """The node appeared, changed or went."""
        if node is None or not suits(self.static, node):
            self.nodes.pop(node_id, None)
            return
        self.nodes[node_id] = None
        for order in self._orders.values():
            order.moved[node_id] = None

    def moved(self, node_id: NodeId, *, fuller: bool) -> None:
        """The node has more tasks than before, or fewer."""
        for order in self._orders.values():
            if order.by.pack is fuller:
                order.moved[node_id] = None

    def has(self, by: OrderBy) -> bool:
        """Whether the nodes are in this order already."""
        return by in self._orders

    def order(self, by: OrderBy) -> NodeOrder:
        """The nodes in this order. The first time, every node of the class is looked at."""
        found = self._orders.get(by)
        if found is None:
            own = [known for known in self._orders if known.service_id != ANY]
            if by.service_id != ANY and len(own) >= ORDERS:
                del self._orders[own[0]]
            found = self._orders[by] = NodeOrder(by, self.nodes, self._all, self._uses)
        elif by.service_id != ANY:
            self._orders[by] = self._orders.pop(by)
        return found


class ClassBook:
    """All classes that are in use. Owned by the index."""

    def __init__(self, nodes: Mapping[NodeId, Node], uses: Mapping[NodeId, NodeUse]) -> None:
        self._nodes = nodes
        self._uses = uses
        self._classes: dict[Static, NodeClass] = {}
        self._last: tuple[object, tuple[NodeClass, NodeOrder]] | None = None  # what `shared` was asked for last

    def shared(self, ask: Ask) -> tuple[NodeClass, NodeOrder]:
        """The class for these tasks, and its nodes in the order that all services share. Service after service asks for the same."""
        wanted = (ask.constraints, ask.platforms, ask.reserve.nano_cpus > 0, ask.reserve.memory_bytes > 0, ask.pack)
        if self._last is None or self._last[0] != wanted:
            nodes = self.of(ask.static)
            self._last = wanted, (nodes, nodes.order(OrderBy(ANY, ask.load, ask.pack)))
        return self._last[1]

    def of(self, static: Static) -> NodeClass:
        """The class of these requirements. The first time, every node is looked at."""
        self._last = None
        found = self._classes.pop(static, None)
        if found is None:
            found = NodeClass(static, self._nodes, self._uses)
            while len(self._classes) >= CLASSES:
                del self._classes[next(iter(self._classes))]
        self._classes[static] = found
        return found

    def judge(self, node_id: NodeId, node: Node | None) -> None:
        for nodes in self._classes.values():
            nodes.judge(node_id, node)

    def moved(self, node_id: NodeId, *, fuller: bool) -> None:
        """The node has more tasks than before, or fewer."""
        for nodes in self._classes.values():
            if node_id in nodes.nodes:
                nodes.moved(node_id, fuller=fuller)
