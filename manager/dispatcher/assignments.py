"""What every agent is told, kept by change: which tasks are its own, and the tables of the networks that it takes
part in.

A Board is built once from the store's objects and fed every batch of events afterwards; the work is proportional to
the change and to the number of open sessions that it concerns. It reads no clock and no store, sends nothing, and is
changed only by the dispatcher that owns it. The fold of what `open` and `take` give for a node is what `open` alone
would give now. A session that has ended stays for a while (`close`), so that the node's next one can go on where it stopped
(`resume`, replay.py). A task that drains is told to its agent only when drains.py lets it go; until then the agent hears
that it shall run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Final

import msgspec

from cluster.model.assignments import ConfigItem, EndpointItem, Item, NetworkItem, SecretItem, TaskItem
from cluster.model.changes import Object
from cluster.model.ids import NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import Config, Network, Node, NodeState, Secret, Service, Task
from cluster.model.task_state import ASSIGNED, RUNNING, TaskState
from manager.dispatcher import tables
from manager.dispatcher.dependencies import Dependencies
from manager.dispatcher.drains import FIRST, Drains
from manager.dispatcher.replay import Delta, Replay
from manager.store import Event

DATA_PER_MESSAGE_BYTES: Final = 2 * 1024 * 1024
"""Of secrets and configs: with so much of them a message stays below the wire's frame."""


class _Session:
    """What one session has been told of networks, what is still to be sent (None: remove), and what was sent. `away`: it has ended and may
    be resumed."""

    __slots__ = ("away", "joined", "pending", "sent")

    def __init__(self, stream: str) -> None:
        self.sent = Replay(stream)
        self.away = False
        self.joined: dict[NetworkId, NetworkItem] = {}
        self.pending: dict[str, Item | None] = {}


class _Dirty:
    """What one batch has touched."""

    def __init__(self) -> None:
        self.items: dict[NetworkId, dict[str, Item | None]] = {}
        self.balancers: dict[tuple[NetworkId, ServiceId], None] = {}
        self.places: dict[tuple[NodeId, NetworkId], None] = {}
        self.networks: dict[NetworkId, None] = {}
        self.tasks: dict[NodeId, dict[str, Item | None]] = {}
        self.dependencies: dict[tuple[NodeId, str], None] = {}


def for_agent(task: Task) -> Task:
    """The task as its agent gets it: without the history that only users read."""
    return msgspec.structs.replace(task, history=()) if task.history else task


def is_assigned(task: Task) -> bool:
    """Whether its agent is to hear of it: a global service's task belongs to its node from the first, and may have to wait for it."""
    return bool(task.node_id) and task.status.state >= ASSIGNED


WITH_DATA: Final = frozenset({SecretItem, ConfigItem})


def data_bytes(item: Item) -> int:
    """How large its data is; 0 for what has none."""
    match item:
        case SecretItem():
            return len(item.secret.spec.data)
        case ConfigItem():
            return len(item.config.spec.data)
        case _:
            return 0


def concerns_agent(before: Task, after: Task) -> bool:
    """Whether an agent has to hear of the change: not when only its own reports changed the task."""
    if after.status.state is TaskState.ORPHANED and before.status.state is not TaskState.ORPHANED:
        return True
    same = msgspec.structs.replace(before, meta=after.meta, status=after.status, history=after.history, spec=after.spec)
    return same != after or before.spec != after.spec


class Board:
    """The tables of all networks and the open sessions. `streams` gives each session's stream a name that no other board gives."""

    def __init__(self, objects: Iterable[Object], streams: Iterator[str] | None = None) -> None:
        self._streams = streams if streams is not None else map(str, count(1))
        self._nodes: dict[NodeId, Node] = {}
        self._networks: dict[NetworkId, Network] = {}
        self._services: dict[ServiceId, Service] = {}
        self._tasks: dict[NodeId, dict[TaskId, Task]] = {}
        self._attached: dict[NodeId, dict[NetworkId, int]] = {}  # how many tasks attach it
        self._items: dict[NetworkId, dict[str, Item]] = {}  # by address, or balancer and service: an item's key is as large as the item, and is made of it
        self._serving: dict[tuple[NetworkId, ServiceId], dict[TaskId, Task]] = {}  # whose backends are made when the service's balancer is
        self._sessions: dict[NodeId, _Session] = {}
        self._listeners: dict[NetworkId, dict[NodeId, None]] = {}
        self._drains = Drains()
        self._dependencies = Dependencies()
        everything = tuple(objects)
        dirty = _Dirty()
        for kind in (Secret, Config, Network, Node, Service, Task):
            for item in everything:
                if isinstance(item, kind):
                    self._note(dirty, None, item)
        self._settle(dirty)
        for task in (task for tasks in self._tasks.values() for task in tasks.values()):
            if self._drains_from_tables(task) and (waits := self._all_who_balance(task)):
                self._drains.hold(task.id, waits)

    def feed(self, events: Iterable[Event]) -> tuple[NodeId, ...]:
        """Take one batch in. Returns the nodes with open sessions that have something to be sent."""
        dirty = _Dirty()
        for event in events:
            self._note(dirty, event.before, event.after)
        return self._settle(dirty)

    def open(self, node_id: NodeId) -> tuple[Item, ...]:
        """Everything that the node is told now; changes are kept for `take` from here on. Replaces an open session of
        the node."""
        if node_id in self._sessions:
            self.close(node_id)
            self.forget(node_id)
        session = self._sessions[node_id] = _Session(next(self._streams))
        items: list[Item] = []
        for network_id in self._networks_of(node_id):
            if (network := self._network_item(node_id, network_id)) is not None:
                self._join(session, node_id, network)
                items += network, *self._items.get(network_id, {}).values()
        tasks = (TaskItem(self._as_told(task)) for task in self._tasks.get(node_id, {}).values())
        return (*tasks, *items, *self._dependencies.needed(node_id))  # what is large comes last: what the first message leaves out is gone until the next

    def opened(self, node_id: NodeId, version: int) -> None:
        """What `open` gave is sent as these first versions of the session. To be called before the next `feed`."""
        if session := self._sessions.get(node_id):
            session.sent.begin(version)
            self._drains.opened(node_id, version)

    def resume(self, node_id: NodeId, stream: str, version: int) -> tuple[Delta, ...] | None:
        """Go on with the node's last session: what was sent to it after this version. None when that is not known any more, or the
        stream is not that session's: then it is `open`'s turn."""
        session = self._sessions.get(node_id)
        missed = session.sent.after(stream, version) if session is not None else None
        if session is None or missed is None:
            return None
        session.away = False
        self._drains.opened(node_id, session.sent.version + bool(session.pending))
        return missed

    def stream(self, node_id: NodeId) -> str:
        """The stream of the node's session; empty where it has none."""
        session = self._sessions.get(node_id)
        return session.sent.stream if session is not None else ""

    def take(self, node_id: NodeId) -> Delta:
        """What has changed for the node since the last time, or as much of it as fits into one message, as its session's
        next version. Empty when nothing has, or when it has no session."""
        session = self._sessions.get(node_id)
        if session is None or not session.pending:
            return Delta((), ())
        pending, session.pending = _split(session.pending)
        delta = Delta(
            tuple(item for item in pending.values() if item is not None),
            tuple(key for key, item in pending.items() if item is None),
        )
        session.sent.add(delta)
        return delta

    def close(self, node_id: NodeId) -> tuple[NodeId, ...]:
        """The node's session is over, and kept until the node opens another or is forgotten. Returns the nodes that have something to be
        sent because of it."""
        if session := self._sessions.get(node_id):
            session.away = True
        return self._let_go(self._drains.forget(node_id))

    def forget(self, node_id: NodeId) -> None:
        """The node's session, open or over, is of no use any more."""
        session = self._sessions.pop(node_id, None)
        for network_id in session.joined if session is not None else ():
            self._unlisten(network_id, node_id)

    # -- draining ---------------------------------------------------------------------------------------------------

    def acknowledge(self, node_id: NodeId, version: int) -> tuple[NodeId, ...]:
        """The node has brought its kernel to this version. Returns the nodes that have something to be sent."""
        if session := self._sessions.get(node_id):
            session.sent.acknowledge(version)
        return self._let_go(self._drains.acknowledge(node_id, version))

    def newly_held(self) -> tuple[TaskId, ...]:
        """Tasks that wait to be stopped since this was asked the last time."""
        return self._drains.new()

    def give_up(self, task_id: TaskId) -> tuple[NodeId, ...]:
        """Wait no longer for those who have not acknowledged that the task drains. Returns as `acknowledge` does."""
        return self._let_go((task_id,) if self._drains.give_up(task_id) else ())

    def _let_go(self, task_ids: Iterable[TaskId]) -> tuple[NodeId, ...]:
        touched: dict[NodeId, None] = {}
        for task_id in task_ids:
            node_id, task = next(((n, tasks[task_id]) for n, tasks in self._tasks.items() if task_id in tasks), ("", None))
            session = self._sessions.get(NodeId(node_id))
            if task is not None and session is not None:
                item = TaskItem(for_agent(task))
                session.pending[item.key] = item
                if not session.away:
                    touched[task.node_id] = None
        return tuple(touched)

    def _as_told(self, task: Task) -> Task:
        """The task as its agent may know it now."""
        told = for_agent(task)
        return msgspec.structs.replace(told, desired_state=RUNNING) if self._drains.holds(task.id) else told

    def _drains_from_tables(self, task: Task) -> bool:
        """Whether the task still runs, shall not, and a service that is there balances to it."""
        return task.status.state is RUNNING and not tables.may_serve(task) and bool(task.networks) and task.service_id in self._services

    def _waits_of_drain(self, before: Task | None, after: Task) -> dict[NodeId, int]:
        """Who has to hear that the task drains from now on, when the change is what made it drain."""
        served = before is not None and before.status.state is RUNNING and tables.may_serve(before)
        if not served or not self._drains_from_tables(after):
            return {}
        listeners = dict.fromkeys(node_id for network in after.networks for node_id in self._listeners.get(network.network_id, ()))
        return {node_id: session.sent.version + 1 for node_id in listeners if not (session := self._sessions[node_id]).away}

    def _all_who_balance(self, task: Task) -> dict[NodeId, int]:
        """The nodes that take part in the task's networks and are expected to open a session."""
        ready = (node.id for node in self._nodes.values() if node.status.state is NodeState.READY)
        return {n: FIRST for n in ready if any(self._network_item(n, network.network_id) for network in task.networks)}

    # -- one object -------------------------------------------------------------------------------------------------

    def _note(self, dirty: _Dirty, before: object, after: object) -> None:
        known = before if after is None else after
        if isinstance(known, Task):
            self._task(dirty, before if isinstance(before, Task) else None, after if isinstance(after, Task) else None)
        elif isinstance(known, Node):
            self._node(dirty, before if isinstance(before, Node) else None, after if isinstance(after, Node) else None)
        elif isinstance(known, Service):
            self._service(dirty, known.id, after if isinstance(after, Service) else None)
        elif isinstance(known, (Secret, Config)):
            old, new = (o if isinstance(o, (Secret, Config)) else None for o in (before, after))
            dirty.dependencies.update(dict.fromkeys(self._dependencies.note(old, new)))
        elif isinstance(known, Network):
            self._network(dirty, known.id, after if isinstance(after, Network) else None)

    def _task(self, dirty: _Dirty, before: Task | None, after: Task | None) -> None:
        self._assign(dirty, before if before is not None and is_assigned(before) else None, after if after is not None and is_assigned(after) else None)
        for task, step in ((before, -1), (after, 1)):
            if task is not None and tables.holds_networks(task):
                self._count(dirty, task, step)
        for place in self._dependencies.exchange(before, after):
            dirty.dependencies[place] = None
        self._exchange_backends(dirty, before, after)
        self._exchange(
            dirty,
            tables.task_endpoints(before, self._nodes.get(before.node_id)) if before else (),
            tables.task_endpoints(after, self._nodes.get(after.node_id)) if after else (),
        )

    def _assign(self, dirty: _Dirty, before: Task | None, after: Task | None) -> None:
        """What the agents of these tasks have to hear."""
        if before is not None and (after is None or after.node_id != before.node_id):
            mine = self._tasks[before.node_id]
            del mine[before.id]
            if not mine:
                del self._tasks[before.node_id]
            dirty.tasks.setdefault(before.node_id, {})[f"task/{before.id}"] = None
            self._drains.give_up(before.id)
        if after is not None:
            self._tasks.setdefault(after.node_id, {})[after.id] = after
            if waits := self._waits_of_drain(before, after):
                self._drains.hold(after.id, waits)
            held = self._drains.holds(after.id)
            let_go = held and not self._drains_from_tables(after) and self._drains.give_up(after.id)
            if after.node_id in self._sessions and (let_go or (not held and (before is None or concerns_agent(before, after)))):
                item = TaskItem(for_agent(after))
                dirty.tasks.setdefault(after.node_id, {})[item.key] = item

    def _exchange_backends(self, dirty: _Dirty, before: Task | None, after: Task | None) -> None:
        old = dict(tables.backends(before)) if before else {}
        new = dict(tables.backends(after)) if after else {}
        if old == new and after is not None:
            for network_id in new:  # what is made of it is the same, but nothing keeps the old object
                self._serving[network_id, after.service_id][after.id] = after
            return
        task = after or before
        assert task is not None
        for network_id in {**old, **new}:
            key = (network_id, task.service_id)
            serving = self._serving.get(key)
            if serving is None:
                serving = self._serving[key] = {}
            serving.pop(task.id, None)
            if network_id in new:
                serving[task.id] = task
            if not serving:
                del self._serving[key]
            dirty.balancers[key] = None

    def _count(self, dirty: _Dirty, task: Task, step: int) -> None:
        counts = self._attached.get(task.node_id)
        if counts is None:
            counts = self._attached[task.node_id] = {}
        for attachment in task.networks:
            counts[attachment.network_id] = counts.get(attachment.network_id, 0) + step
            if counts[attachment.network_id] <= 0:
                del counts[attachment.network_id]
            dirty.places[task.node_id, attachment.network_id] = None
        if not counts:
            del self._attached[task.node_id]

    def _node(self, dirty: _Dirty, before: Node | None, after: Node | None) -> None:
        known = after or before
        assert known is not None
        if after is not None:
            self._nodes[known.id] = after
        else:
            self._nodes.pop(known.id, None)
        moved = (before.status.address if before else "") != (after.status.address if after else "")
        tasks = tuple(self._tasks.get(known.id, {}).values()) if moved else ()
        old, new = (
            (*tables.node_endpoints(node), *(e for task in tasks for e in tables.task_endpoints(task, node))) if node else () for node in (before, after)
        )
        self._exchange(dirty, old, new)
        for node in (before, after):
            joined = (*(a.network_id for a in node.attachments), *(c.network_id for c in node.containers)) if node else ()
            dirty.places.update(((known.id, network_id), None) for network_id in joined)

    def _service(self, dirty: _Dirty, service_id: ServiceId, after: Service | None) -> None:
        for service in (self._services.pop(service_id, None), after):
            for vip in tables.virtual_ips(service):
                dirty.balancers[vip.network_id, service_id] = None
        if after is not None:
            self._services[service_id] = after

    def _network(self, dirty: _Dirty, network_id: NetworkId, after: Network | None) -> None:
        dirty.networks[network_id] = None
        if after is not None:
            self._networks[network_id] = after
        else:
            self._networks.pop(network_id, None)

    # -- tables -----------------------------------------------------------------------------------------------------

    def _exchange(self, dirty: _Dirty, old: Iterable[EndpointItem], new: Iterable[EndpointItem]) -> None:
        """Endpoints of one owner before and after. An address that another owner has got in the same batch stays."""
        wanted = {(item.network_id, item.address): item for item in new}
        for item in old:
            held = self._items.get(item.network_id, {}).get(item.address)
            there = isinstance(held, EndpointItem) and (held.task_id, held.node_id) == (item.task_id, item.node_id)
            if there and (item.network_id, item.address) not in wanted:
                self._erase(dirty, item.network_id, item.address)
        for item in wanted.values():
            self._put(dirty, item.network_id, item.address, item)

    def _put(self, dirty: _Dirty, network_id: NetworkId, row: str, item: Item) -> None:
        table = self._items.setdefault(network_id, {})
        if table.get(row) != item:
            table[row] = item
            if network_id in self._listeners:
                dirty.items.setdefault(network_id, {})[item.key] = item

    def _erase(self, dirty: _Dirty, network_id: NetworkId, row: str) -> None:
        table = self._items.get(network_id, {})
        if (item := table.pop(row, None)) is not None and network_id in self._listeners:
            dirty.items.setdefault(network_id, {})[item.key] = None
        if not table:
            self._items.pop(network_id, None)

    def _balance(self, dirty: _Dirty, network_id: NetworkId, service_id: ServiceId) -> None:
        service = self._services.get(service_id)
        vip = next((v for v in tables.virtual_ips(service) if v.network_id == network_id), None)
        row = f"balancer/{service_id}"
        network = self._networks.get(network_id)
        if service is None or vip is None or (network is not None and network.spec.driver != "overlay"):
            self._erase(dirty, network_id, row)
            return
        serving = self._serving.get((network_id, service_id), {}).values()
        live = (backend for task in serving for at, backend in tables.backends(task) if at == network_id)
        self._put(dirty, network_id, row, tables.balancer(service, network, vip, live))

    # -- sessions ---------------------------------------------------------------------------------------------------

    def _settle(self, dirty: _Dirty) -> tuple[NodeId, ...]:
        for network_id in dirty.networks:
            for service_id in self._services:
                if any(v.network_id == network_id for v in tables.virtual_ips(self._services[service_id])):
                    dirty.balancers[network_id, service_id] = None
        for network_id, service_id in dirty.balancers:
            self._balance(dirty, network_id, service_id)
        touched: dict[NodeId, None] = {}
        for network_id, items in dirty.items.items():
            for node_id in self._listeners.get(network_id, ()):
                self._sessions[node_id].pending.update(items)
                touched[node_id] = None
        for node_id, network_id in self._places(dirty):
            session = self._sessions.get(node_id)
            if session is not None:
                self._place(session, node_id, network_id)
                touched[node_id] = None
        for node_id, key in dirty.dependencies:  # before the tasks that need them
            if node_id in self._sessions:
                self._sessions[node_id].pending[key] = self._dependencies.item(node_id, key)
                touched[node_id] = None
        for node_id, tasks in dirty.tasks.items():
            if node_id in self._sessions:
                self._sessions[node_id].pending.update(tasks)
                touched[node_id] = None
        return tuple(node_id for node_id in touched if (session := self._sessions[node_id]).pending and not session.away)

    def _places(self, dirty: _Dirty) -> Iterator[tuple[NodeId, NetworkId]]:
        yield from dirty.places
        for network_id in dirty.networks:
            for node_id in self._sessions:
                yield node_id, network_id

    def _place(self, session: _Session, node_id: NodeId, network_id: NetworkId) -> None:
        """Let the session hear of the network from now on, or no longer, or of its own change."""
        told, now = session.joined.get(network_id), self._network_item(node_id, network_id)
        if now is None:
            if told is not None:
                session.pending.update(dict.fromkeys((told.key, *(item.key for item in self._items.get(network_id, {}).values()))))
                del session.joined[network_id]
                self._unlisten(network_id, node_id)
            return
        if now != told:
            session.pending[now.key] = now
            self._join(session, node_id, now)
        if told is None:
            session.pending.update((item.key, item) for item in self._items.get(network_id, {}).values())

    def _join(self, session: _Session, node_id: NodeId, network: NetworkItem) -> None:
        session.joined[network.network.id] = network
        self._listeners.setdefault(network.network.id, {})[node_id] = None

    def _networks_of(self, node_id: NodeId) -> Iterable[NetworkId]:
        """All that it may take part in, and hardly any other."""
        ours = dict.fromkeys(self._attached.get(node_id, ()))
        if (node := self._nodes.get(node_id)) is not None:
            ours.update(dict.fromkeys([held.network_id for held in node.containers]))
            ours.update(dict.fromkeys([attachment.network_id for attachment in node.attachments]))
        return ours

    def _network_item(self, node_id: NodeId, network_id: NetworkId) -> NetworkItem | None:
        """The network as the node takes part in it; None when it does not, or when its addresses are not allocated
        yet."""
        network, node = self._networks.get(network_id), self._nodes.get(node_id)
        if network is None or node is None:
            return None
        tasks = network_id in self._attached.get(node_id, ())
        if network.spec.driver != "overlay":  # each node makes its own
            return NetworkItem(network, "") if tasks or any(c.network_id == network_id for c in node.containers) else None
        if not network.subnet:
            return None
        used = tasks or any(c.network_id == network_id and c.address for c in node.containers)
        if not network.spec.ingress and not used:
            return None
        address = next((a.address for a in node.attachments if a.network_id == network_id), "")
        return NetworkItem(network, address) if address else None

    def _unlisten(self, network_id: NetworkId, node_id: NodeId) -> None:
        listeners = self._listeners.get(network_id, {})
        listeners.pop(node_id, None)
        if not listeners:
            self._listeners.pop(network_id, None)


def _split(pending: dict[str, Item | None]) -> tuple[dict[str, Item | None], dict[str, Item | None]]:
    """What fits into one message, and the rest; the order stays."""
    size = 0
    for position, item in enumerate(pending.values()):
        size += data_bytes(item) if item is not None else 0
        if size > DATA_PER_MESSAGE_BYTES:
            items = tuple(pending.items())
            return dict(items[:position]), dict(items[position:])
    return pending, {}
