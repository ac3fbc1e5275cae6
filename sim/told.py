"""What an agent of the simulated world was told, folded. Tasks and secrets at once, because it looks at them with each message; all the rest, which is
most of it and hardly ever looked at, when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.model.assignments import Assignments, Item, SecretItem, TaskItem


class Told:
    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._unfolded: list[Assignments] = []
        self.tasks: dict[str, TaskItem] = {}
        self.secrets: dict[str, SecretItem] = {}

    def clear(self) -> None:
        for kept in (self._items, self._unfolded, self.tasks, self.secrets):
            kept.clear()

    def take(self, message: Assignments) -> bool:
        """Whether tasks or secrets are among what came or went."""
        if message.complete:
            self.clear()
        self._unfolded.append(message)
        gone = sum([self.tasks.pop(key, None) is not None or self.secrets.pop(key, None) is not None for key in message.removals])
        kinds = set(map(type, message.upserts))
        if TaskItem in kinds:
            self.tasks.update((item.key, item) for item in message.upserts if type(item) is TaskItem)
        if SecretItem in kinds:
            self.secrets.update((item.key, item) for item in message.upserts if type(item) is SecretItem)
        return bool(gone) or TaskItem in kinds or SecretItem in kinds

    @property
    def items(self) -> Mapping[str, Item]:
        """By their keys."""
        for message in self._unfolded:
            for key in message.removals:
                self._items.pop(key, None)
            self._items.update((item.key, item) for item in message.upserts)
        self._unfolded.clear()
        return self._items
