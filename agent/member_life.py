"""The life of a member of a swarm: one cancel scope with its manager process (on managers), its session, its worker and its certificate's renewal.

Owns who the node is (its identity, on disk too), and what runs because of that; when a life begins and ends, agent/membership.py says. A life goes
on when the node's role changes: its manager process comes or goes.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from agent import addresses, membership_files
from agent.manager_keeper import ManagerKeeper
from agent.membership_files import Identity
from agent.node_key import NodeKey
from agent.renewal import Renewal
from agent.reporter import Reporter
from agent.session import Session, Told
from agent.task_logs import serve_logs
from agent.worker import Worker
from cluster.identity import seal_socket
from cluster.identity.contexts import Contexts
from cluster.identity.sealed_key import KeySealed
from cluster.model.assignments import SessionState
from cluster.model.errors import ClusterError
from cluster.model.objects import NodeDescription
from cluster.wire.calls import Describe, KeepAttachments, Nothing
from cluster.wire.peer import Caller, Handler

if TYPE_CHECKING:
    from agent.containers import Containers
    from agent.networks import Networks
    from agent.pulls import Pulls

log = logging.getLogger("festoon.membership")
replace = msgspec.structs.replace
REMOVED: Final = 'This node was removed from the swarm. Use "docker swarm leave" to leave it and "docker swarm join" to join it anew.'
ENDING_S: Final = 5.0
"""How long a manager that was unlocked and serves no more may take to end by itself."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Of the node, what a member's life is made with. `handlers`: of calls that managers make on this node, beside those of this module."""

    root: Path
    containers: Containers
    networks: Networks
    pulls: Pulls
    handlers: Mapping[str, Handler]
    speak: int  # see cluster/wire/versions.py


class MemberLife:
    """`identity`, `session` and `worker` while in a swarm; a session comes when the node's key is open. `refused`: the swarm has removed this node,
    and why it does nothing any more. `description` is what the managers are told of the machine."""

    def __init__(self, parts: Parts, manager: ManagerKeeper, description: NodeDescription) -> None:
        self._parts, self._manager = parts, manager
        self._root, self._networks = parts.root, parts.networks
        self._key = NodeKey(parts.root)
        self.description = description
        self.identity: Identity | None = None
        self.session: Session | None = None
        self.worker: Worker | None = None
        self.refused = ""
        self.nursery: trio.Nursery | None = None
        self._scope: trio.CancelScope | None = None
        self._ended, self._awake = trio.Event(), trio.Event()
        self._renewal: Renewal | None = None
        self._background: trio.Nursery | None = None
        self._changing_role = False

    async def wait_change(self) -> None:
        """Until there is a session, its managers have said something, or the role is another."""
        await self._awake.wait()

    def _note_change(self) -> None:
        self._awake.set()
        self._awake = trio.Event()

    def tell_soon(self, name: str, request: object) -> None:
        """Make this call in the background; without a manager it is not made."""
        if self.session is not None and self._background is not None:
            self._background.start_soon(self._tell, self.session, name, request)

    def forget(self) -> None:
        """The node is in no swarm any more."""
        self.identity, self.refused = None, ""

    def keep(self, identity: Identity) -> None:
        """This is who the node is, durably. Rare, and without an await: two tasks never write it at once."""
        self.identity = identity
        membership_files.save(self._root / "node", identity)

    async def begin(self, identity: Identity, *, running: bool = False) -> None:
        """Begin the life of a member; `running`: its manager was started just now."""
        if identity.role == "manager" and not identity.manager_address:  # kept by an earlier version, which had one manager
            identity = replace(identity, manager_address=identity.managers[0])
        reporter = Reporter()
        self.identity, self._ended = identity, trio.Event()
        self.worker = worker = Worker(self._parts.containers, self._networks, self._parts.pulls, reporter, self.description, identity.node_id)
        assert self.nursery is not None
        try:
            contexts = Contexts(await trio.to_thread.run_sync(self._key.load))
        except KeySealed:
            await self.nursery.start(self._wait_for_key, identity, worker)
            return
        advertise = identity.data_path_address or identity.advertise_address
        session = Session(contexts, identity.managers, self.description, advertise, local=_local(identity), speak=self._parts.speak)
        renewal = Renewal(self._key, contexts, lambda: [session.reached_at(address) for address in session.managers], self._renewed)
        self.session, self._renewal = session, renewal
        self._note_change()
        await self.nursery.start(self._live, identity, session, worker, reporter, renewal, running)

    async def _wait_for_key(self, identity: Identity, worker: Worker, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The life of a node whose key is sealed: nothing but its manager, until that serves; then the member's."""
        serving = trio.Event()
        try:
            with trio.CancelScope() as self._scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(worker.run)
                    nursery.start_soon(self._manager.run, identity, serving.set)
                    task_status.started()
                    await serving.wait()
                    nursery.cancel_scope.cancel()
            over = self._scope.cancelled_caught
        finally:
            self._ended.set()
        if over:
            return
        answers = await trio.to_thread.run_sync(seal_socket.ask, self._root / "raft") is not None
        if not answers:  # it ends again, as who was removed meanwhile does, and what it does last lays the key open; or it is in a bad way
            await self._manager.let_go(patience_s=ENDING_S)
        await self.begin(identity, running=answers)

    async def _live(self, identity: Identity, session: Session, worker: Worker, reporter: Reporter, renewal: Renewal, running: bool, *,
                    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:  # fmt: skip
        async def on_state(state: SessionState) -> None:
            renewal.heed(state)
            await self._networks.use_settings(state.data_path_port, state.network_keys)
            assert self._background is not None and self.identity is not None  # noqa: PT018
            # what ended while no manager listened ends now
            self._background.start_soon(self._tell, session, "agent.keep_attachments", KeepAttachments(self._networks.attachments.held()))
            if state.managers and set(state.managers) != set(self.identity.managers):  # who leads is not kept: it changes, and the disk is slow
                self.keep(replace(self.identity, managers=state.managers))
            self._heed_role()
            self._note_change()

        async def take_part(life: trio.CancelScope) -> None:
            await session.run(Told(on_state, worker.hear, worker.apply), reporter, handlers, renewal.after_loss)
            if session.removed:
                self.refused = REMOVED
                log.error(REMOVED)
                await self._manager.let_go()
                life.cancel()

        try:
            with trio.CancelScope() as self._scope:
                async with trio.open_nursery() as nursery:
                    self._background = nursery
                    await nursery.start(worker.run)
                    handlers = {"node.present": _present, "node.logs": serve_logs(self._parts.containers, identity.node_id, nursery), **self._parts.handlers}
                    if identity.role == "manager":
                        nursery.start_soon(partial(self._manager.run, identity, renewal.reread, running=running))
                    nursery.start_soon(self._tell_routes, session)
                    nursery.start_soon(take_part, nursery.cancel_scope)
                    nursery.start_soon(renewal.run)
                    task_status.started()
        finally:
            self._background = None
            self._ended.set()

    async def end(self) -> None:
        """The background work of a member ends; containers go on, and so does its manager process."""
        if self._scope is not None:
            self._scope.cancel()
            await self._ended.wait()
        self.session = self.worker = self._renewal = self._scope = None

    def _renewed(self) -> None:
        """The node has another certificate; its manager shows it, too."""
        self._manager.reload()
        self._heed_role()

    def _heed_role(self) -> None:
        """What the certificate says of this node, the cluster has made of it."""
        assert self._background is not None and self.identity is not None and self._renewal is not None  # noqa: PT018
        if self._renewal.role != self.identity.role and not self._changing_role:
            self._changing_role = True
            self._background.start_soon(self._change_role, self._renewal.role)

    async def _change_role(self, role: str) -> None:
        """The manager process comes or goes; what is interrupted begins again with the next session."""
        assert self.identity is not None and self.session is not None and self._background is not None and self._renewal is not None  # noqa: PT018
        try:
            await trio.to_thread.run_sync(self._key.lay_open)
            await self._manager.let_go()
            await trio.to_thread.run_sync(partial(shutil.rmtree, self._root / "raft", ignore_errors=True))  # of no use to either
            self.keep(replace(self.identity, role=role))
        finally:
            self._changing_role = False
        self.session.reopen(_local(self.identity))
        if role == "manager":
            self._background.start_soon(self._manager.run, self.identity, self._renewal.reread)
        self._note_change()
        log.info("this node has another role", extra={"fields": {"role": role}})

    async def _tell_routes(self, session: Session) -> None:
        """Routes that appear later are no place for a new overlay either."""
        while True:
            routes = await self._networks.wait_routes(self.description.routes)
            self.description = msgspec.structs.replace(self.description, routes=routes)
            session.describe(self.description)
            await self._tell(session, "agent.describe", Describe(self.description))

    async def _tell(self, session: Session, name: str, request: object) -> None:
        try:
            await session.call(name, request)
        except ClusterError as error:
            log.info("not told to the managers", extra={"fields": {"call": name, "error": error.message}})


async def _present(caller: Caller, request: Nothing) -> Nothing:
    """node.present: there is an agent here."""
    return Nothing()


def _local(identity: Identity) -> tuple[str, str]:
    """The host that this node's own manager advertises, and where it is reached from here."""
    if identity.role != "manager":
        return "", ""
    return identity.advertise_address, addresses.own_manager(identity.listen_address)
