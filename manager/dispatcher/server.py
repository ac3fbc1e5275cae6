"""The dispatcher: sessions with agents, their reports, and who is down. The shell around assignments.py and
liveness.py.

Serves the agent.* calls. Owns the board, the sessions and the clock's reading; decides nothing itself. Its time is
trio's (monotonic), except for the times that go into objects, which `wall_ns` gives.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from ipaddress import ip_address
from typing import Final

import msgspec
import trio

from cluster.model.assignments import Assignments, Item, SessionMessage, SessionState
from cluster.model.changes import Kind, updated
from cluster.model.errors import ClusterError, InvalidArgument, NotFound, OutOfSequence, PermissionDenied, Unavailable
from cluster.model.ids import NodeId, TaskId
from cluster.model.objects import Network, Node, NodeState, NodeStatus
from cluster.model.specs import Role
from cluster.wire.calls import PROTOCOL_VERSION, Applied, Attach, Attached, Describe, KeepAttachments, Nothing, OpenSession, Text, UpdateStatuses
from cluster.wire.peer import Caller
from manager.dispatcher import containers
from manager.dispatcher.assignments import Board
from manager.dispatcher.liveness import Liveness
from manager.dispatcher.sessions import Session, Sessions
from manager.dispatcher.statuses import Reports
from manager.raft.driver import Driver
from manager.store import Batch, Store, Watch, WatchLagged

ITEMS_PER_MESSAGE: Final = 4096  # keeps a message below the wire's frame
ATTACH_BOUND_S: Final = 20.0  # as long as Docker waits for a container's address on an overlay
NODE_UPDATE_TRIES: Final = 16  # a node's object changed under us this often: give up
DRAIN_BOUND_S: Final = 2.0  # how long a task that drains is kept for nodes that do not acknowledge (Docker: always that long)

log = logging.getLogger("manager.dispatcher")


class Dispatcher:
    """One manager's dispatcher. Made with the store as it is now; `run` must be running while it serves."""

    def __init__(self, store: Store, driver: Driver, wall_ns: Callable[[], int]) -> None:
        self._store = store
        self._driver = driver
        self._wall_ns = wall_ns
        self._sessions = Sessions()
        self._liveness = Liveness()
        self._liveness_changed = trio.Event()
        self._reports = Reports(store, driver.propose)
        self._watch: Watch = store.watch()
        self._draining: deque[tuple[float, TaskId]] = deque()  # (when its bound is reached, task), in that order
        self._drain_begun = trio.Event()
        self._begin()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the board, propose reports, notice missing nodes, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow)
                nursery.start_soon(self._reports.run)
                nursery.start_soon(self._miss)
                nursery.start_soon(self._bound_drains)
                task_status.started()
        finally:
            self._watch.close()

    def session_of(self, node_id: NodeId) -> Session | None:
        """The node's open session; None while it has none."""
        return self._sessions.get(node_id)

    # -- calls ------------------------------------------------------------------------------------------------------

    async def session(self, caller: Caller, request: OpenSession) -> AsyncGenerator[SessionMessage, None]:
        """agent.session: the node's state, its complete assignments, then what changes. A new session of the node
        replaces the old one. Raises PermissionDenied for a node that is not of the cluster."""
        if request.protocol != PROTOCOL_VERSION:
            raise InvalidArgument(f"this manager speaks protocol {PROTOCOL_VERSION}, the agent {request.protocol}")
        node_id = NodeId(caller.node_id)
        await self._ready(node_id, request, caller)
        session = self._sessions.open(node_id, caller.peer)
        caller.peer.forgive(self._liveness.opened(node_id, _now_ns()) / 1e9)
        log.info("session opened", extra={"fields": {"node": node_id, "address": caller.address}})
        try:
            told = self._state(node_id)
            yield told
            messages = _complete(self._board.open(node_id))
            version = messages[-1].results_in
            self._board.opened(node_id, version)
            for message in messages:
                yield message
            while True:
                await session.wait()
                if session.state_changed:
                    session.state_changed = False
                    if (state := self._state(node_id)) != told:
                        told = state
                        yield told
                delta = self._board.take(node_id)
                if delta.upserts or delta.removals:
                    yield Assignments(False, version, version + 1, delta.upserts, delta.removals)
                    version += 1
        finally:
            self._closed(session)

    async def statuses(self, caller: Caller, request: UpdateStatuses) -> Nothing:
        """agent.statuses: answered when the reports are durable."""
        await self._reports.submit(NodeId(caller.node_id), request.updates)
        return Nothing()

    async def applied(self, caller: Caller, request: Applied) -> Nothing:
        """agent.applied: the node serves its networks as of this version of its session."""
        node_id = NodeId(caller.node_id)
        session = self._sessions.get(node_id)
        if session is not None and session.peer is caller.peer:
            self._wake(self._board.acknowledge(node_id, request.version))
        return Nothing()

    async def attach(self, caller: Caller, request: Attach) -> Attached:
        """agent.attach: a container of the node's own gets an address on an attachable overlay, or Raises why not."""
        node_id = NodeId(caller.node_id)
        network = self._store.find(Kind.NETWORK, request.network)
        assert isinstance(network, Network)
        containers.check(request, network)
        watch = self._store.watch()
        try:
            await self._change_node(node_id, lambda node: containers.added(node, request, network))
            with trio.move_on_after(ATTACH_BOUND_S):
                while (given := containers.outcome(self._member(node_id), request.id)) is None:
                    await watch.next()
                return given
            raise Unavailable(f"no address was given on network {network.spec.name} within {ATTACH_BOUND_S:g} s")
        except (ClusterError, WatchLagged, trio.Cancelled) as failure:
            with trio.CancelScope(shield=True):
                await self._change_node(node_id, lambda node: containers.without(node, (request.id,)))
            if isinstance(failure, WatchLagged):
                raise Unavailable("the manager is too busy: try again") from failure
            raise
        finally:
            watch.close()

    async def detach(self, caller: Caller, request: Text) -> Nothing:
        """agent.detach: an attachment of the node's own is over."""
        await self._change_node(NodeId(caller.node_id), lambda node: containers.without(node, (request.text,)))
        return Nothing()

    async def keep_attachments(self, caller: Caller, request: KeepAttachments) -> Nothing:
        """agent.keep_attachments: all others of the node are over."""
        await self._change_node(NodeId(caller.node_id), lambda node: containers.only(node, frozenset(request.ids)))
        return Nothing()

    async def heartbeat(self, caller: Caller, request: Nothing) -> Nothing:
        """agent.heartbeat: whether the node has a session here. Raises Unavailable when it has to open one."""
        if self._sessions.get(NodeId(caller.node_id)) is None:
            raise Unavailable(f"node {caller.node_id} has no session")
        return Nothing()

    async def describe(self, caller: Caller, request: Describe) -> Nothing:
        """agent.describe: what the node says of its machine, between the beginnings of sessions."""

        def described(node: Node) -> Node:
            if node.description == request.description:
                return node
            meta = msgspec.structs.replace(node.meta, updated_at_ns=self._wall_ns())
            return msgspec.structs.replace(node, description=request.description, meta=meta)

        await self._change_node(NodeId(caller.node_id), described)
        return Nothing()

    async def leave(self, caller: Caller, request: Nothing) -> Nothing:
        """agent.leave: the node is down from now on, without any grace, and no manager any more."""
        node_id = NodeId(caller.node_id)
        self._sessions.end(node_id, Unavailable("the node has left the swarm"))
        await self._change_node(node_id, lambda node: _left(node, self._wall_ns()))
        self._liveness.forget(node_id)
        log.info("node left", extra={"fields": {"node": node_id}})
        return Nothing()

    # -- the board --------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Look at the whole store. No await between the watch's beginning and this."""
        self._board = Board(item for kind in Kind for item in self._store.all(kind))
        self._note_drains()
        self._managers = self._manager_addresses()
        now_ns = _now_ns()
        for node in self._store.all(Kind.NODE):
            if node.status.state is not NodeState.DOWN and self._sessions.get(node.id) is None:
                self._liveness.unknown(node.id, now_ns)
        self._liveness_changed.set()

    async def _follow(self) -> None:
        while True:
            try:
                batches = await self._watch.next()
            except WatchLagged:
                log.warning("the dispatcher fell behind the store: all sessions begin anew")
                self._sessions.end_all(Unavailable("the manager begins anew"))
                self._begin()
                continue
            self._wake(self._board.feed(event for batch in batches for event in batch.events))
            self._note_drains()
            self._follow_nodes(batches)

    def _wake(self, node_ids: Iterable[NodeId]) -> None:
        for node_id in node_ids:
            self._sessions.wake(node_id)

    def _note_drains(self) -> None:
        until = trio.current_time() + DRAIN_BOUND_S
        self._draining.extend((until, task_id) for task_id in self._board.newly_held())
        self._drain_begun.set()

    async def _bound_drains(self) -> None:
        """Let tasks go whose bound is reached."""
        while True:
            self._drain_begun = trio.Event()
            with trio.move_on_at(self._draining[0][0] if self._draining else float("inf")):
                await self._drain_begun.wait()
            while self._draining and self._draining[0][0] <= trio.current_time():
                self._wake(self._board.give_up(self._draining.popleft()[1]))

    def _follow_nodes(self, batches: Iterable[Batch]) -> None:
        """Sessions whose SessionState may have changed look again; those of removed nodes end."""
        everyone = False
        for event in (event for batch in batches for event in batch.events):
            if event.kind is Kind.CLUSTER:
                everyone = True
            elif event.kind is Kind.NODE:
                node_id = NodeId(event.id)
                before, after = (o if isinstance(o, Node) else None for o in (event.before, event.after))
                everyone = everyone or (before and before.manager) != (after and after.manager)
                self._sessions.wake(node_id, state_changed=True)
                if after is None:
                    self._sessions.end(node_id, PermissionDenied(f"node {node_id} is not of this swarm"))
                    self._liveness.forget(node_id)
                elif self._is_down(node_id):
                    self._sessions.end(node_id, Unavailable("the node counted as down: open a session again"))
        if everyone:
            self._managers = self._manager_addresses()
            self._sessions.wake_all()

    def _state(self, node_id: NodeId) -> SessionState:
        node = self._member(node_id)
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
        )

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _manager_addresses(self) -> tuple[str, ...]:
        """Where managers are, this one first: it leads."""
        known = [node.manager.address for node in self._store.all(Kind.NODE) if node.manager is not None and node.manager.address]
        return tuple(sorted(known, key=lambda address: address != self._driver.leader_address))

    def _member(self, node_id: NodeId) -> Node:
        node = self._store.get(Kind.NODE, node_id)
        if node is None:
            raise PermissionDenied(f"node {node_id} is not of this swarm")
        return node

    def _is_down(self, node_id: NodeId) -> bool:
        """As the store knows it now: an event may be older than the session."""
        node = self._store.get(Kind.NODE, node_id)
        return node is not None and node.status.state is NodeState.DOWN

    async def _ready(self, node_id: NodeId, request: OpenSession, caller: Caller) -> None:
        address = request.advertise_address or caller.address
        try:
            ip_address(address)
        except ValueError as error:
            raise InvalidArgument(f"invalid advertise address {address!r}") from error
        status = NodeStatus(NodeState.READY, address=address)

        def ready(node: Node) -> Node:
            if (node.status, node.description) == (status, request.description):
                return node
            meta = msgspec.structs.replace(node.meta, updated_at_ns=self._wall_ns())
            return msgspec.structs.replace(node, status=status, description=request.description, meta=meta)

        await self._change_node(node_id, ready)

    async def _change_node(self, node_id: NodeId, change: Callable[[Node], Node]) -> None:
        """Propose the node as `change` makes it, again when it changed meanwhile."""
        for _ in range(NODE_UPDATE_TRIES):
            node = self._member(node_id)
            after = change(node)
            if after == node:
                return
            try:
                await self._driver.propose((updated(after),))
            except OutOfSequence:
                continue
            return
        raise Unavailable(f"node {node_id} changes too often")

    def _closed(self, session: Session) -> None:
        if self._sessions.close(session):
            self._wake(self._board.close(session.node_id))
            if self._store.get(Kind.NODE, session.node_id) is not None:
                self._liveness.closed(session.node_id, _now_ns(), int(session.peer.silent_s * 1e9))
                self._liveness_changed.set()
            log.info("session closed", extra={"fields": {"node": session.node_id, "silent_s": round(session.peer.silent_s, 1)}})

    async def _miss(self) -> None:
        """Mark nodes down when their grace is over."""
        while True:
            self._liveness_changed = trio.Event()
            deadline_ns = self._liveness.deadline_ns()
            with trio.move_on_at(deadline_ns / 1e9 if deadline_ns is not None else float("inf")):
                await self._liveness_changed.wait()
            for node_id in self._liveness.expire(_now_ns()):
                await self._lost(node_id)

    async def _lost(self, node_id: NodeId) -> None:
        log.warning("node is down", extra={"fields": {"node": node_id}})
        try:
            await self._change_node(node_id, lambda node: _down(node, "heartbeat failure", self._wall_ns()))
        except (NotFound, PermissionDenied):
            return  # it has been removed meanwhile
        except ClusterError as error:
            log.error("cannot mark a node down", extra={"fields": {"node": node_id, "error": error.message}})
            self._liveness.closed(node_id, _now_ns())


def _now_ns() -> int:
    return int(trio.current_time() * 1e9)


def _down(node: Node, message: str, now_ns: int) -> Node:
    if node.status.state is NodeState.DOWN:
        return node
    status = msgspec.structs.replace(node.status, state=NodeState.DOWN, message=message)
    return msgspec.structs.replace(node, status=status, meta=msgspec.structs.replace(node.meta, updated_at_ns=now_ns))


def _left(node: Node, now_ns: int) -> Node:
    spec = msgspec.structs.replace(node.spec, role=Role.WORKER)
    return msgspec.structs.replace(_down(node, "node left the swarm", now_ns), spec=spec)


def _complete(items: tuple[Item, ...]) -> tuple[Assignments, ...]:
    """The complete set as one message; what is more than a message holds follows as deltas."""
    starts = range(0, max(len(items), 1), ITEMS_PER_MESSAGE)
    return tuple(Assignments(start == 0, number, number + 1, items[start : start + ITEMS_PER_MESSAGE]) for number, start in enumerate(starts))
