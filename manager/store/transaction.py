"""What one log entry does to the store: an overlay over the tables that is committed as a whole or thrown away. Owns
the rules of every change.

Deterministic: every replica that applies the same entry to the same tables gets the same rows and the same error. So
no clock (times come in the objects), no randomness, no order of a set. Names, versions and the life of a task are
judged here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from cluster.model.changes import KIND_TYPES, Change, Kind, Object, Op
from cluster.model.errors import Conflict, InvalidArgument, NotFound, OutOfSequence
from cluster.model.ids import NodeId
from cluster.model.objects import TASK_HISTORY_STATUSES, Meta, Node, NodeState, Service, Task, TaskStatus
from cluster.model.specs import Availability
from cluster.model.task_state import ASSIGNED, is_final
from manager.store import sharing
from manager.store.tables import Tables, name_key, name_of

UNIQUE_NAMES: Final = {
    Kind.SERVICE: "name conflicts with an existing object: service {} already exists",
    Kind.NETWORK: "network with name {} already exists",
    Kind.SECRET: "secret {} already exists",
    Kind.CONFIG: "config {} already exists",
}
"""Kinds whose names are taken once only, and Docker's sentence for a second one."""

_ACTIVE: Final = Availability.ACTIVE
_READY: Final = NodeState.READY
_CREATE, _UPDATE, _DELETE, _STATUS, _NODE, _SERVICE, _TASK = Op.CREATE, Op.UPDATE, Op.DELETE, Op.STATUS, Kind.NODE, Kind.SERVICE, Kind.TASK
"""Once: to look a member up in its enumeration takes longer than to judge a change by it."""

_UNSTAMPED: Final = Meta()


class Event(msgspec.Struct, frozen=True, gc=False):
    """One object's step. `before` is None for a new object, `after` for one that went away."""

    kind: Kind
    id: str
    before: Object | None
    after: Object | None


class Batch(msgspec.Struct, frozen=True, gc=False):
    """What one log entry did, in order. An object that the entry changed twice has two events, the second starting
    where the first ended.
    """

    index: int
    events: tuple[Event, ...]


def merged_status(task: Task, status: TaskStatus) -> tuple[TaskStatus, tuple[TaskStatus, ...]]:
    """What status and history `task` has after a report of `status`; those that it has when the report says nothing new.

    A state is never lowered and a final one never left. A higher state pushes the status before it into the history,
    which keeps the latest TASK_HISTORY_STATUSES; an equal state takes the report's other fields unless the report is
    older than what is known.
    """
    known, history = task.status, task.history
    if status is known:
        return known, history
    if status.state > known.state:
        if is_final(known.state):
            return known, history
        return sharing.shared_status(status, known), (*history, known)[-TASK_HISTORY_STATUSES:] if history else (known,)
    if status.state < known.state or status == known or status.timestamp_ns < known.timestamp_ns:
        return known, history
    return sharing.shared_status(status, known), history


class _Step(msgspec.Struct, frozen=True, gc=False):
    """What merging a status with what was known has given."""

    known: TaskStatus | None
    reported: TaskStatus | None
    before: tuple[TaskStatus, ...]
    status: TaskStatus
    history: tuple[TaskStatus, ...]


class Transaction:
    """Changes staged over `tables`, which stay untouched until `commit`."""

    __slots__ = ("_events", "_index", "_last_stamp", "_names", "_rows", "_stamp_of", "_status", "_step", "_tables", "_tasks")

    def __init__(self, tables: Tables, index: int) -> None:
        assert index > tables.index, f"entry {index} was applied before (at {tables.index})"
        self._tables = tables
        self._index = index
        self._rows: dict[Kind, dict[str, Object | None]] = {}  # of all but tasks
        self._tasks: dict[str, Any] = {}  # Task, or None
        self._names: dict[tuple[Kind, str], str] = {}
        self._events: list[Event] = []
        self._last_stamp = _UNSTAMPED
        self._stamp_of: Meta | None = None  # what that was made of
        self._status = _NONE  # the last new task's
        self._step = _NO_STEP  # the last

    def get(self, kind: Kind, id: str) -> Object | None:
        """The object as the staged changes leave it."""
        staged = self._tasks if kind is _TASK else self._rows.get(kind)
        return staged[id] if staged is not None and id in staged else self._tables.rows[kind].get(id)

    def judge(self, change: Change) -> Event | None:
        """What the change does; None for nothing. Raises Conflict, OutOfSequence, NotFound, or InvalidArgument for a change
        that is malformed.
        """
        op, kind, obj = change.op, change.kind, change.after
        if type(obj) is Task and kind is _TASK and obj.id == change.id:  # most are, and come by the thousand
            if op is _UPDATE:
                return self._update_task(obj)
            if op is _CREATE:
                return self._create_task(obj)
        if op is _STATUS:
            return self._report(change)
        before = self.get(kind, change.id)
        if op is _DELETE:
            if before is None:
                raise _missing(kind, change.id)
            return Event(kind, change.id, before, None)
        if obj is None or type(obj) is not KIND_TYPES[kind] or obj.id != change.id:
            raise InvalidArgument(f"malformed change: {op.name.lower()} of {kind.name.lower()} {change.id}")
        if op is _UPDATE:
            if before is None:
                raise _missing(kind, change.id)
            return self._update(kind, before, obj)
        if before is not None:
            raise _taken(kind, change.id)
        return self._create(kind, obj)

    def stage(self, changes: Iterable[Change]) -> None:
        """Judge these changes, each over what those before it do. Raises as `judge`."""
        tasks, events = self._tasks, self._events
        for change in changes:
            if (event := self.judge(change)) is None:
                continue
            events.append(event)
            if event.kind is _TASK:
                tasks[event.id] = event.after
            else:
                self._rows.setdefault(event.kind, {})[event.id] = event.after

    def commit(self) -> Batch:
        """Write what was staged into the tables and move them to this transaction's index."""
        for kind, rows in self._rows.items():
            for key, after in rows.items():
                self._tables.write(kind, key, after)
        self._tables.write_tasks(self._tasks)
        self._tables.index = self._index
        return Batch(self._index, tuple(self._events))

    def _create(self, kind: Kind, obj: Object) -> Event:
        if kind in UNIQUE_NAMES:
            self._claim_name(kind, obj)
        if type(obj) is Service:
            obj = msgspec.structs.replace(sharing.beside(obj, self._latest_service()), spec_version=self._index)
        return Event(kind, obj.id, None, self._stamped(obj, self._index))

    def _update(self, kind: Kind, before: Object, obj: Object) -> Event:
        if obj.meta.version != before.meta.version:
            raise OutOfSequence
        if kind in UNIQUE_NAMES and name_key(name_of(obj)) != name_key(name_of(before)):
            self._claim_name(kind, obj)
        if isinstance(obj, Service):
            assert isinstance(before, Service)
            unchanged = obj.spec == before.spec and obj.job_iteration == before.job_iteration
            obj = msgspec.structs.replace(obj, spec_version=before.spec_version if unchanged else self._index)
        return Event(kind, obj.id, before, self._stamped(obj, before.meta.created))

    def _task(self, id: str) -> Task | None:
        found: Task | None = self._tasks[id] if id in self._tasks else self._tables.tasks.get(id)
        return found

    def _create_task(self, task: Task) -> Event:
        if self._task(task.id) is not None:
            raise _taken(_TASK, task.id)
        if task.status.state is ASSIGNED:
            self._check_node(task.node_id)
        if task.status != self._status:
            self._status = sharing.shared_status(task.status, task.status)
        service = self.get(_SERVICE, task.service_id)
        return Event(_TASK, task.id, None, sharing.of_service(task, service, self._stamp(task.meta, self._index), self._status))

    def _update_task(self, task: Task) -> Event:
        before = self._task(task.id)
        if before is None:
            raise _missing(_TASK, task.id)
        if task.meta.version != before.meta.version:
            raise OutOfSequence
        if task.service_id != before.service_id:
            raise InvalidArgument(f"malformed change: task {task.id} is of another service")
        if task.status.state is ASSIGNED and before.status.state < ASSIGNED:
            self._check_node(task.node_id)
        step = self._step
        if step.known is not before.status or step.reported is not task.status or step.before is not before.history:  # most of a plan's tasks take the same
            step = self._step = _Step(before.status, task.status, before.history, *merged_status(before, task.status))
        return Event(_TASK, task.id, before, sharing.over(before, task, self._stamp(task.meta, before.meta.created), step.status, step.history))

    def _check_node(self, id: NodeId) -> None:
        """A node that was drained or paused, or went down, between a plan and its commit takes no new task. Raises OutOfSequence."""
        node = self.get(_NODE, id)
        if type(node) is Node and (node.spec.availability is not _ACTIVE or node.status.state is not _READY):
            raise OutOfSequence

    def _report(self, change: Change) -> Event | None:
        """Merge a task's status. A report for a task that is gone came late and says nothing to anyone any more.

        The version stays: a report touches nothing that a plan decides, so a plan that was made before it still holds.
        """
        if change.kind is not _TASK or not isinstance(change.after, TaskStatus):
            raise InvalidArgument(f"malformed change: status of {change.kind.name.lower()} {change.id}")
        task = self._task(change.id)
        if task is None:
            return None
        status, history = merged_status(task, change.after)
        if status is task.status:
            return None
        meta = task.meta
        meta = Meta(meta.version, meta.created_at_ns, max(meta.updated_at_ns, change.after.timestamp_ns), meta.created)
        return Event(_TASK, change.id, task, msgspec.structs.replace(task, meta=meta, status=status, history=history))

    def _latest_service(self) -> Service | None:
        rows = self._rows.get(_SERVICE) or self._tables.rows[_SERVICE]
        latest = next(reversed(rows.values()), None)
        return latest if type(latest) is Service else None

    def _stamped(self, obj: Object, created: int) -> Object:
        return msgspec.structs.replace(obj, meta=self._stamp(obj.meta, created))

    def _stamp(self, meta: Meta, created: int) -> Meta:
        """As of this entry; one for all that were made and changed at the same times, as a plan's are one after the other."""
        if self._stamp_of != meta or self._last_stamp.created != created:
            self._stamp_of, self._last_stamp = meta, sharing.stamped(meta, self._index, created)
        return self._last_stamp

    def _claim_name(self, kind: Kind, obj: Object) -> None:
        """For a kind of UNIQUE_NAMES."""
        key = name_key(name_of(obj))
        holders = self._tables.names[kind].ids(key)
        if (staged := self._names.get((kind, key))) is not None:
            holders = (*holders, staged)
        for holder_id in holders:
            holder = self.get(kind, holder_id)
            if holder is not None and holder_id != obj.id and name_key(name_of(holder)) == key:
                raise Conflict(UNIQUE_NAMES[kind].format(name_of(obj)))
        self._names[kind, key] = obj.id


_NONE: Final = TaskStatus()
_NO_STEP: Final = _Step(None, None, (), _NONE, ())


def _missing(kind: Kind, id: str) -> NotFound:
    return NotFound(f"{kind.name.lower()} {id} not found")


def _taken(kind: Kind, id: str) -> Conflict:
    return Conflict(f"{kind.name.lower()} {id} already exists")


def apply(tables: Tables, index: int, changes: tuple[Change, ...]) -> Batch:
    """Apply one log entry to `tables`: all of it, or (ClusterError) nothing of it."""
    transaction = Transaction(tables, index)
    if len(changes) == 1:  # most are so, and there is nobody to see what it does before it is done
        event = transaction.judge(changes[0])
        tables.index = index
        if event is None:
            return Batch(index, ())
        tables.write(event.kind, event.id, event.after)
        return Batch(index, (event,))
    transaction.stage(changes)
    return transaction.commit()
