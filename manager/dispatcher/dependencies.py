"""Which secrets and configs each node may know: those that its tasks use and have not ended. Kept by change, changed only
by the board (assignments.py), which tells the sessions.

A key is that of the item on the wire: `secret/ID`, `config/ID`. Source: SwarmKit manager/dispatcher/assignments.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from cluster.model.assignments import ConfigItem, SecretItem
from cluster.model.ids import NodeId
from cluster.model.objects import Config, Secret, Task
from cluster.model.task_state import ASSIGNED, RUNNING

DependencyItem = SecretItem | ConfigItem


class Dependencies:
    """State: what there is, and how many tasks of each node use it."""

    def __init__(self) -> None:
        self._items: dict[str, DependencyItem] = {}
        self._users: dict[NodeId, Counter[str]] = {}

    def note(self, before: Secret | Config | None, after: Secret | Config | None) -> Iterator[tuple[NodeId, str]]:
        """It is so now. Yields who has to hear of it: nobody of other labels."""
        known = after or before
        assert known is not None
        item = SecretItem(known) if isinstance(known, Secret) else ConfigItem(known)
        if after is None:
            self._items.pop(item.key, None)
        else:
            self._items[item.key] = item
        if before is None or after is None:
            yield from ((node_id, item.key) for node_id, users in self._users.items() if item.key in users)

    def exchange(self, before: Task | None, after: Task | None) -> Iterator[tuple[NodeId, str]]:
        """A task before and after. Yields what a node needs from now on, or no longer."""
        for task, step in ((after, 1), (before, -1)):  # in this order, so that what both use is not taken away in between
            if task is None or not _uses(task):
                continue
            users = self._users.get(task.node_id)
            if users is None:
                users = self._users[task.node_id] = Counter()
            for key in _keys(task):
                users[key] += step
                if users[key] == (1 if step > 0 else 0):
                    yield task.node_id, key
                if not users[key]:
                    del users[key]
            if not users:
                del self._users[task.node_id]

    def item(self, node_id: NodeId, key: str) -> DependencyItem | None:
        """None when the node needs it no longer, or when it is gone."""
        return self._items.get(key) if key in self._users.get(node_id, ()) else None

    def needed(self, node_id: NodeId) -> tuple[DependencyItem, ...]:
        return tuple(item for key in self._users.get(node_id, ()) if (item := self._items.get(key)) is not None)


def _uses(task: Task) -> bool:
    container = task.spec.container
    return bool(container.secrets or container.configs) and bool(task.node_id) and ASSIGNED <= task.status.state <= RUNNING


def _keys(task: Task) -> dict[str, None]:
    container = task.spec.container
    return dict.fromkeys((*(f"secret/{file.id}" for file in container.secrets), *(f"config/{file.id}" for file in container.configs)))
