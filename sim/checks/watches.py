"""Watch streams: what a watcher of a store hears, folded, is the store; nothing is missing, doubled or out of order.

Owns a shadow of the rows for each manager.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cluster.model.changes import Kind, Object
from manager.store import Batch
from sim.failure import Broken

if TYPE_CHECKING:
    from sim.manager import Manager

COMPARE_EVERY: Final = 50
"""Batches after which the whole shadow is compared with the store."""


class _Shadow:
    def __init__(self, manager: Manager) -> None:
        self.rows: dict[tuple[Kind, str], Object] = {(kind, row.id): row for kind in Kind for row in manager.store.all(kind)}
        self.index = manager.store.index
        self.batches = 0


class WatchChecks:
    def __init__(self, *, exact: bool) -> None:
        self._exact = exact
        self._shadows: dict[str, _Shadow] = {}

    def refill(self, manager: Manager) -> None:
        """The store has begun anew."""
        if self._exact:
            self._shadows[manager.name] = _Shadow(manager)

    def feed(self, manager: Manager, batches: tuple[Batch, ...]) -> None:
        shadow = self._shadows.get(manager.name)
        if shadow is None:
            return
        for batch in batches:
            _fold(manager, shadow, batch)
        if shadow.batches // COMPARE_EVERY != (shadow.batches + len(batches)) // COMPARE_EVERY:
            self.compare(manager)
        shadow.batches += len(batches)

    def compare(self, manager: Manager) -> None:
        shadow = self._shadows.get(manager.name)
        if shadow is not None and shadow.rows != {(kind, row.id): row for kind in Kind for row in manager.store.all(kind)}:
            raise Broken(f"what {manager.name}'s watch said up to entry {shadow.index} is not what its store holds")


def _fold(manager: Manager, shadow: _Shadow, batch: Batch) -> None:
    if batch.index <= shadow.index:
        raise Broken(f"{manager.name}'s watch went from entry {shadow.index} to {batch.index}")
    shadow.index = batch.index
    for event in batch.events:
        key = (event.kind, event.id)
        if shadow.rows.get(key) != event.before:
            raise Broken(f"{manager.name}'s watch says that {event.kind.name.lower()} {event.id} was what it was not, at entry {batch.index}")
        if event.after is None:
            shadow.rows.pop(key, None)
        else:
            shadow.rows[key] = event.after
