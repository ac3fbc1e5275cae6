"""The planner's own view of the store: every object, and what planning needs to know of them without searching.

Owned by the planner alone: `planner.plan` takes the committed events in, nobody else changes it. Nodes with what
they carry, services with their slots, addresses, ports and marks in use, tasks that wait for a node, recent
failures, marks and deadlines. All of it can be rebuilt from the store's objects (`Index.build`) and is kept by
change.

What a plan intends is put in as well, so that later decisions of the same plan see it, and taken out again (`begin`,
`rollback`): only what was committed stays, when it comes back as events. Where it is tasks alone it stays in until then
(`hold`), because most plans come back as they were made: the next events confirm it, or it is taken out before anybody
looks (`settle`). Pure: reads no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec

from cluster.model import placement_labels
from cluster.model.changes import KIND_OF, Kind, Object
from cluster.model.errors import InvalidArgument
from cluster.model.ids import ClusterId, NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import Cluster, Network, Node, Service, Task
from cluster.model.placement_labels import NOTHING, Strategy, Wish
from cluster.model.specs import ServiceModeKind
from cluster.model.task_state import ASSIGNED, READY, is_wished
from manager.allocator.addresses import AddressBook
from manager.allocator.ports import PortBook
from manager.orchestrator.agenda import Agenda
from manager.orchestrator.dependencies import DependencyBook
from manager.orchestrator.one_off import OneOff, one_off
from manager.orchestrator.slots import SlotBook, slot_key
from manager.scheduler.classes import ClassBook
from manager.scheduler.usage import NodeUse, holds_node
from manager.store import Event

FAILURES: Final = 5
"""Failures of one service and spec version on one node after which the node comes last (SwarmKit's maxFailures)."""

Failures = dict[tuple[ServiceId, int], dict[NodeId, tuple[int, ...]]]
"""(service, spec version) -> node -> times (ns) of the latest failures, at most FAILURES."""

_TASK: Final = Kind.TASK  # once, as in cluster/model/task_state.py
BUILD_ORDER: Final = {Kind.CLUSTER: 0, Kind.NETWORK: 1, Kind.NODE: 2, Kind.SERVICE: 3, Kind.TASK: 4, Kind.SECRET: 5, Kind.CONFIG: 6}


def attributes(node: Node) -> tuple[object, ...]:
    """What of a node matters to who may run there."""
    return (node.spec, node.description, node.status, node.role)


def _holds_the_same(before: Task, after: Task) -> bool:
    """Whether the task occupies the same of the same node as before: most reports of status change nothing of this."""
    return (
        before.node_id == after.node_id
        and (before.desired_state is after.desired_state or is_wished(before.desired_state) is is_wished(after.desired_state))
        and before.networks == after.networks
        and (before.endpoint is after.endpoint or before.endpoint == after.endpoint)
        and (before.spec is after.spec or before.spec.reservations == after.spec.reservations)
    )


def _counts_the_same(before: Task, after: Task) -> bool:
    """Whether the task is the same to everything here that counts tasks: as a plan's own changes are when they come back."""
    return before.status.state is after.status.state and before.desired_state is after.desired_state and _holds_the_same(before, after)


def _is_all_but_stamped(intended: Task, after: Task) -> bool:
    """Whether the store has written the very task that was intended. This is quickly seen on the manager that made the plan: the parts are the same objects."""
    return (
        after.status is intended.status
        and after.node_id == intended.node_id
        and after.networks is intended.networks
        and after.spec is intended.spec
        and after.endpoint is intended.endpoint
        and after.desired_state is intended.desired_state
    )


class Journal(msgspec.Struct, frozen=True):
    """What was there before, in the order of the first change: tasks to which a plan does nothing but give a node (`placed`), other tasks, everything else; and
    where the last addresses were given."""

    placed: dict[TaskId, Task]
    tasks: dict[TaskId, Task | None]
    others: dict[tuple[Kind, str], Object | None]
    last_addresses: dict[NetworkId, int]


def _confirm(held: Journal, events: Sequence[Event]) -> bool:
    """Whether the events begin with a step of each task that is held, from what it was before; those that are only placed come last."""
    number = len(held.tasks)
    if len(events) < number + len(held.placed):
        return False
    for event, (id_, before) in zip(events, held.tasks.items(), strict=False):
        if event.before is not before or event.id != id_ or event.kind is not _TASK:
            return False
    return all(event.before is before for event, before in zip(islice(events, number, None), held.placed.values(), strict=False))


class Marks(msgspec.Struct, frozen=True):
    """What of the index is no function of the objects."""

    agenda: Agenda
    unallocated: dict[ServiceId, str]
    refused: dict[NetworkId, str]
    failures: Failures


class Index:
    """See the module. Read it freely in this room; change it through `put` and `drop` only (events: manager/marking.py)."""

    def __init__(self) -> None:
        self.clusters: dict[ClusterId, Cluster] = {}
        self.nodes: dict[NodeId, Node] = {}
        self.services: dict[ServiceId, Service] = {}
        self.tasks: dict[TaskId, Task] = {}
        self.networks: dict[NetworkId, Network] = {}
        self.uses: dict[NodeId, NodeUse] = {}
        self.slots = SlotBook(self.tasks)
        self.addresses = AddressBook()
        self.ports = PortBook()
        self.classes = ClassBook(self.nodes, self.uses)
        self.dependencies = DependencyBook()
        self.wishes: dict[ServiceId, Wish] = {}  # of services whose labels say something of their placement
        self.packing = 0  # how many of those pack
        self.one_off: dict[ServiceId, OneOff] = {}
        self._latest_one_off: OneOff | None = None
        self.pending: dict[TaskId, None] = {}  # wished to run, without a node
        self.global_services: dict[ServiceId, None] = {}
        self.ingress: dict[NetworkId, None] = {}
        self.attached: dict[NetworkId, dict[NodeId, None]] = {}
        self.unallocated: dict[ServiceId, str] = {}  # services whose endpoint could not be allocated, and why
        self.refused: dict[NetworkId, str] = {}  # networks that could not be allocated, and why
        self.failures: Failures = {}
        self.agenda = Agenda()
        self._journals: list[Journal] = []
        self._held: Journal | None = None

    @classmethod
    def build(cls, objects: Iterable[Object]) -> Index:
        """The index of these objects (all of the store's, in any order), with everything marked to be looked at."""
        index = cls()
        for obj in sorted(objects, key=lambda o: (BUILD_ORDER[KIND_OF[type(o)]], o.meta.version)):
            index.put(obj)
            if isinstance(obj, Task):
                index.arm(obj)
        for service_id in (*index.services, *index.slots.services):
            index.agenda.touch_all(service_id)
        index.agenda.networks = dict.fromkeys(index.networks)
        index.agenda.nodes = dict.fromkeys(index.nodes)
        index.agenda.retry_pending = True
        return index

    def arm(self, task: Task) -> None:
        """A task that waits marks its slot by itself when its time has come."""
        if task.desired_state is READY:
            self.agenda.arm(task.released_at_ns, task.service_id, slot_key(task))

    # -- what a plan intends -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """From now on keep what `put` and `drop` replace, for `rollback`. May be nested."""
        self._journals.append(Journal({}, {}, {}, dict(self.addresses.last)))

    def rollback(self) -> None:
        """Take out everything that was put in or dropped since the last `begin`."""
        journal = self._journals.pop()
        outer, self._journals = self._journals, []
        for task_id, before in (*reversed(journal.placed.items()), *reversed(journal.tasks.items())):
            self._replace_task(task_id, before)
        for (kind, id_), obj in reversed(journal.others.items()):
            if obj is None:
                self.drop(kind, id_)
            else:
                self.put(obj)
        self._journals = outer
        self.addresses.last = journal.last_addresses

    def intended(self) -> tuple[tuple[Kind, str, Object | None, Object | None], ...]:
        """What has changed since the last `begin`, but for tasks that are only placed: (kind, id, before, after), in the order of the first change, tasks
        last."""
        journal = self._journals[-1]
        others = ((kind, id_, before, self.get(kind, id_)) for (kind, id_), before in journal.others.items())
        return (*others, *((_TASK, id_, before, self.tasks.get(id_)) for id_, before in journal.tasks.items()))

    def give_node(self, before: Task, after: Task) -> bool:
        """`put`, where a task gets a node that waited for that, wished to run and alone in its slot; unless (False) the plan intends something else with it,
        too. When it comes back as it is, there is nothing to look at."""
        journal = self._journals[-1]
        if after.id in journal.tasks:
            return False
        journal.placed[after.id] = before
        self.tasks[after.id] = after
        del self.pending[after.id]
        self._claim(after)
        return True

    @property
    def placed(self) -> Mapping[TaskId, Task]:
        """The tasks of which that is so, as they were before."""
        return self._journals[-1].placed

    def hold(self, changed: int) -> None:
        """End what `begin` began as `rollback` does; but what is intended may stay in until `settle`, where it is tasks alone. `changed`: how many objects
        the plan's changes are of."""
        journal = self._journals[-1]
        if len(self._journals) > 1 or journal.others or len(journal.tasks) + len(journal.placed) != changed:
            self.rollback()
        else:
            self._held = self._journals.pop()

    def settle(self, events: Sequence[Event]) -> Sequence[Event]:
        """Before these events are put in, or the index is read: take out what is held, unless the events begin with just that. Gives those that are still to be
        put in: all but the ones by which tasks are placed as they were meant to be."""
        held, self._held = self._held, None
        if held is None:
            return events
        if not _confirm(held, events):
            self._journals.append(held)
            self.rollback()
            return events
        first, after = len(held.tasks), len(held.tasks) + len(held.placed)
        return (*events[:first], *self._confirm_placed(events[first:after]), *events[after:])

    def _confirm_placed(self, events: Iterable[Event]) -> list[Event]:
        """Take over the tasks that are as they were intended. Gives the events of others."""
        others, tasks, retry = list[Event](), self.tasks, self.agenda.retry
        for event in events:
            after, known = event.after, tasks[TaskId(event.id)]
            if type(after) is Task and (_is_all_but_stamped(known, after) or _counts_the_same(known, after)):
                tasks[after.id] = after
                retry.pop(after.id, None)
            else:
                others.append(event)
        return others

    def held(self) -> tuple[tuple[TaskId, Task | None], ...]:
        """The tasks that are as the last plan intends: (id, the task)."""
        return tuple((id_, self.tasks.get(id_)) for id_ in (*self._held.tasks, *self._held.placed)) if self._held is not None else ()

    def is_intended(self, id: TaskId) -> bool:
        """Whether this task has changed since the last `begin`."""
        journal = self._journals[-1]
        return id in journal.placed or id in journal.tasks

    def marks(self) -> Marks:
        """A copy of what `rollback` does not restore: what is to be looked at, and what was learnt on the way."""
        failures = {key: dict(nodes) for key, nodes in self.failures.items()}
        return Marks(self.agenda.copy(), dict(self.unallocated), dict(self.refused), failures)

    def set_marks(self, marks: Marks) -> None:
        """Be as when `marks` was made."""
        self.agenda, self.unallocated = marks.agenda, marks.unallocated
        self.refused, self.failures = marks.refused, marks.failures

    # -- objects -------------------------------------------------------------------------------------------------

    def get(self, kind: Kind, id: str) -> Object | None:
        """The object with this id."""
        if kind is _TASK:
            return self.tasks.get(TaskId(id))
        match kind:
            case Kind.SERVICE:
                return self.services.get(ServiceId(id))
            case Kind.NODE:
                return self.nodes.get(NodeId(id))
            case Kind.NETWORK:
                return self.networks.get(NetworkId(id))
            case Kind.CLUSTER:
                return self.clusters.get(ClusterId(id))
            case Kind.SECRET | Kind.CONFIG:
                return None  # nothing is planned by them

    def put(self, obj: Object) -> None:
        """This object is now so."""
        if type(obj) is Task:  # most are: a match takes longer
            self._replace_task(obj.id, obj)
            return
        match obj:
            case Service():
                self._replace_service(obj.id, obj)
            case Node():
                self._replace_node(obj.id, obj)
            case Network():
                self._replace_network(obj.id, obj)
            case Cluster():
                self._note(Kind.CLUSTER, obj.id, self.clusters.get(obj.id))
                self.clusters[obj.id] = obj

    def drop(self, kind: Kind, id: str) -> None:
        """There is no such object any more."""
        match kind:
            case Kind.TASK:
                self._replace_task(TaskId(id), None)
            case Kind.SERVICE:
                self._replace_service(ServiceId(id), None)
            case Kind.NODE:
                self._replace_node(NodeId(id), None)
            case Kind.NETWORK:
                self._replace_network(NetworkId(id), None)
            case Kind.CLUSTER:
                self._note(Kind.CLUSTER, id, self.clusters.pop(ClusterId(id), None))

    def _note(self, kind: Kind, id: str, before: Object | None) -> None:
        if self._journals:
            self._journals[-1].others.setdefault((kind, id), before)

    def _note_task(self, journal: Journal, id: TaskId, before: Task | None) -> None:
        if id in journal.placed:
            journal.tasks[id] = journal.placed.pop(id)  # more is intended with it now
        else:
            journal.tasks.setdefault(id, before)

    def _replace_task(self, id: TaskId, after: Task | None) -> None:
        before = self.tasks.get(id)
        if self._journals:
            self._note_task(self._journals[-1], id, before)
        if before is None:
            if after is not None:
                self._add_task(after)
            return
        if after is not None and _counts_the_same(before, after):
            self.tasks[id] = after
            return
        if after is None:
            del self.tasks[id]
            self.slots.remove(before)
            self.pending.pop(id, None)
        else:
            self.tasks[id] = after
            self.slots.move(before, after)
            if after.status.state < ASSIGNED and is_wished(after.desired_state):
                self.pending[id] = None
            else:
                self.pending.pop(id, None)
        held = before if before.node_id and holds_node(before) else None
        holds = after if after is not None and after.node_id and holds_node(after) else None
        if held is not None:
            if holds is not None and _holds_the_same(held, holds):
                return
            self._release(held)
        if holds is not None:
            self._claim(holds)
        if held is not None:
            self._let_go(held.node_id)

    def _add_task(self, task: Task) -> None:
        self.tasks[task.id] = task
        self.slots.add(task)
        if task.status.state < ASSIGNED and is_wished(task.desired_state):
            self.pending[task.id] = None
        if task.node_id and holds_node(task):
            self._claim(task)

    def _claim(self, task: Task) -> None:
        use = self.uses.get(task.node_id) or self.use(task.node_id)
        use.add(task)
        if self.packing and task.node_id in self.nodes:
            self.classes.moved(task.node_id, fuller=True)
        for network in task.networks:
            if network.address:
                self.addresses.claim(network.network_id, network.address)

    def _release(self, task: Task) -> None:
        self.uses[task.node_id].remove(task)
        for network in task.networks:
            if network.address:
                self.addresses.release(network.network_id, network.address)

    def _let_go(self, node_id: NodeId) -> None:
        if node_id in self.nodes:
            self.classes.moved(node_id, fuller=False)
        elif not self.uses[node_id].tasks:
            del self.uses[node_id]

    def use(self, node_id: NodeId) -> NodeUse:
        """What this node carries."""
        found = self.uses.get(node_id)
        if found is None:
            found = self.uses[node_id] = NodeUse()
        return found

    def _replace_service(self, id: ServiceId, after: Service | None) -> None:
        before = self.services.get(id)
        self._note(Kind.SERVICE, id, before)
        self.dependencies.replace(id, before, after)
        if before is None or after is None or before.spec.labels is not after.spec.labels:
            self._replace_wish(id, after)
        asks = one_off(after) if after is not None and id not in self.wishes else None
        if asks is None:
            self.one_off.pop(id, None)
        elif asks == self._latest_one_off:
            self.one_off[id] = self._latest_one_off  # the same one for those that are alike
        else:
            self.one_off[id] = self._latest_one_off = asks
        if after is None:
            self.services.pop(id, None)
            self.global_services.pop(id, None)
        else:
            self.services[id] = after
            if after.spec.mode.kind in (ServiceModeKind.GLOBAL, ServiceModeKind.GLOBAL_JOB):
                self.global_services[id] = None
        had, has = before.endpoint if before is not None else None, after.endpoint if after is not None else None
        if had == has:
            return
        if had is not None:
            self.ports.remove(id, had)
            for vip in had.virtual_ips:
                if vip.address:
                    self.addresses.release(vip.network_id, vip.address)
        if has is not None:
            self.ports.add(id, has)
            for vip in has.virtual_ips:
                if vip.address:
                    self.addresses.claim(vip.network_id, vip.address)

    def one_off_of(self, task: Task) -> OneOff | None:
        """What the task's service asks for, if it is a one-off service and this is its only task, made as it is asked for now."""
        asks = self.one_off.get(task.service_id)
        if asks is None or asks.spec_version != task.spec_version or task.endpoint is not None or self.slots.lone(task.service_id) != task.id:
            return None
        return None if self.unallocated and task.service_id in self.unallocated else asks

    def _replace_wish(self, id: ServiceId, after: Service | None) -> None:
        self.packing -= self.wish(id).strategy is Strategy.PACK
        self.wishes.pop(id, None)
        try:
            wish = placement_labels.wish_of(after.spec.labels) if after is not None else NOTHING
        except InvalidArgument:
            wish = NOTHING  # which the control API refuses
        if wish != NOTHING:
            self.wishes[id] = wish
        self.packing += wish.strategy is Strategy.PACK

    def wish(self, id: ServiceId) -> Wish:
        """What the service's labels say of its placement."""
        return self.wishes.get(id, NOTHING)

    def _replace_node(self, id: NodeId, after: Node | None) -> None:
        before = self.nodes.get(id)
        self._note(Kind.NODE, id, before)
        had = set(before.attachments) if before is not None else set()
        has = set(after.attachments) if after is not None else set()
        held = {c.id: c for c in before.containers if c.address} if before is not None else {}
        holds = {c.id: c for c in after.containers if c.address} if after is not None else {}
        for container in (c for id_, c in held.items() if id_ not in holds):
            self.addresses.release(container.network_id, container.address)
        for container in (c for id_, c in holds.items() if id_ not in held):
            self.addresses.claim(container.network_id, container.address, asked=bool(container.asked))
        for attachment in had - has:
            self.addresses.release(attachment.network_id, attachment.address)
            nodes = self.attached[attachment.network_id]
            del nodes[id]
            if not nodes:
                del self.attached[attachment.network_id]
        if after is None:
            self.nodes.pop(id, None)
            self.classes.judge(id, None)
            use = self.uses.get(id)
            if use is not None and not use.tasks:
                del self.uses[id]
            return
        self.nodes[id] = after
        for attachment in after.attachments:
            if attachment not in had:
                self.addresses.claim(attachment.network_id, attachment.address)
                self.attached.setdefault(attachment.network_id, {})[id] = None
        self.use(id)
        if before is None or attributes(before) != attributes(after):
            self.classes.judge(id, after)

    def _replace_network(self, id: NetworkId, after: Network | None) -> None:
        self._note(Kind.NETWORK, id, self.networks.get(id))
        self.addresses.set_network(id, after)
        if after is None:
            self.networks.pop(id, None)
            self.ingress.pop(id, None)
            return
        self.networks[id] = after
        if after.spec.ingress:
            self.ingress[id] = None
