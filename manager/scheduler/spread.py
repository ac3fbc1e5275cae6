"""Spread preferences: `node.labels.zone` and its kin make a tree of nodes whose branches are filled evenly.

Owns the tree of one placement; never judges a node. At each level the branch with the fewest tasks of the service is
taken first; a node that lacks the label belongs to the branch "". Source: SwarmKit's `manager/scheduler/nodeset.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cluster.model.ids import NodeId
from cluster.model.objects import Node
from manager.orchestrator.constraints import value_of


class Branch:
    """A part of the nodes: either further branches, or nodes."""

    def __init__(self) -> None:
        self.tasks = 0  # of the service, on all nodes of the branch
        self.branches: dict[str, Branch] = {}
        self.nodes: list[NodeId] = []

    def choose(self, suitable: Mapping[NodeId, tuple[int, ...]]) -> NodeId | None:
        """The best suitable node of the least filled branch that has one. `suitable`: node -> key, lowest first."""
        for _, branch in sorted(self.branches.items(), key=lambda item: (item[1].tasks, item[0])):
            found = branch.choose(suitable)
            if found is not None:
                return found
        return min((n for n in self.nodes if n in suitable), key=lambda n: (suitable[n], n), default=None)


def _path(descriptors: Iterable[str], node: Node) -> tuple[str, ...]:
    return tuple(value_of(node, descriptor) or "" for descriptor in descriptors)


class Tree:
    """The nodes by the values of the spread descriptors, with the number of the service's tasks on each branch."""

    def __init__(self, descriptors: tuple[str, ...], nodes: Iterable[Node], counts: Mapping[NodeId, int]) -> None:
        self.root = Branch()
        self._paths = {node.id: _path(descriptors, node) for node in nodes}
        for node_id, path in self._paths.items():
            self._branch(path).nodes.append(node_id)
            self.add(node_id, counts.get(node_id, 0))

    def _branch(self, path: tuple[str, ...]) -> Branch:
        branch = self.root
        for value in path:
            branch = branch.branches.setdefault(value, Branch())
        return branch

    def add(self, node_id: NodeId, tasks: int) -> None:
        """The service has this many more tasks on the node."""
        branch = self.root
        branch.tasks += tasks
        for value in self._paths[node_id]:
            branch = branch.branches[value]
            branch.tasks += tasks
