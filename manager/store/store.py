"""The managers' truth: what the log's entries, applied one after the other, have made. Other rooms reach the store
through this class alone.

Everything here is synchronous and hence atomic: what is read before the next await belongs together. Only the driver
of the log applies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, cast, overload

from cluster.model.changes import KIND_OF, Change, Kind, Object
from cluster.model.objects import Cluster, Network, Node, Service, Task
from manager.store import references, tables, transaction
from manager.store.transaction import Batch
from manager.store.watch import WATCH_QUEUE_BATCHES, Watch, Watches


class Store:
    """All objects of the cluster, by kind and id."""

    def __init__(self) -> None:
        self._tables = tables.Tables()
        self._watches = Watches()

    @classmethod
    def of(cls, index: int, objects: Iterable[Object]) -> Store:
        """A store of its own, with these objects as they are."""
        store = cls()
        store._tables.index = index
        for obj in objects:
            store._tables.write(KIND_OF[type(obj)], obj.id, obj)
        return store

    @property
    def index(self) -> int:
        """Index of the log entry that last changed something; 0 for an empty store."""
        return self._tables.index

    def apply(self, index: int, changes: tuple[Change, ...]) -> Batch:
        """Make the changes of log entry `index` and tell the watchers. All of them or, when one is refused, none.

        Raises OutOfSequence (an update of an object that has moved on), Conflict (id or name taken), NotFound
        (nothing to update or delete), InvalidArgument (malformed). A status for a task that is gone is passed over.
        `index` must be above every one before.
        """
        batch = transaction.apply(self._tables, index, changes)
        self._watches.publish(batch)
        return batch

    @overload
    def get(self, kind: Literal[Kind.CLUSTER], id: str) -> Cluster | None: ...
    @overload
    def get(self, kind: Literal[Kind.NODE], id: str) -> Node | None: ...
    @overload
    def get(self, kind: Literal[Kind.SERVICE], id: str) -> Service | None: ...
    @overload
    def get(self, kind: Literal[Kind.TASK], id: str) -> Task | None: ...
    @overload
    def get(self, kind: Literal[Kind.NETWORK], id: str) -> Network | None: ...
    @overload
    def get(self, kind: Kind, id: str) -> Object | None: ...
    def get(self, kind: Kind, id: str) -> Object | None:
        """The object with this full id, None when there is none."""
        return self._tables.rows[kind].get(id)

    @overload
    def all(self, kind: Literal[Kind.CLUSTER]) -> tuple[Cluster, ...]: ...
    @overload
    def all(self, kind: Literal[Kind.NODE]) -> tuple[Node, ...]: ...
    @overload
    def all(self, kind: Literal[Kind.SERVICE]) -> tuple[Service, ...]: ...
    @overload
    def all(self, kind: Literal[Kind.TASK]) -> tuple[Task, ...]: ...
    @overload
    def all(self, kind: Literal[Kind.NETWORK]) -> tuple[Network, ...]: ...
    @overload
    def all(self, kind: Kind) -> tuple[Object, ...]: ...
    def all(self, kind: Kind) -> tuple[Object, ...]:
        """Every object of the kind, in the order in which they were created."""
        return tuple(self._tables.rows[kind].values())

    @overload
    def find(self, kind: Literal[Kind.CLUSTER], reference: str) -> Cluster: ...
    @overload
    def find(self, kind: Literal[Kind.NODE], reference: str) -> Node: ...
    @overload
    def find(self, kind: Literal[Kind.SERVICE], reference: str) -> Service: ...
    @overload
    def find(self, kind: Literal[Kind.TASK], reference: str) -> Task: ...
    @overload
    def find(self, kind: Literal[Kind.NETWORK], reference: str) -> Network: ...
    @overload
    def find(self, kind: Kind, reference: str) -> Object: ...
    def find(self, kind: Kind, reference: str) -> Object:
        """What the user means by `reference`: a full id, an exact name (tasks: `name.slot`, `name.slot.id`), or the
        start of one id.

        Raises NotFound (`service X not found`) or InvalidArgument (`service X is ambiguous (2 matches found)`).
        """
        return references.find(self._tables, kind, reference)

    @overload
    def by_name(self, kind: Literal[Kind.NODE], name: str) -> Node | None: ...
    @overload
    def by_name(self, kind: Literal[Kind.SERVICE], name: str) -> Service | None: ...
    @overload
    def by_name(self, kind: Literal[Kind.NETWORK], name: str) -> Network | None: ...
    @overload
    def by_name(self, kind: Kind, name: str) -> Object | None: ...
    def by_name(self, kind: Kind, name: str) -> Object | None:
        """The object with exactly this name, None when there is none. Of several nodes with one hostname, the first
        that had it.
        """
        named = references.with_name(self._tables, kind, name)
        return named[0] if named else None

    def tasks_of_service(self, id: str) -> tuple[Task, ...]:
        """All tasks of the service, finished ones too."""
        rows = self._tables.rows[Kind.TASK]
        return tuple(cast(Task, rows[task_id]) for task_id in self._tables.tasks_by_service.ids(id))

    def tasks_of_node(self, id: str) -> tuple[Task, ...]:
        """All tasks that are assigned to the node, finished ones too."""
        rows = self._tables.rows[Kind.TASK]
        return tuple(cast(Task, rows[task_id]) for task_id in self._tables.tasks_by_node.ids(id))

    def save(self) -> bytes:
        """The whole store as bytes, at once."""
        return b"".join(self._tables.freeze()())

    def freeze(self) -> Callable[[], tuple[bytes, ...]]:
        """What gives the bytes of `save` in pieces and as of now, whatever happens to the store meanwhile: to be called once, in a thread."""
        return self._tables.freeze()

    def restore(self, data: bytes) -> None:
        """Become the store that `save` wrote, at once. Raises BadSnapshot, then as before. Open watches get WatchLagged."""
        loading = tables.Loading(data)
        loading.load()
        self.become(loading)

    def become(self, loaded: tables.Loading) -> None:
        """Become what has been loaded, which must be done. Open watches get WatchLagged."""
        assert loaded.done
        self._tables = loaded.tables
        self._watches.start_anew(self._tables.index)

    def digest(self) -> str:
        """SHA-256 (hex) of the contents: equal for equal stores. For comparing replicas in tests."""
        return self._tables.digest()

    def watch(self, queue_batches: int = WATCH_QUEUE_BATCHES) -> Watch:
        """Hear of every batch from now on, up to `queue_batches` unread ones. Close it when done."""
        return self._watches.open(queue_batches)

    def after(self, index: int) -> tuple[Batch, ...] | None:
        """The batches after the one of this index; None when they are not all known any more. Read before the next await, `watch` goes on from there."""
        return self._watches.after(index)
