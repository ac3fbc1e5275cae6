"""The dispatcher: sessions with agents, their reports, and who is down. The shell around desk.py.

Serves the agent.* calls. Owns the sessions and the clock's reading; decides nothing itself. Its time is
trio's (monotonic), except for the times that go into objects, which `wall_ns` gives.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from ipaddress import ip_address
from typing import Final

import trio

from cluster.metrics import Histogram
from cluster.model.assignments import SessionMessage
from cluster.model.changes import Kind, updated
from cluster.model.errors import ClusterError, Conflict, InvalidArgument, NotFound, OutOfSequence, PermissionDenied, Unavailable
from cluster.model.ids import NodeId, TaskId
from cluster.model.objects import Network, Node
from cluster.wire import versions
from cluster.wire.calls import Applied, Attach, Attached, Describe, KeepAttachments, Nothing, OpenSession, Text, UpdateStatuses
from cluster.wire.peer import Caller, Peer
from manager import clones
from manager.dispatcher import containers, desk
from manager.dispatcher.desk import Desk, Telling, Told
from manager.dispatcher.sessions import Session, Sessions
from manager.dispatcher.statuses import Reports
from manager.raft.driver import Driver
from manager.store import Store, Watch, WatchLagged

ATTACH_BOUND_S: Final = 20.0  # as long as Docker waits for a container's address on an overlay
NODE_UPDATE_TRIES: Final = 16  # a node's object changed under us this often: give up
DRAIN_BOUND_S: Final = 2.0  # how long a task that drains is kept for nodes that do not acknowledge (Docker: always that long)

log = logging.getLogger("manager.dispatcher")


class Dispatcher:
    """One manager's dispatcher. Made with the store as it is now; `run` must be running while it serves."""

    def __init__(self, store: Store, driver: Driver, wall_ns: Callable[[], int], scheduling_delays: Histogram, speak: int = versions.VERSION) -> None:
        self._speak = speak
        self._store = store
        self._driver = driver
        self._wall_ns = wall_ns
        self._sessions = Sessions()
        self._clones: dict[NodeId, str] = {}  # what was said of them last
        self._desk = Desk(store, lambda: driver.leader_address, f"{driver.term}")
        self._liveness_changed = trio.Event()
        self._reports = Reports(store, driver.propose, wall_ns, scheduling_delays)
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
        """agent.session: the node's state, its complete assignments or what it has missed, then what changes. A new session of the node
        replaces the old one, but not that of an agent that lives. Raises NodeRemoved for a node that is not of the cluster, FailedPrecondition for a
        version that is not understood, Conflict for a clone."""
        node_id = NodeId(caller.node_id)
        versions.check(self._speak, request.protocol, f"the agent of node {node_id}")
        await self._refuse_clone(node_id, request, caller)
        await self._ready(node_id, request, caller)
        session = self._sessions.open(node_id, caller.peer, request.process)
        caller.peer.forgive(self._desk.liveness.opened(node_id, _now_ns()) / 1e9)
        log.info("session opened", extra={"fields": {"node": node_id, "address": caller.address}})
        try:
            telling = Telling(self._desk, node_id)
            first = telling.first(request.stream, request.version)
            session.wake()  # what has come meanwhile is the next to be told
            for message in first:
                yield message
            while True:
                await session.wait()
                for told in telling.more(look=session.take_look()):
                    yield told
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
            self._wake(self._desk.board.acknowledge(node_id, request.version))
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
                while (given := containers.outcome(self._desk.member(node_id), request.id, network)) is None:
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
        await self._change_node(NodeId(caller.node_id), lambda node: desk.described(node, request.description, self._wall_ns()))
        return Nothing()

    async def leave(self, caller: Caller, request: Nothing) -> Nothing:
        """agent.leave: the node is down from now on, without any grace, and no manager any more."""
        node_id = NodeId(caller.node_id)
        self._sessions.end(node_id, Unavailable("the node has left the swarm"))
        await self._change_node(node_id, lambda node: desk.left(node, self._wall_ns()))
        self._desk.liveness.forget(node_id)
        log.info("node left", extra={"fields": {"node": node_id}})
        return Nothing()

    # -- the board --------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Look at the whole store. No await between the watch's beginning and this."""
        self._desk.begin(self._sessions, _now_ns())
        self._note_drains()
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
            self._tell(self._desk.feed(batches))
            self._note_drains()

    def _tell(self, told: Told) -> None:
        self._wake(told.wake)
        for node_id in told.look:
            self._sessions.wake(node_id, state_changed=True)
        for node_id, reason in told.ended:
            self._sessions.end(node_id, reason)
        if told.everyone:
            self._sessions.wake_all()

    def _wake(self, node_ids: Iterable[NodeId]) -> None:
        for node_id in node_ids:
            self._sessions.wake(node_id)

    def _note_drains(self) -> None:
        until = trio.current_time() + DRAIN_BOUND_S
        self._draining.extend((until, task_id) for task_id in self._desk.board.newly_held())
        self._drain_begun.set()

    async def _bound_drains(self) -> None:
        """Let tasks go whose bound is reached."""
        while True:
            self._drain_begun = trio.Event()
            with trio.move_on_at(self._draining[0][0] if self._draining else float("inf")):
                await self._drain_begun.wait()
            while self._draining and self._draining[0][0] <= trio.current_time():
                self._wake(self._desk.board.give_up(self._draining.popleft()[1]))

    # -- nodes ------------------------------------------------------------------------------------------------------

    async def _refuse_clone(self, node_id: NodeId, request: OpenSession, caller: Caller) -> None:
        """Raises Conflict when another agent with this node's identity is alive; who asks for the node's status reads so, too."""
        there = self._sessions.of_another(node_id, request.process) if request.process else None
        if there is None or self._goes_first(node_id, caller, there.peer) or not await clones.is_alive(there.peer):
            return
        said = clones.words("agents", "session", there.peer.address, caller.address)
        if self._clones.get(node_id) != said:  # who is refused asks again and again
            self._clones[node_id] = said
            log.warning("two agents with one identity", extra={"fields": {"node": node_id, "session": there.peer.address, "refused": caller.address}})
        await self._change_node(node_id, lambda node: desk.noted(node, said, self._wall_ns()))
        raise Conflict(said)

    def _goes_first(self, node_id: NodeId, caller: Caller, there: Peer) -> bool:
        seat = self._desk.member(node_id).manager
        return seat is not None and clones.goes_first(caller.address, there.address, clones.home(seat.address))

    async def _ready(self, node_id: NodeId, request: OpenSession, caller: Caller) -> None:
        address = request.advertise_address or caller.address
        try:
            ip_address(address)
        except ValueError as error:
            raise InvalidArgument(f"invalid advertise address {address!r}") from error
        await self._change_node(node_id, lambda node: desk.ready(node, address, request.description, self._wall_ns()))

    async def _change_node(self, node_id: NodeId, change: Callable[[Node], Node]) -> None:
        """Propose the node as `change` makes it, again when it changed meanwhile."""
        for _ in range(NODE_UPDATE_TRIES):
            node = self._desk.member(node_id)
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
            self._wake(self._desk.closed(session.node_id, _now_ns(), int(session.peer.silent_s * 1e9)))
            self._liveness_changed.set()
            log.info("session closed", extra={"fields": {"node": session.node_id, "silent_s": round(session.peer.silent_s, 1)}})

    async def _miss(self) -> None:
        """Mark nodes down when their grace is over."""
        while True:
            self._liveness_changed = trio.Event()
            deadline_ns = self._desk.liveness.deadline_ns()
            with trio.move_on_at(deadline_ns / 1e9 if deadline_ns is not None else float("inf")):
                await self._liveness_changed.wait()
            for node_id in self._desk.liveness.expire(_now_ns()):
                await self._lost(node_id)

    async def _lost(self, node_id: NodeId) -> None:
        """Unless it has come back while others were marked."""

        def down(node: Node) -> Node:
            return node if node_id in self._sessions else desk.down(node, "heartbeat failure", self._wall_ns())

        if node_id in self._sessions:
            return
        log.warning("node is down", extra={"fields": {"node": node_id}})
        try:
            await self._change_node(node_id, down)
        except (NotFound, PermissionDenied):
            return  # it has been removed meanwhile
        except ClusterError as error:
            log.error("cannot mark a node down", extra={"fields": {"node": node_id, "error": error.message}})
            self._desk.liveness.closed(node_id, _now_ns())


def _now_ns() -> int:
    return int(trio.current_time() * 1e9)
