"""What a manager does only while it leads, and who else does when it does not.

A reign begins with the leadership and ends with it: dispatcher, planner, control, log broker, role manager, and every
call that they serve. `Reigns` makes one after the other and stands in front of the calls: without a reign here they are
answered with NotLeader and the address of the one who leads. When nobody is known to lead, a call waits for that, so
that who asks need not ask again and again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from random import Random, SystemRandom
from time import time_ns
from typing import Any, Final, cast

import trio

from cluster.metrics import Histogram
from cluster.model.changes import Change, Kind, updated
from cluster.model.errors import NotLeader, PermissionDenied, Unavailable
from cluster.model.ids import NodeId
from cluster.model.objects import ManagerStatus
from cluster.model.specs import Role
from cluster.wire.calls import (
    CALLS,
    AskRaftLog,
    FilePiece,
    Ids,
    InUse,
    IssueCertificate,
    IssuedCertificate,
    JoinedManagers,
    JoinManagers,
    Nothing,
    Preview,
    PreviewAnswer,
    RaftLog,
    RaftStatus,
    SaveSnapshot,
    Why,
    WhyAnswer,
)
from cluster.wire.peer import Caller, Handler, Peer
from manager import explain, preview, raft_view, root_rotation
from manager.ca import rotation
from manager.capturing import pass_captures_on
from manager.control import joining
from manager.control.server import Control
from manager.dispatcher.server import Dispatcher
from manager.image_passing import ImagePassing
from manager.leader import Leader
from manager.log_broker import LogBroker
from manager.peers import Peers
from manager.raft.driver import Driver
from manager.raft.member import LOST
from manager.raft.membership import Member
from manager.raft_storage import saved
from manager.role_manager import RoleManager
from manager.store import Store
from manager.tracing import TraceBroker

LEADER_WAIT_S: Final = 3.0
"""How long a call waits for somebody to lead: two elections."""

LOCAL_CALLS: Final = frozenset({"ca.root", "raft.follow", "control.metrics", "control.raft_own", "control.stop"})
"""What every manager answers by itself."""

log = logging.getLogger("festoon.reign")


class Reign:
    """The parts of one leadership, made with the store as it is at its beginning. `run` must be running while it serves."""

    def __init__(self, store: Store, driver: Driver, peers: Peers, me: Member, scheduling_delays: Histogram, speak: int) -> None:
        self._store = store
        self._driver = driver
        self._peers = peers
        self._dispatcher = Dispatcher(store, driver, time_ns, scheduling_delays, speak)
        self._control = Control(store, driver, time_ns, SystemRandom(), self.managers)
        self._leader = Leader(store, driver, time_ns, Random(os.urandom(32)))  # noqa: S311  seeded by the system
        self._broker = LogBroker(store, self._dispatcher.session_of)
        self._images = ImagePassing(store, self._dispatcher.session_of, SystemRandom())
        self._tracing = TraceBroker(store, self._dispatcher.session_of, SystemRandom())
        self._roles = RoleManager(store, driver, me, time_ns)
        self.handlers: dict[str, Handler] = {
            "ca.issue": self._issue,
            "ca.in_use": self._in_use,
            "raft.join": self._join,
            "agent.session": self._dispatcher.session,
            "agent.statuses": self._dispatcher.statuses,
            "agent.applied": self._dispatcher.applied,
            "agent.attach": self._dispatcher.attach,
            "agent.detach": self._dispatcher.detach,
            "agent.keep_attachments": self._dispatcher.keep_attachments,
            "agent.describe": self._dispatcher.describe,
            "agent.heartbeat": self._dispatcher.heartbeat,
            "agent.leave": self._dispatcher.leave,
            "control.why": self._why,
            "control.preview": self._preview,
            "control.raft_status": self._raft_status,
            "control.raft_log": self._raft_log,
            "control.raft_snapshot": self._raft_snapshot,
            "control.logs": self._broker.logs,
            "control.trace": self._tracing.trace,
            "image.find": self._images.find,
            "image.read": self._images.read,
            "control.capture": pass_captures_on(store, self._dispatcher.session_of),
            **self._control.handlers(),
        }

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._dispatcher.run)
            await nursery.start(self._broker.run)
            await nursery.start(self._leader.run)
            nursery.start_soon(self._control.run)
            nursery.start_soon(self._roles.run)
            nursery.start_soon(root_rotation.run, self._store, self._driver, time_ns, SystemRandom())
            task_status.started()

    def managers(self) -> dict[str, ManagerStatus]:
        """Those who have a vote, by node: who leads, and who is heard."""
        own = self._driver.raft_id
        return {
            member.node_id: ManagerStatus(member.raft_id, member.address, member.raft_id == own, member.raft_id == own or self._peers.hears(member))
            for member in self._driver.membership.members
            if not member.learner
        }

    async def _issue(self, caller: Caller, request: IssueCertificate) -> IssuedCertificate:
        """ca.issue: a new node's first certificate, by its join token; or the next one of a node that has one."""
        issued: list[IssuedCertificate] = []
        shown_pem = caller.peer.certificate_pem()

        def decide(store: Store, asked: IssueCertificate, now_ns: int, entropy: Random) -> tuple[tuple[Change, ...], Ids]:
            made = joining.issue(store, asked, caller.node_id, shown_pem, now_ns, entropy)
            issued.append(made.answer)
            return made.changes, Ids(made.answer.node_id)

        await self._control.submit(decide, request)
        log.info("certificate issued", extra={"fields": {"node": issued[0].node_id, "address": caller.address}})
        return issued[0]

    async def _in_use(self, caller: Caller, request: InUse) -> Nothing:
        """ca.in_use: what the node uses, by the certificate that it calls with and what it says."""

        def decide(store: Store, asked: InUse, now_ns: int, entropy: Random) -> tuple[tuple[Change, ...], Ids]:
            node = store.get(Kind.NODE, NodeId(caller.node_id))
            assert node is not None, "admitted"
            return (updated(rotation.used(node, caller.peer.certificate_pem(), asked.root)),), Ids(node.id)

        await self._control.submit(decide, request)
        return Nothing()

    async def _join(self, caller: Caller, request: JoinManagers) -> JoinedManagers:
        """raft.join. Raises PermissionDenied for a node that is to be a worker."""
        node = self._store.get(Kind.NODE, NodeId(caller.node_id))
        if node is None or node.spec.role is not Role.MANAGER:
            raise PermissionDenied(f"node {caller.node_id} is not to be a manager of this swarm")
        return await self._peers.join(caller, request)

    async def _why(self, caller: Caller, request: Why) -> WhyAnswer:
        return explain.why(self._store, self._leader.reasons, request.reference)

    async def _preview(self, caller: Caller, request: Preview) -> PreviewAnswer:
        """control.preview: on a copy and in a thread, so that a large cluster goes on meanwhile. Raises what refuses a request."""
        await self._driver.wait_read()
        objects = tuple(obj for kind in Kind for obj in self._store.all(kind))
        scratch = partial(Store.of, self._store.index, objects)
        rng = Random(os.urandom(32))  # noqa: S311  as the planner's own
        return await trio.to_thread.run_sync(lambda: preview.preview(scratch(), request, time_ns(), rng))

    async def _raft_status(self, caller: Caller, request: Nothing) -> RaftStatus:
        return raft_view.status(self._store, self._driver, self._peers.hears)

    async def _raft_log(self, caller: Caller, request: AskRaftLog) -> RaftLog:
        return raft_view.log(self._driver, request)

    async def _raft_snapshot(self, caller: Caller, request: SaveSnapshot) -> AsyncGenerator[FilePiece, None]:
        await self._driver.wait_read()
        snapshot, cluster_id = self._driver.snapshot_now(), self._store.all(Kind.CLUSTER)[0].id
        pieces = saved.write(snapshot, request.key, cluster_id, time_ns())
        log.info("a snapshot is saved", extra={"fields": {"index": snapshot.index, "by": caller.node_id}})
        while (piece := await trio.to_thread.run_sync(next, pieces, None)) is not None:
            yield FilePiece(piece)


class Reigns:
    """This manager's reigns, one after the other, and the calls that they serve. `me`: this member, as it knows itself."""

    def __init__(self, store: Store, driver: Driver, peers: Peers, me: Member, speak: int) -> None:
        self._speak = speak
        self._store, self._driver, self._peers, self._me = store, driver, peers, me
        self._reign: Reign | None = None
        self._nursery: trio.Nursery | None = None
        self._scopes: set[trio.CancelScope] = set()  # of the calls that the present one serves
        self._streams: dict[trio.CancelScope, Peer] = {}
        self.scheduling_delays = Histogram()  # of all of them

    async def run(self) -> None:
        """Reign whenever this manager leads. Raises Unavailable when the driver stops."""
        while True:
            await self._driver.wait_leader()
            term = self._driver.term
            log.info("this manager leads", extra={"fields": {"term": term}})
            async with trio.open_nursery() as self._nursery:
                reign = Reign(self._store, self._driver, self._peers, self._me, self.scheduling_delays, self._speak)
                await self._nursery.start(reign.run)
                self._reign = reign
                self._peers.note_change()
                while self._driver.leader and self._driver.term == term:
                    await self._driver.wait_change()
                log.info("this manager leads no longer", extra={"fields": {"term": term}})
                self._reign = None
                self._nursery.cancel_scope.cancel()
            for scope in self._scopes:
                scope.cancel()

    def audience(self) -> frozenset[Peer]:
        """Those who listen to streams of this reign."""
        return frozenset(self._streams.values())

    def handlers(self) -> dict[str, Handler]:
        """Every call that only a leader serves, by name."""
        names = [name for name, call in CALLS.items() if not call.to_agent and name not in LOCAL_CALLS]
        return {name: self._stream(name) if CALLS[name].stream else self._call(name) for name in names}

    def _call(self, name: str) -> Handler:
        async def call(caller: Caller, request: Any) -> Any:
            reign = await self._wait_reign()
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                try:
                    return await cast(Any, reign.handlers[name])(caller, request)
                finally:
                    self._scopes.discard(scope)
            raise Unavailable(LOST)

        return call

    def _stream(self, name: str) -> Handler:
        async def stream(caller: Caller, request: Any) -> AsyncGenerator[Any, None]:
            reign = await self._wait_reign()
            assert self._nursery is not None
            scope, failures = trio.CancelScope(), list[Exception]()
            self._streams[scope] = caller.peer
            send, receive = trio.open_memory_channel[Any](0)
            self._nursery.start_soon(_feed, cast(Any, reign.handlers[name])(caller, request), scope, send, failures)
            try:
                async for item in receive:
                    yield item
            finally:
                del self._streams[scope]
                scope.cancel()
                receive.close()
            if failures:
                raise failures[0]
            if self._reign is not reign:
                await self._wait_leader()
                raise NotLeader(self._peers.leader_address)

        return stream

    async def _wait_reign(self) -> Reign:
        await self._wait_leader()
        if self._reign is None:
            raise NotLeader(self._peers.leader_address)
        return self._reign

    async def _wait_leader(self) -> None:
        """Until somebody reigns whom a caller can reach, or LEADER_WAIT_S is over."""
        with trio.move_on_after(LEADER_WAIT_S):
            while self._reign is None and self._peers.leader_address in ("", self._me.address):
                await self._peers.wait_change()


async def _feed(items: AsyncGenerator[Any, None], scope: trio.CancelScope, send: trio.MemorySendChannel[Any], failures: list[Exception]) -> None:
    """What a stream of the reign's says, as long as the reign lasts and somebody listens."""
    with scope, send:
        try:
            async with aclosing(items):
                async for item in items:
                    await send.send(item)
        except trio.BrokenResourceError:
            pass  # who listened has gone
        except Exception as failure:  # noqa: BLE001  a refusal or a bug: raised again at the stream's other end, where one call's bug ends that call
            failures.append(failure)
