"""What a manager does while it leads: the real planner and dispatcher on simulated time. The sibling of manager/leader.py
and manager/dispatcher/server.py; it ends with the leadership.

Owns the sessions of agents, the proposals that are under way, and when to look again. Decides nothing: Planning, Desk
and `accept` do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from cluster.model.assignments import SessionMessage
from cluster.model.changes import Change, Kind, updated
from cluster.model.errors import ClusterError, Conflict, NotFound, OutOfSequence, PermissionDenied, Unavailable
from cluster.model.ids import NodeId, TaskId
from cluster.model.objects import Node, Task
from cluster.wire.calls import Applied, IssueCertificate, IssuedCertificate, OpenSession, UpdateStatuses
from manager.dispatcher import desk
from manager.dispatcher.desk import Desk, Telling
from manager.dispatcher.statuses import REPORTS_PER_PROPOSAL, Updates
from manager.planning import Planning
from manager.raft.effects import Answer
from manager.store import Batch, Event, Store, WatchLagged
from sim.checks.soundness import check_index
from sim.checks.tasks import check_planned
from sim.network import Connection
from sim.world import SECOND

if TYPE_CHECKING:
    from sim.manager import Manager

MANAGER_SIDE: Final = 1
RETRY_NS: Final = SECOND
DRAIN_BOUND_NS: Final = 2 * SECOND
NODE_UPDATE_TRIES: Final = 16

Alter = Callable[[Node], Node]
Then = Callable[[ClusterError | None], None]


class Session:
    """One agent's, open."""

    __slots__ = ("connection", "node_id", "telling")

    def __init__(self, node_id: NodeId, connection: Connection, telling: Telling) -> None:
        self.node_id = node_id
        self.connection = connection
        self.telling = telling

    def send(self, messages: Iterable[SessionMessage]) -> None:
        for message in messages:
            self.connection.send(MANAGER_SIDE, message)



class Reign:
    """One leadership of one manager."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.over = False
        self.sessions: dict[NodeId, Session] = {}
        self._watch = manager.store.watch()
        term = manager.member.raft.term if manager.member else 0
        self._desk = Desk(manager.store, lambda: manager.member.leader_address if manager.member else "", f"{term}")
        self._planning = Planning(manager.store, manager.draws, manager.draws)
        self._events: list[Event] = []
        self._planning_busy = False
        self._plan_due_ns: int | None = None
        self._reports: list[tuple[Session, Updates]] = []
        self._reporting = False
        self._missed_due_ns: int | None = None
        self._desk.begin((), self._now())
        self._note_drains()
        self._watch_missing()
        self._plan()

    def end(self) -> None:
        self.over = True
        self._watch.close()
        for session in self.sessions.values():
            session.connection.close(MANAGER_SIDE)
        self.sessions.clear()

    def _now(self) -> int:
        return self.manager.world.now_ns

    def _later(self, delay_ns: int, action: Callable[..., object], *arguments: object) -> None:
        self.manager.process.later(delay_ns, self._if_reigning, action, arguments)

    def _if_reigning(self, action: Callable[..., object], arguments: tuple[object, ...]) -> None:
        if not self.over:
            action(*arguments)

    # -- what was committed

    def follow(self) -> None:
        """Take in what this manager's store has done since the last time."""
        try:
            batches = self._watch.take()
        except WatchLagged:
            self._begin_anew()
            return
        if batches:
            self._tell(batches)
            self._events.extend(event for batch in batches for event in batch.events)
            self._plan()

    def _begin_anew(self) -> None:
        for session in tuple(self.sessions.values()):
            self._end_session(session)
        self._desk.begin(self.sessions, self._now())
        self._events.clear()
        self._planning.begin()
        self._plan()

    def _tell(self, batches: tuple[Batch, ...]) -> None:
        told = self._desk.feed(batches)
        self._note_drains()
        look = dict.fromkeys(self.sessions if told.everyone else told.look)
        self._send_more(dict.fromkeys((*told.wake, *look)), look)
        for node_id, _ in told.ended:
            if (session := self.sessions.get(node_id)) is not None:
                self._end_session(session)

    def _send_more(self, node_ids: Iterable[NodeId], look: Iterable[NodeId] = ()) -> None:
        for node_id in node_ids:
            session = self.sessions.get(node_id)
            if session is None:
                continue
            try:
                session.send(session.telling.more(look=node_id in look))
            except PermissionDenied:
                self._end_session(session)

    # -- planning

    def _plan(self) -> None:
        """As leader.py: one proposal under way; then on the next event, or at the planner's deadline."""
        if self._planning_busy:
            return
        events, self._events = tuple(self._events), []
        wall_ns = self.manager.wall_ns()
        made = self._planning.plan(events, wall_ns, self._now())
        if not self.manager.cluster.is_large:
            check_planned(self.manager.store, _as_events(self.manager.store, made.changes), self._planning.now_ns(wall_ns, self._now()))
        changes = self.manager.cluster.parts.policy.place(self._planning.index, made.changes, wall_ns)
        if changes:
            self._planning_busy = True
            self.manager.propose(changes, self._planned)
        elif made.deadline_ns is not None:
            self._plan_at(self._now() + self._planning.wait_ns(made.deadline_ns, wall_ns, self._now()))

    def check_index(self) -> None:
        """Raises Broken."""
        if not self._planning_busy and not self._events:
            check_index(self.manager.store, self._planning.index)

    def _planned(self, answer: Answer) -> None:
        self._planning_busy = False
        if self.over:
            return
        if isinstance(answer, ClusterError) and not isinstance(answer, (OutOfSequence, Conflict, NotFound)):
            self._plan_at(self._now() + RETRY_NS)
        self.follow()  # what the plan did is known before the next one is made
        if self._events:
            self._plan()

    def _plan_at(self, at_ns: int) -> None:
        if self._plan_due_ns is not None and self._now() <= self._plan_due_ns <= at_ns:
            return
        self._plan_due_ns = at_ns
        self._later(at_ns - self._now(), self._plan_is_due, at_ns)

    def _plan_is_due(self, at_ns: int) -> None:
        if self._plan_due_ns == at_ns:
            self._plan_due_ns = None
            self._plan()

    # -- agents

    def hear(self, connection: Connection, node_id: NodeId, message: object) -> None:
        """What an agent says."""
        session = self.sessions.get(node_id)
        if isinstance(message, OpenSession):
            self._open(connection, node_id, message)
        elif isinstance(message, IssueCertificate):
            self._renew(connection, node_id)
        elif session is None or session.connection is not connection:
            connection.close(MANAGER_SIDE)
        elif isinstance(message, UpdateStatuses):
            self._reports.append((session, message.updates))
            self._report()
        elif isinstance(message, Applied):
            self._send_more(self._desk.board.acknowledge(node_id, message.version))

    def _open(self, connection: Connection, node_id: NodeId, request: OpenSession) -> None:
        def change(node: Node) -> Node:
            return desk.ready(node, request.advertise_address, request.description, self.manager.wall_ns())

        def opened(error: ClusterError | None) -> None:
            if self.over or connection.closed[MANAGER_SIDE]:
                return
            if error is not None:
                connection.close(MANAGER_SIDE)
                return
            if (old := self.sessions.get(node_id)) is not None:
                self._end_session(old)
            try:
                telling = Telling(self._desk, node_id)
                session = self.sessions[node_id] = Session(node_id, connection, telling)
                self._desk.liveness.opened(node_id, self._now())
                session.send(telling.first(request.stream, request.version))
                self._send_more((node_id,))
            except PermissionDenied:
                self._end_session(self.sessions[node_id])

        self._change_node(node_id, change, opened)

    def _renew(self, connection: Connection, node_id: NodeId) -> None:
        """As ca/server.py: the node is told of its certificate when it is committed. (What a certificate is does not matter here.)"""
        until = f"from {self.manager.wall_ns()}"

        def renewed(error: ClusterError | None) -> None:
            if error is None and not self.over:
                connection.send(MANAGER_SIDE, IssuedCertificate(node_id, "", "", until, ""))
            else:
                connection.close(MANAGER_SIDE)

        self._change_node(node_id, lambda node: msgspec.structs.replace(node, certificate_pem=until), renewed)

    def closed(self, connection: Connection, node_id: NodeId) -> None:
        """The agent's connection is over."""
        session = self.sessions.get(node_id)
        if session is not None and session.connection is connection:
            self._end_session(session)

    def _end_session(self, session: Session) -> None:
        del self.sessions[session.node_id]
        session.connection.close(MANAGER_SIDE)
        self._send_more(self._desk.closed(session.node_id, self._now(), 0))
        self._watch_missing()

    def _change_node(self, node_id: NodeId, change: Alter, then: Then, tries: int = NODE_UPDATE_TRIES) -> None:
        node = self.manager.store.get(Kind.NODE, node_id)
        if node is None:
            then(PermissionDenied(f"node {node_id} is not of this swarm"))
            return
        after = change(node)
        if after == node:
            then(None)
            return

        def answered(answer: Answer) -> None:
            if isinstance(answer, OutOfSequence) and tries > 1 and not self.over:
                self._change_node(node_id, change, then, tries - 1)
            else:
                then(answer if isinstance(answer, ClusterError) else None)

        self.manager.propose((updated(after),), answered)

    # -- reports

    def _report(self) -> None:
        """As statuses.py's queue: all that waits becomes proposals, one after the other."""
        if self._reporting or not self._reports:
            return
        self._reporting = True
        reports, self._reports = self._reports, []
        changes = self.manager.cluster.parts.accept(self.manager.store, ((session.node_id, updates) for session, updates in reports))
        self._propose_reports(changes, 0, reports)

    def _propose_reports(self, changes: tuple[Change, ...], start: int, reports: list[tuple[Session, Updates]]) -> None:
        if start >= len(changes):
            self._reported(reports, durable=True)
            return

        def answered(answer: Answer) -> None:
            if isinstance(answer, ClusterError):
                self._reported(reports, durable=False)
            elif not self.over:
                self._propose_reports(changes, start + REPORTS_PER_PROPOSAL, reports)

        self.manager.propose(changes[start : start + REPORTS_PER_PROPOSAL], answered)

    def _reported(self, reports: list[tuple[Session, Updates]], *, durable: bool) -> None:
        self._reporting = False
        if self.over:
            return
        for session, _ in reports:
            session.connection.send(MANAGER_SIDE, durable)
        self._report()

    # -- time

    def _note_drains(self) -> None:
        for task_id in self._desk.board.newly_held():
            self._later(DRAIN_BOUND_NS, self._give_up, task_id)

    def _give_up(self, task_id: TaskId) -> None:
        self._send_more(self._desk.board.give_up(task_id))

    def _watch_missing(self) -> None:
        due_ns = self._desk.liveness.deadline_ns()
        if due_ns is not None and (self._missed_due_ns is None or due_ns < self._missed_due_ns):
            self._missed_due_ns = due_ns
            self._later(max(0, due_ns - self._now()), self._miss, due_ns)

    def _miss(self, due_ns: int) -> None:
        if self._missed_due_ns == due_ns:
            self._missed_due_ns = None
        for node_id in self._desk.liveness.expire(self._now()):
            self._lost(node_id)
        self._watch_missing()

    def _lost(self, node_id: NodeId) -> None:
        def down(node: Node) -> Node:
            return node if node_id in self.sessions else desk.down(node, "heartbeat failure", self.manager.wall_ns())

        def then(error: ClusterError | None) -> None:
            if isinstance(error, Unavailable) and not self.over:
                self._desk.liveness.closed(node_id, self._now())
                self._watch_missing()

        self.manager.world.note(self.manager.name, f"node {node_id} is down")
        self._change_node(node_id, down, then)


def _as_events(store: Store, changes: Iterable[Change]) -> Iterator[Event]:
    """What the changes will have done, if they are committed."""
    for change in changes:
        if change.kind is Kind.TASK:
            after = change.after if isinstance(change.after, Task) else None
            yield Event(change.kind, change.id, store.get(Kind.TASK, change.id), after)
