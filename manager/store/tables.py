"""The store's rows and their indexes: plain dicts, one per kind. Owns where objects are kept and how all of them
become bytes and come back.

Never judges a change: manager/store/transaction.py does, and is the only writer. Pure: no clock, no randomness, no
order of a set.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Final, cast

import msgspec

from cluster.model.changes import KIND_TYPES, Kind, Object
from cluster.model.objects import Cluster, Config, Network, Node, Secret, Service, Task
from manager.store import freezing, sharing
from manager.store.indexes import Index

SAVED_KINDS: Final = (Kind.CLUSTER, Kind.NODE, Kind.SERVICE, Kind.TASK, Kind.NETWORK, Kind.SECRET, Kind.CONFIG)  # the columns of Saved
_TASK: Final = Kind.TASK  # once: see manager/store/transaction.py
NAMED_KINDS: Final = (Kind.SERVICE, Kind.NETWORK, Kind.NODE, Kind.SECRET, Kind.CONFIG)


class BadSnapshot(Exception):
    """Bytes that are no snapshot of a store, or one that this version cannot read."""


class Saved(msgspec.Struct, array_like=True, frozen=True):
    """A snapshot of the whole store, as freezing.py writes it. New fields go last and have defaults."""

    format: int
    index: int
    clusters: tuple[Cluster, ...] = ()
    nodes: tuple[Node, ...] = ()
    services: tuple[Service, ...] = ()
    tasks: tuple[msgspec.Raw, ...] = ()  # read one by one: all of them at once would need twice the memory
    networks: tuple[Network, ...] = ()
    secrets: tuple[Secret, ...] = ()
    configs: tuple[Config, ...] = ()


def name_of(obj: Object) -> str:
    """The name that users call the object by; empty where it has none. A node's is its hostname, as in Docker."""
    if type(obj) is Service or type(obj) is Network or type(obj) is Secret or type(obj) is Config:
        return obj.spec.name
    return obj.description.hostname or obj.spec.name if type(obj) is Node else ""


def name_key(name: str) -> str:
    """Names are compared without regard to case (SwarmKit's store does; service names are DNS names)."""
    return name.lower()


class Tables:
    """All rows and indexes. `index` is the log index of the last change."""

    __slots__ = ("index", "names", "rows", "tasks", "tasks_by_node", "tasks_by_service")

    def __init__(self) -> None:
        self.index = 0
        self.rows: dict[Kind, dict[str, Object]] = {kind: {} for kind in Kind}
        self.tasks = cast("dict[str, Task]", self.rows[_TASK])
        self.names: dict[Kind, Index] = {kind: Index() for kind in NAMED_KINDS}
        self.tasks_by_service = Index()
        self.tasks_by_node = Index()

    def write(self, kind: Kind, id: str, after: Object | None) -> None:
        """Put `after` in the place of what is there (None: take the row away) and keep the indexes in step."""
        if kind is _TASK:
            assert after is None or type(after) is Task
            self.write_tasks({id: after})
            return
        rows = self.rows[kind]
        before = rows.get(id)
        if after is not None:
            rows[id] = after
        elif before is not None:
            del rows[id]
        if kind in self.names:
            old, new = name_of(before) if before is not None else "", name_of(after) if after is not None else ""
            if old != new:
                self.names[kind].move(id, name_key(old), name_key(new))

    def write_tasks(self, tasks: Mapping[str, Task | None]) -> None:
        """The same for these tasks, which an entry may have by the thousand."""
        rows = self.tasks
        for id_, after in tasks.items():
            before = rows.get(id_)
            if after is None:
                if before is not None:
                    del rows[id_]
                    self.tasks_by_service.move(id_, before.service_id, "")
                    self.tasks_by_node.move(id_, before.node_id, "")
                continue
            rows[id_] = after
            if before is None:
                self.tasks_by_service.add(after.service_id, id_)  # a task never changes its service
            if before is not None and before.node_id:
                self.tasks_by_node.move(id_, before.node_id, after.node_id)
            elif after.node_id:
                self.tasks_by_node.add(after.node_id, id_)

    def freeze(self) -> Callable[[], tuple[bytes, ...]]:
        """Everything as it is now, as what makes bytes of it whenever and wherever that is called; `Loading` is the inverse."""
        return partial(freezing.encode, self.index, tuple(tuple(self.rows[kind].values()) for kind in SAVED_KINDS))

    def digest(self) -> str:
        """SHA-256 (hex) of the contents, the same for equal stores whatever way they came about."""
        digest = hashlib.sha256(self.index.to_bytes(8, "big"))
        for kind in Kind:
            rows = self.rows[kind]
            digest.update(msgspec.msgpack.encode([rows[key] for key in sorted(rows)]))
        return digest.hexdigest()


class Loading:
    """A snapshot on its way to be tables, some objects at a time: all of a large one at once would hold up who does it for seconds."""

    def __init__(self, data: bytes) -> None:
        """What `Tables.freeze` made. Raises BadSnapshot."""
        try:
            saved = msgspec.msgpack.decode(data, type=Saved)
        except msgspec.MsgspecError as error:
            raise _unreadable(error) from error
        if saved.format != freezing.FORMAT:
            raise BadSnapshot(f"the snapshot of the store has format {saved.format}, this version reads {freezing.FORMAT}")
        self.tables = Tables()
        self.tables.index = saved.index
        self.done = False
        self._objects = _objects(saved)

    def load(self, limit: int = sys.maxsize) -> int:
        """Take in at most `limit` objects more; how many there were. `done` says whether that were all. Raises BadSnapshot."""
        number = 0
        try:
            for kind, obj in islice(self._objects, limit):
                assert isinstance(obj, KIND_TYPES[kind])
                self.tables.write(kind, obj.id, obj)
                number += 1
        except msgspec.MsgspecError as error:
            raise _unreadable(error) from error
        self.done = number < limit
        return number


def _unreadable(error: msgspec.MsgspecError) -> BadSnapshot:
    return BadSnapshot(f"the snapshot of the store cannot be read: {error}")


def _objects(saved: Saved) -> Iterator[tuple[Kind, Object]]:
    groups: tuple[Iterable[Object], ...] = (
        saved.clusters, saved.nodes, saved.services, sharing.with_shared(saved.services, map(_task, saved.tasks)), saved.networks,
        saved.secrets, saved.configs,
    )  # fmt: skip
    for kind, group in zip(SAVED_KINDS, groups, strict=True):
        for obj in group:
            yield kind, obj


def _task(saved: msgspec.Raw) -> Task:
    return msgspec.msgpack.decode(saved, type=Task)
