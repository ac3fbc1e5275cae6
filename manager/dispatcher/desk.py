"""What the dispatcher decides, without its connections and its waiting: which node is told what, whose session has to
end, what becomes of a node's object. server.py is its shell.

Owns the board and the liveness of one leadership, and what each session was told last. Reads no clock: times come in,
in nanoseconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from itertools import count
from typing import Final, NamedTuple

import msgspec

from cluster.model.assignments import Assignments, Item, SessionMessage, SessionState
from cluster.model.changes import Kind
from cluster.model.errors import ClusterError, NodeRemoved, Unavailable
from cluster.model.ids import NodeId
from cluster.model.objects import Node, NodeDescription, NodeState, NodeStatus
from cluster.model.specs import Role
from manager.dispatcher.assignments import DATA_PER_MESSAGE_BYTES, WITH_DATA, Board, data_bytes
from manager.dispatcher.liveness import Liveness
from manager.store import Batch, Store

ITEMS_PER_MESSAGE: Final = 4096  # keeps a message below the wire's frame


class Told(NamedTuple):
    """What a commit means for sessions: who has something to be sent, whose SessionState has to be looked at again, and
    whose session ends and why."""

    wake: tuple[NodeId, ...]
    look: tuple[NodeId, ...]
    everyone: bool
    ended: tuple[tuple[NodeId, ClusterError], ...]


class Desk:
    """Made with the store as it is; `begin` looks at it anew. `leader_address`: of the manager that leads, as it is now. `name`: no
    other desk of the cluster has it."""

    def __init__(self, store: Store, leader_address: Callable[[], str], name: str = "") -> None:
        self._store = store
        self._leader_address = leader_address
        self._streams = map(f"{name}.{{}}".format, count(1))
        self.board = Board(())
        self.liveness = Liveness()
        self._managers: tuple[str, ...] = ()

    def begin(self, open_sessions: Container[NodeId], now_ns: int) -> None:
        """Look at the whole store. Batches from now on are to be fed."""
        self.board = Board((item for kind in Kind for item in self._store.all(kind)), self._streams)
        self._managers = self._manager_addresses()
        for node in self._store.all(Kind.NODE):
            if node.status.state is not NodeState.DOWN and node.id not in open_sessions:
                self.liveness.unknown(node.id, now_ns)

    def feed(self, batches: Iterable[Batch]) -> Told:
        """Take in what was committed. Sessions whose SessionState may have changed look again; those of removed nodes
        end, and those of nodes that count as down."""
        events = [event for batch in batches for event in batch.events]
        wake = self.board.feed(events)
        look: dict[NodeId, None] = {}
        ended: list[tuple[NodeId, ClusterError]] = []
        everyone = False
        for event in events:
            if event.kind is Kind.CLUSTER:
                everyone = True
            elif event.kind is Kind.NODE:
                node_id = NodeId(event.id)
                before, after = (o if isinstance(o, Node) else None for o in (event.before, event.after))
                everyone = everyone or (before and before.manager) != (after and after.manager)
                look[node_id] = None
                if after is None:
                    ended.append((node_id, NodeRemoved(f"node {node_id} is not of this swarm")))
                    self.liveness.forget(node_id)
                    self.board.forget(node_id)
                elif self._is_down(node_id):
                    self.board.forget(node_id)
                    ended.append((node_id, Unavailable("the node counted as down: open a session again")))
        if everyone:
            self._managers = self._manager_addresses()
        return Told(wake, tuple(look), everyone, tuple(ended))

    def closed(self, node_id: NodeId, now_ns: int, silent_ns: int) -> tuple[NodeId, ...]:
        """The node's last session is over, after it had been silent for so long. Returns the nodes that have something
        to be sent because of it."""
        if self._store.get(Kind.NODE, node_id) is not None:
            self.liveness.closed(node_id, now_ns, silent_ns)
        woken = self.board.close(node_id)
        if self._store.get(Kind.NODE, node_id) is None or self._is_down(node_id):
            self.board.forget(node_id)
        return woken

    def member(self, node_id: NodeId) -> Node:
        """Raises NodeRemoved for a node that is not of the cluster."""
        node = self._store.get(Kind.NODE, node_id)
        if node is None:
            raise NodeRemoved(f"node {node_id} is not of this swarm")
        return node

    def state(self, node_id: NodeId) -> SessionState:
        node = self.member(node_id)
        cluster = self._store.all(Kind.CLUSTER)[0]
        return SessionState(
            node_id=node_id,
            managers=self._managers,
            heartbeat_ns=cluster.spec.dispatcher_heartbeat_ns,
            role=node.role.value,
            availability=node.spec.availability.value,
            root_ca_pem=cluster.root_ca_pem,
            data_path_port=cluster.data_path_port,
            network_keys=cluster.network_keys,
            issuer=cluster.rotation.issuer if cluster.rotation is not None else "",
            tls=node.tls,
            stream=self.board.stream(node_id),
        )

    def _manager_addresses(self) -> tuple[str, ...]:
        """Where managers are, the one that leads first."""
        known = [node.manager.address for node in self._store.all(Kind.NODE) if node.manager is not None and node.manager.address]
        return tuple(sorted(known, key=lambda address: address != self._leader_address()))

    def _is_down(self, node_id: NodeId) -> bool:
        """As the store knows it now: an event may be older than the session."""
        node = self._store.get(Kind.NODE, node_id)
        return node is not None and node.status.state is NodeState.DOWN


class Telling:
    """What one session is told, in order: `first`, then `more` whenever it was woken."""

    def __init__(self, desk: Desk, node_id: NodeId) -> None:
        self._desk = desk
        self._node_id = node_id
        self._state: SessionState | None = None
        self._version = 0

    def first(self, stream: str = "", version: int = 0) -> tuple[SessionMessage, ...]:
        """The node's state, then everything that it is assigned now; or, for an agent that has a version that is still known, what it missed.
        Raises PermissionDenied for a node that is not of the cluster."""
        self._desk.member(self._node_id)
        messages = self._resumed(stream, version) or self._complete()
        self._version = messages[-1].results_in
        self._state = self._desk.state(self._node_id)
        return (self._state, *messages)

    def _resumed(self, stream: str, version: int) -> tuple[Assignments, ...]:
        """Empty when it cannot be: a session that goes on says so by a message without a change."""
        missed = self._desk.board.resume(self._node_id, stream, version)
        if missed is None:
            return ()
        deltas = (Assignments(False, number, number + 1, *delta) for number, delta in enumerate(missed, version))
        return (Assignments(False, version, version), *deltas)

    def _complete(self) -> tuple[Assignments, ...]:
        messages = complete_messages(self._desk.board.open(self._node_id))
        self._desk.board.opened(self._node_id, messages[-1].results_in)
        return messages

    def more(self, *, look: bool) -> tuple[SessionMessage, ...]:
        """What has changed; `look`: its state may have, too."""
        told: list[SessionMessage] = []
        if look and (state := self._desk.state(self._node_id)) != self._state:
            self._state = state
            told.append(state)
        while any(delta := self._desk.board.take(self._node_id)):
            told.append(Assignments(False, self._version, self._version + 1, delta.upserts, delta.removals))
            self._version += 1
        return tuple(told)


def ready(node: Node, address: str, description: NodeDescription, wall_ns: int) -> Node:
    """The node as it is with a session."""
    status = NodeStatus(NodeState.READY, address=address)
    if (node.status, node.description) == (status, description):
        return node
    meta = msgspec.structs.replace(node.meta, updated_at_ns=wall_ns)
    return msgspec.structs.replace(node, status=status, description=description, meta=meta)


def described(node: Node, description: NodeDescription, wall_ns: int) -> Node:
    """The node as its agent says that its machine is now."""
    if node.description == description:
        return node
    meta = msgspec.structs.replace(node.meta, updated_at_ns=wall_ns)
    return msgspec.structs.replace(node, description=description, meta=meta)


def noted(node: Node, message: str, wall_ns: int) -> Node:
    """The node is as it was, and this is to be known of it."""
    if node.status.message == message:
        return node
    meta = msgspec.structs.replace(node.meta, updated_at_ns=wall_ns)
    return msgspec.structs.replace(node, meta=meta, status=msgspec.structs.replace(node.status, message=message))


def down(node: Node, message: str, wall_ns: int) -> Node:
    """The node as it is when it counts as down."""
    if node.status.state is NodeState.DOWN:
        return node
    status = msgspec.structs.replace(node.status, state=NodeState.DOWN, message=message)
    return msgspec.structs.replace(node, status=status, meta=msgspec.structs.replace(node.meta, updated_at_ns=wall_ns))


def left(node: Node, wall_ns: int) -> Node:
    """The node as it is when it has left the swarm: no manager any more."""
    spec = msgspec.structs.replace(node.spec, role=Role.WORKER)
    return msgspec.structs.replace(down(node, "node left the swarm", wall_ns), spec=spec)


def complete_messages(items: tuple[Item, ...]) -> tuple[Assignments, ...]:
    """The complete set as one message; what is more than a message holds follows as deltas."""
    starts = [0]
    if WITH_DATA.isdisjoint(map(type, items)):  # as the many of them are, and nodes that come back are many
        starts = list(range(0, max(len(items), 1), ITEMS_PER_MESSAGE))
    else:
        size = 0
        for position, item in enumerate(items):
            size += data_bytes(item)
            if size > DATA_PER_MESSAGE_BYTES or position - starts[-1] == ITEMS_PER_MESSAGE:
                starts.append(position)
                size = data_bytes(item)
    bounds = zip(starts, (*starts[1:], len(items)), strict=True)
    return tuple(Assignments(start == 0, number, number + 1, items[start:end]) for number, (start, end) in enumerate(bounds))
