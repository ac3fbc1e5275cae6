"""A plan in the making: what the parts of the planner intend, put into the index so that the next part sees it.

Owns the passage from intentions to changes, and the bound on the size of one plan; never decides. The index is as it
was once the draft is over (`Index.begin`, `Index.rollback`).
"""

from __future__ import annotations

from math import inf
from random import Random
from typing import Final

import msgspec

from cluster.model.changes import Change, Kind, Object, created, deleted, status_of, updated
from cluster.model.errors import InvalidArgument
from cluster.model.ids import ID_RANDOM_BYTES, NetworkId, NodeId, ServiceId, TaskId, make_id
from cluster.model.objects import Meta, Network, Node, Service, Task
from cluster.model.specs import TaskSpec
from manager.index import Index
from manager.orchestrator import constraints
from manager.orchestrator.agenda import SlotKey
from manager.orchestrator.constraints import Constraint
from manager.orchestrator.slots import slot_key
from manager.scheduler.ranking import Placed

PLAN_BYTES: Final = 1 << 20
"""About how large one plan may grow; what is left over is planned next time. A log entry holds 1.5 MiB."""

TASK_OVERHEAD_BYTES: Final = 600
"""What a task's change takes beside its spec, about."""


EXPLAINED_GROUPS: Final = 8
"""Groups of placed tasks whose other nodes one plan puts into words; of the rest it says only where they went."""


class Reason(msgspec.Struct, frozen=True, gc=False):
    """Why a task is where it is, or is nowhere; or why a network could not be allocated.

    `nodes`: (hostname, words: every filter that turned the node down, or its rank), in the order of the ranking.
    """

    summary: str
    nodes: tuple[tuple[str, str], ...] = ()


Why = Reason | Placed


class Draft:
    """One plan in the making. Owned by one call of the planner."""

    def __init__(self, index: Index, now_ns: int, rng: Random) -> None:
        self.index = index
        self.now_ns = now_ns
        self.rng = rng
        self.reasons: dict[str, Why] = {}
        self.waiting: dict[TaskId, None] = {}  # tasks that look for a node in this plan
        self.looked: dict[ServiceId, list[SlotKey]] = {}  # slots that this plan has looked at
        self.at_rest: list[ServiceId] = []  # services that this plan has looked at as a whole: there was nothing to do
        self.moved: dict[ServiceId, None] = {}  # services that this plan changes, or tasks of theirs
        self.tried: list[TaskId] = []  # tasks that had waited, for which this plan has looked for a node in vain
        self.owed: dict[NetworkId, dict[NodeId, None]] = {}  # nodes whose load balancers get an address when the tasks of this plan have theirs
        self.unattached: dict[NodeId, None] = {}  # nodes for whose load balancers no address is left
        self.limit_bytes = PLAN_BYTES
        self.full = False  # whether the plan is as large as it may be. Whoever stops for this leaves its marks for the next plan
        self._explained = 0
        self._bytes = 0
        self._counted: set[str] = set()
        self._weighed: TaskSpec | None = None  # the last, and the size of a task that has it
        self._weighed_bytes = 0
        self._stamp = self._stamp_of = Meta()  # the last, and what it was made of
        self._parsed: dict[tuple[str, ...], tuple[Constraint, ...] | str] = {}

    @property
    def room(self) -> int:
        """Tasks that the plan may still take, at most, and one more, which makes it full."""
        return max(0, self.limit_bytes - self._bytes) // TASK_OVERHEAD_BYTES + 1

    def may_explain(self) -> bool:
        """Whether the nodes that are considered for one more group of tasks may be kept in words. Owns the count."""
        self._explained += 1
        return self._explained <= EXPLAINED_GROUPS

    def new_task_id(self) -> TaskId:
        return TaskId(make_id(self.rng.randbytes(ID_RANDOM_BYTES)))

    def stamped(self, meta: Meta) -> Meta:
        """Changed now. One after the other are asked for of tasks that have theirs in common."""
        if meta is not self._stamp_of:
            self._stamp_of, self._stamp = meta, Meta(meta.version, meta.created_at_ns, self.now_ns, meta.created)
        return self._stamp

    def put(self, obj: Task | Service | Node | Network) -> None:
        """This object is to be so. Its version stays the one that was seen, its time of change becomes now."""
        if obj.meta.updated_at_ns != self.now_ns:
            obj = msgspec.structs.replace(obj, meta=self.stamped(obj.meta))
        if obj.id not in self._counted:
            self._counted.add(obj.id)
            self._grow(self._weight(obj))
        if type(obj) is Task:
            self.moved[obj.service_id] = None
        elif isinstance(obj, Service):
            self.moved[obj.id] = None
        self.index.put(obj)

    def give_node(self, before: Task, after: Task) -> bool:
        """As `Index.give_node`."""
        if not self.index.give_node(before, after):
            return False
        self._bytes += self._weighed_bytes if after.spec is self._weighed else self._weight(after)
        self.full = self._bytes >= self.limit_bytes
        return True

    def delete_task(self, task: Task) -> None:
        """This task is to be forgotten."""
        self._grow(TASK_OVERHEAD_BYTES // 4)
        self.moved[task.service_id] = None
        self.index.drop(Kind.TASK, task.id)
        self.waiting.pop(task.id, None)

    def tasks_in(self, service_id: ServiceId, key: SlotKey) -> list[Task]:
        """The tasks of one slot, the newest first."""
        tasks = [self.index.tasks[id_] for id_ in self.index.slots.of(service_id).ids(key)]
        if len(tasks) > 1:
            tasks.sort(key=_age, reverse=True)
        return tasks

    def constraints_of(self, spec: TaskSpec) -> tuple[Constraint, ...] | str:
        """The parsed constraints of a task, or what is wrong with them."""
        texts = spec.placement.constraints if spec.placement is not None else ()
        found = self._parsed.get(texts)
        if found is None:
            try:
                found = constraints.parse_all(texts)
            except InvalidArgument as error:
                found = error.message
            self._parsed[texts] = found
        return found

    def _grow(self, size_bytes: int) -> None:
        self._bytes += size_bytes
        self.full = self._bytes >= self.limit_bytes

    def _weight(self, obj: Task | Service | Node | Network) -> int:
        if type(obj) is not Task:
            return len(msgspec.msgpack.encode(obj))
        if obj.spec is not self._weighed and obj.spec != self._weighed:  # one after the other have the same, or an equal one
            self._weighed_bytes = len(msgspec.msgpack.encode(obj.spec)) + TASK_OVERHEAD_BYTES
        self._weighed = obj.spec
        return self._weighed_bytes

    def changes(self) -> tuple[tuple[Change, ...], Touched]:
        """What is to be proposed, and where. Networks and nodes come before services, services before tasks."""
        touched = Touched({}, {}, {}, {})
        changes: dict[Kind, list[Change]] = {Kind.NETWORK: [], Kind.NODE: [], Kind.SERVICE: [], Kind.TASK: []}
        for kind, id_, before, after in self.index.intended():
            change = None if before is after else _change(kind, id_, before, after)
            if change is None:
                continue
            changes[kind].append(change)
            touched.note(after if after is not None else before)
        tasks = self.index.tasks
        changes[Kind.TASK] += [updated(tasks[id_]) for id_ in self.index.placed]
        return tuple(change for group in changes.values() for change in group), touched


class Touched(msgspec.Struct, frozen=True):
    """Where a plan intends to change something; not where tasks get nodes and nothing else, so that their slots need no other look."""

    services: dict[ServiceId, None]
    slots: dict[ServiceId, dict[SlotKey, None]]
    nodes: dict[NodeId, None]
    networks: dict[NetworkId, None]

    def note(self, obj: Object | None) -> None:
        match obj:
            case Task():
                self.slots.setdefault(obj.service_id, {})[slot_key(obj)] = None
            case Service():
                self.services[obj.id] = None
            case Node():
                self.nodes[obj.id] = None
            case Network():
                self.networks[obj.id] = None


def _age(task: Task) -> tuple[float, int, str]:
    """Orders tasks from old to new by the log, which no clock moves; those of this draft are the newest."""
    return (task.meta.created or inf, task.meta.created_at_ns, task.id)


def _change(kind: Kind, id_: str, before: Object | None, after: Object | None) -> Change | None:
    """The way from one to the other; None where nothing but the time of change differs."""
    if after is None:
        assert isinstance(before, Task), f"the planner deletes tasks only, not {kind.name.lower()} {id_}"
        return deleted(before)
    assert isinstance(after, Task | Service | Node | Network)
    if before is None:
        return created(after)
    assert isinstance(before, Task | Service | Node | Network)
    if isinstance(before, Task) and isinstance(after, Task):
        if before.node_id != after.node_id:
            return updated(after)
        if _same(before, after):
            return None
        if _same(msgspec.structs.replace(before, status=after.status), after):
            return status_of(id_, after.status)  # which never conflicts with anyone
    elif _same(before, after):
        return None
    return updated(after)


def _same(before: Object, after: Object) -> bool:
    """Whether nothing but the time of change differs."""
    return msgspec.structs.replace(after, meta=before.meta) == before
