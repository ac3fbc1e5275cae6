"""Spread preferences: `node.labels.zone` and its kin make a tree of nodes whose branches are filled evenly.

Owns the tree of one placement; never judges a node. At each level the branch with the fewest tasks of the service is
taken first; a node that lacks the label belongs to the branch "". Source: SwarmKit's `manager/scheduler/nodeset.go`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping

from cluster.model.ids import NodeId
from cluster.model.objects import Node
from manager.orchestrator.constraints import value_of

Key = tuple[int, int, int, int]
"""A suitable node's place among those of its branch, the lowest first: its rank without the node id (scheduler/ranking.py)."""


class Branch:
    """A part of the nodes: either further branches, or a heap of suitable nodes."""

    def __init__(self) -> None:
        self.tasks = 0  # of the service, on all nodes of the branch
        self.branches: dict[str, Branch] = {}
        self.nodes: list[tuple[Key, NodeId]] = []

    def choose(self) -> tuple[Key, NodeId] | None:
        """The best suitable node of the least filled branch that has one."""
        for _, branch in sorted(self.branches.items(), key=lambda item: (item[1].tasks, item[0])):
            found = branch.choose()
            if found is not None:
                return found
        return self.nodes[0] if self.nodes else None


def _path(descriptors: Iterable[str], node: Node) -> tuple[str, ...]:
    return tuple(value_of(node, descriptor) or "" for descriptor in descriptors)


class Tree:
    """The nodes by the values of the spread descriptors, with the number of the service's tasks on each branch."""

    def __init__(self, descriptors: tuple[str, ...], nodes: Iterable[Node], counts: Mapping[NodeId, int], suitable: Mapping[NodeId, Key]) -> None:
        """`counts`: the service's tasks by node; `suitable`: the nodes that may get one more, with their place."""
        self.root = Branch()
        self._paths = {node.id: _path(descriptors, node) for node in nodes}
        for node_id in self._paths:
            for branch in self._way(node_id):
                branch.tasks += counts.get(node_id, 0)
            if node_id in suitable:
                heapq.heappush(branch.nodes, (suitable[node_id], node_id))

    def _way(self, node_id: NodeId) -> Iterator[Branch]:
        branch = self.root
        yield branch
        for value in self._paths[node_id]:
            branch = branch.branches.setdefault(value, Branch())
            yield branch

    def placed(self, node_id: NodeId, after: Key | None) -> None:
        """The service has one more task on the node that `choose` gave, which stands there from now on (None: it takes no more)."""
        for branch in self._way(node_id):
            branch.tasks += 1
        if after is None:
            heapq.heappop(branch.nodes)
        else:
            heapq.heapreplace(branch.nodes, (after, node_id))
