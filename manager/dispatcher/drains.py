"""Tasks that are on their way out while nodes may still send them new connections.

A task turns draining in one commit: the tables give it weight 0, and its own agent is not told to stop it before every
node that balances to it has acknowledged a version of its tables that says so. Owns who is still to be heard; reads no
clock: the dispatcher's shell gives up on a node that stays silent (`give_up`). Where Docker sleeps for two seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from cluster.model.ids import NodeId, TaskId

FIRST: Final = 0  # a version: the complete set of a session that the node has yet to open


class Drains:
    """State: per held task the nodes that have not acknowledged, each with the version that it has to reach."""

    def __init__(self) -> None:
        self._waits: dict[TaskId, dict[NodeId, int]] = {}
        self._of_node: dict[NodeId, dict[TaskId, None]] = {}
        self._new: list[TaskId] = []

    def hold(self, task_id: TaskId, waits: Mapping[NodeId, int]) -> None:
        """Keep the task from being stopped until each of these nodes has acknowledged its version."""
        assert waits
        self._waits[task_id] = dict(waits)
        self._new.append(task_id)
        for node_id in waits:
            self._of_node.setdefault(node_id, {})[task_id] = None

    def holds(self, task_id: TaskId) -> bool:
        return task_id in self._waits

    def new(self) -> tuple[TaskId, ...]:
        """The tasks that have been held since the last time that this was asked."""
        found, self._new = tuple(self._new), []
        return found

    def opened(self, node_id: NodeId, version: int) -> None:
        """The node's session has begun; `version` is its complete set's last."""
        for task_id in self._of_node.get(node_id, ()):
            if self._waits[task_id][node_id] == FIRST:
                self._waits[task_id][node_id] = version

    def acknowledge(self, node_id: NodeId, version: int) -> tuple[TaskId, ...]:
        """The node balances by this version. Returns the tasks that nobody is waited for any more."""
        return self._heard(node_id, [t for t in self._of_node.get(node_id, ()) if FIRST < self._waits[t][node_id] <= version])

    def forget(self, node_id: NodeId) -> tuple[TaskId, ...]:
        """The node's session is over: it is not waited for. Returns as `acknowledge` does."""
        return self._heard(node_id, tuple(self._of_node.get(node_id, ())))

    def give_up(self, task_id: TaskId) -> bool:
        """Wait for nobody any more. False when the task was not held."""
        waits = self._waits.pop(task_id, None)
        for node_id in waits or ():
            self._strike(node_id, task_id)
        return waits is not None

    def _heard(self, node_id: NodeId, task_ids: Iterable[TaskId]) -> tuple[TaskId, ...]:
        done = []
        for task_id in task_ids:
            waits = self._waits[task_id]
            del waits[node_id]
            self._strike(node_id, task_id)
            if not waits:
                del self._waits[task_id]
                done.append(task_id)
        return tuple(done)

    def _strike(self, node_id: NodeId, task_id: TaskId) -> None:
        tasks = self._of_node[node_id]
        del tasks[task_id]
        if not tasks:
            del self._of_node[node_id]
