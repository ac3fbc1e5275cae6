"""Which containers there are: by id, name, task and prefix, in memory and on disk alike. Owns the maps; every change is a replaced record, saved."""

from __future__ import annotations

from typing import Final

from agent.container_store import ContainerStore
from agent.records import Record
from cluster.model.errors import Conflict, InvalidArgument, NotFound

_TAKEN: Final = (
    'Conflict. The container name "/{}" is already in use by container "{}". '
    "You have to remove (or rename) that container to be able to reuse that name."
)


class Registry:
    def __init__(self, store: ContainerStore) -> None:
        self._store = store
        self._records: dict[str, Record] = {}
        self._ids: dict[str, str] = {}
        self._by_task: dict[str, str] = {}

    def load(self) -> None:
        """Read every record from disk."""
        for record in self._store.load():
            self._index(record)

    def all(self) -> tuple[Record, ...]:
        return tuple(self._records.values())

    def names(self) -> frozenset[str]:
        return frozenset(self._ids)

    def get(self, container_id: str) -> Record | None:
        return self._records.get(container_id)

    def of_task(self, task_id: str) -> Record | None:
        return self._records.get(self._by_task.get(task_id, ""))

    def find(self, reference: str) -> Record:
        """By full id, name (with or without a slash), or unique id prefix. Raises NotFound or InvalidArgument in Docker's words."""
        if not reference:
            raise InvalidArgument('invalid name or ID supplied: ""')
        if record := self._records.get(reference):
            return record
        if (container_id := self._ids.get(reference.removeprefix("/"))) is not None:
            return self._records[container_id]
        matches = [r for r in self._records.values() if r.id.startswith(reference)]
        if len(matches) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {reference}")
        if not matches:
            raise NotFound(f"No such container: {reference}")
        return matches[0]

    def refuse_taken(self, name: str) -> None:
        """Raises Conflict in Docker's words when a container has this name."""
        if name in self._ids:
            raise Conflict(_TAKEN.format(name, self._ids[name]))

    def add(self, record: Record) -> None:
        """A new container: its folder and record are made, then it can be found."""
        self._store.create(record)
        self._index(record)

    def put(self, record: Record) -> None:
        """Replace and save; a container that has been removed meanwhile stays removed."""
        before = self._records.get(record.id)
        if before is None:
            return
        if before.name != record.name:
            del self._ids[before.name]
            self._ids[record.name] = record.id
        self._records[record.id] = record
        self._store.save(record)

    def drop(self, record: Record) -> None:
        """Forget it; the folder is the caller's to remove."""
        self._records.pop(record.id, None)
        if self._ids.get(record.name) == record.id:
            del self._ids[record.name]
        if self._by_task.get(record.task_id) == record.id:
            del self._by_task[record.task_id]

    def _index(self, record: Record) -> None:
        self._records[record.id] = record
        self._ids[record.name] = record.id
        if record.task_id:
            self._by_task[record.task_id] = record.id
