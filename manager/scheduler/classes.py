"""Classes of nodes: for each set of static requirements the nodes that meet it, in a lazy heap by number of tasks.

Owns the heaps; never places. One class serves all services that ask for the same, so that a task finds its node in
about O(log nodes) without looking at the others. Only a change of a node's own attributes changes who is in a
class. An entry whose number is too low is refreshed when it comes up; for a number that went down a new entry is
pushed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Final

from cluster.model.ids import NodeId
from cluster.model.objects import Node
from manager.scheduler.filters import Static, suits
from manager.scheduler.usage import NodeUse

CLASSES: Final = 64
"""Classes kept; the one that was asked for least recently goes first."""

HEAP_SLACK: Final = 64
"""Stale entries that a heap may carry beyond three per node before it is rebuilt."""


class NodeClass:
    """The nodes that meet one set of static requirements."""

    __slots__ = ("_heap", "_uses", "nodes", "static")

    def __init__(self, static: Static, nodes: Iterable[Node], uses: Mapping[NodeId, NodeUse]) -> None:
        self.static = static
        self.nodes: dict[NodeId, None] = {n.id: None for n in nodes if suits(static, n)}
        self._uses = uses
        self._heap: list[tuple[int, NodeId]] = []
        self._rebuild()

    def _rebuild(self) -> None:
        self._heap = [(self._uses[node_id].active, node_id) for node_id in self.nodes]
        heapq.heapify(self._heap)

    def judge(self, node_id: NodeId, node: Node | None) -> None:
        """The node appeared, changed or went."""
        if node is None or not suits(self.static, node):
            self.nodes.pop(node_id, None)
        elif node_id not in self.nodes:
            self.nodes[node_id] = None
            self.push(node_id)

    def push(self, node_id: NodeId) -> None:
        """Give the node an entry with its number of now."""
        if len(self._heap) > 4 * len(self.nodes) + HEAP_SLACK:
            self._rebuild()
        heapq.heappush(self._heap, (self._uses[node_id].active, node_id))

    def pop(self) -> NodeId | None:
        """Take the node with the fewest tasks out of the heap; None when it is empty.

        The caller pushes it again. A node may come up twice.
        """
        while self._heap:
            count, node_id = self._heap[0]
            if node_id not in self.nodes:
                heapq.heappop(self._heap)
                continue
            now = self._uses[node_id].active
            if count < now:
                heapq.heapreplace(self._heap, (now, node_id))
                continue
            heapq.heappop(self._heap)
            if count == now:
                return node_id
        return None

    def first(self, limit: int) -> tuple[NodeId, ...]:
        """About the `limit` nodes with the fewest tasks, for an explanation: exact while there are few nodes."""
        candidates = dict.fromkeys(node_id for _, node_id in self._heap[: 2 * limit] if node_id in self.nodes)
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
                nodes.push(node_id)
