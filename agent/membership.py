"""This node and its swarm: in or out, as what, and through whom. Owns init, join, leave, and the background work of a member.

The member's life is one cancel scope: manager process (on managers), session, worker. Errors are Docker's sentences.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import trio

from agent import addresses, leaving, membership_files
from agent.join import JoinRequest, request_certificate
from agent.manager_keeper import ManagerKeeper
from agent.membership_files import Identity
from agent.node_key import NodeKey
from agent.renewal import Renewal
from agent.reporter import Reporter
from agent.session import Session
from agent.task_logs import serve_logs
from agent.worker import Worker
from cluster.identity import seal_socket, unlock_key
from cluster.identity.contexts import Contexts
from cluster.identity.sealed_key import KeySealed
from cluster.model.assignments import SessionState
from cluster.model.changes import Kind
from cluster.model.errors import NO_LEADER, ClusterError, InvalidArgument, NoManager, Unavailable
from cluster.model.objects import Node, NodeDescription
from cluster.model.specs import ClusterSpec, Pairs
from cluster.wire import versions
from cluster.wire.calls import UNKNOWN_CALL, Attach, Attached, Describe, KeepAttachments, Nothing, Objects, Query, Text, joined
from cluster.wire.peer import Caller, Handler

if TYPE_CHECKING:
    from agent.containers import Containers
    from agent.networks import Networks
from agent.pulls import Pulls

log = logging.getLogger("festoon.membership")
replace = msgspec.structs.replace
JOIN_WAIT_S: Final = 20.0
LEAVE_WAIT_S: Final = 10.0  # how long a manager that leaves waits for the others to go on without it
ALREADY: Final = 'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.'
STILL_JOINING: Final = (
    "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. "
    'Use the "docker info" command to see the current swarm status of your node.'
)
NOT_A_MANAGER: Final = (
    "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. "
    "Please run this command on a manager node or promote the current node to a manager."
)
REMOVED: Final = 'This node was removed from the swarm. Use "docker swarm leave" to leave it and "docker swarm join" to join it anew.'
LOCKED_LEAVE: Final = "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message."
NOT_IN_SWARM: Final = 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'


@contextmanager
def _demoted() -> Iterator[None]:
    """What the managers say to a node that has not heard yet that it is none of them any more, in Docker's words."""
    try:
        yield
    except NoManager as demoted:
        raise Unavailable(NOT_A_MANAGER) from demoted


@dataclass(frozen=True, slots=True)
class InitOptions:
    listen_address: str = "0.0.0.0:2377"  # noqa: S104  Docker's default
    advertise_address: str = ""
    data_path_address: str = ""
    force_new_cluster: bool = False
    spec: ClusterSpec = field(default_factory=ClusterSpec)
    availability: str = "active"
    default_address_pool: tuple[str, ...] = ()
    subnet_size: int = 0
    data_path_port: int = 0
    restore: Path | None = None  # a saved snapshot that the cluster is made anew from, and the key that opens it
    restore_key: str = ""


@dataclass(frozen=True, slots=True)
class JoinOptions:
    token: str
    remote_addresses: tuple[str, ...]
    listen_address: str = "0.0.0.0:2377"  # noqa: S104
    advertise_address: str = ""
    data_path_address: str = ""
    availability: str = "active"
    labels: Pairs = ()  # that the cluster's node begins with


class Membership:
    """State: `inactive`, `pending` (joining), `active`, `locked` (its manager needs the unlock key) or `error`; the identity, session
    and worker while in a swarm."""

    def __init__(self, root: Path, run: Path, containers: Containers, networks: Networks, description: NodeDescription, pulls: Pulls,
                 handlers: Mapping[str, Handler], speak: int = versions.VERSION) -> None:  # fmt: skip
        """`handlers`: of calls that managers make on this node, beside those of this module. `speak`: see cluster/wire/versions.py."""
        self._speak = speak
        self._pulls, self._handlers = pulls, handlers
        self._root, self._containers, self._networks, self._description = root, containers, networks, description
        self._manager, self._key = ManagerKeeper(root, run, speak), NodeKey(root)
        self._nursery: trio.Nursery | None = None
        self._scope: trio.CancelScope | None = None
        self._ended, self._awake = trio.Event(), trio.Event()
        self._identity: Identity | None = None
        self._session: Session | None = None
        self._renewal: Renewal | None = None
        self._worker: Worker | None = None
        self._background: trio.Nursery | None = None
        networks.attachments.cluster = self
        pulls.managers = self
        self._busy = self._changing_role = False
        self._refused = ""  # the swarm has removed this node: why it does nothing any more

    # -- what the engine shows ------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        if self._identity is None:
            return "inactive"
        if self.error:
            return "locked" if self._manager.locked else "error"
        return "active" if self._session is not None and self._session.state is not None else "pending"

    @property
    def error(self) -> str:
        """Why this node's manager does not run, or why the managers do not take the node; empty where all is well."""
        return self._manager.error or self._refused or (self._session.refusal if self._session is not None else "")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What people should know of this node's manager, though it runs."""
        words = self._manager.ended_for
        return (f"WARNING: this node's manager ended and was started anew: {words}",) if words else ()

    @property
    def node_id(self) -> str:
        return self._identity.node_id if self._identity else ""

    @property
    def cluster_id(self) -> str:
        return self._identity.cluster_id if self._identity else ""

    @property
    def node_address(self) -> str:
        return self._identity.advertise_address if self._identity else ""

    @property
    def is_manager(self) -> bool:
        return self._identity is not None and self._identity.role == "manager"

    @property
    def managers(self) -> tuple[str, ...]:
        """host:port of the managers that this node knows, the leader first."""
        if self._session is not None:
            return self._session.managers
        return self._identity.managers if self._identity else ()

    # -- in and out -----------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the member's background work; takes an identity found on disk up again."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            if (kept := membership_files.load(self._root / "node")) is not None:
                await self._become_member(kept)
            elif membership_files.was_leaving(self._root / "node"):
                await self._manager.let_go()
                await self._leave_nothing()
            task_status.started()
            await trio.sleep_forever()

    async def init(self, options: InitOptions) -> str:
        """Make a new cluster of this node, or (`force_new_cluster`) one of what it has of its present one, or (`restore`) one from a saved snapshot;
        returns the node's id. Raises Unavailable when it is in one, InvalidArgument for a bad address, ManagerFailed."""
        self._refuse_member(force=options.force_new_cluster)
        if self._identity is not None and not self.is_manager:
            raise Unavailable(NOT_A_MANAGER)
        own = addresses.interfaces()
        listen_port = addresses.split_port(options.listen_address)[1] or addresses.DEFAULT_PORT
        listen_host = addresses.choose(options.listen_address, own, "listen")[0] if not addresses.is_any(options.listen_address) else "0.0.0.0"  # noqa: S104
        host, port = addresses.choose(options.advertise_address or self.node_address, own, bridges=self._networks.locals.bridges())
        data_path = addresses.choose(options.data_path_address, own, "data path")[0] if options.data_path_address else host
        listen, advertise = f"{listen_host}:{listen_port}", f"{host}:{port or listen_port}"
        bootstrap = msgspec.json.encode({
            "hostname": self._description.hostname, "routes": self._networks.routes(),
            "cluster_spec": msgspec.to_builtins(options.spec), "availability": options.availability,
            "default_address_pool": options.default_address_pool, "subnet_size": options.subnet_size, "data_path_port": options.data_path_port,
            "force_new_cluster": options.force_new_cluster,
            "restore": str(options.restore or ""), "restore_key": options.restore_key,
        })  # fmt: skip
        identity = Identity(
            node_id="", cluster_id="", role="manager", managers=(advertise,), advertise_address=host, manager_address=advertise, listen_address=listen,
            data_path_address=data_path, data_path_port=options.data_path_port or 4789,
        )  # fmt: skip
        self._busy = True
        try:
            await self._end_life()
            await self._manager.let_go()
            ready = await self._manager.start(identity, bootstrap)
            identity = replace(identity, node_id=ready.node_id, cluster_id=ready.cluster_id)
            membership_files.save(self._root / "node", identity)
            self._networks.enter_swarm(identity.node_id, data_path, identity.data_path_port)
            await self._become_member(identity, running=True)
        finally:
            self._busy = False
            if self._session is None and (kept := membership_files.load(self._root / "node")) is not None:
                await self._become_member(kept)  # what was to take the place of the old cluster failed: it goes on
        assert self._session is not None
        with trio.move_on_after(JOIN_WAIT_S):
            await self._session.wait_open()
        return ready.node_id

    async def join(self, options: JoinOptions) -> None:
        """Enter the cluster that the token belongs to. Raises InvalidArgument for a bad token, Unavailable when nobody answers or the node is in a swarm."""
        self._refuse_member()
        own, bridges = addresses.interfaces(), self._networks.locals.bridges()
        remotes = tuple(_with_port(r) for r in options.remote_addresses)
        if not remotes:
            raise InvalidArgument("at least 1 RemoteAddr is required to join")
        one = options.advertise_address or len(addresses.usable(own, bridges)) == 1
        host, port = addresses.choose(options.advertise_address, own, bridges=bridges) if one else (addresses.toward(remotes[0]), 0)
        port = port or addresses.split_port(options.listen_address)[1] or addresses.DEFAULT_PORT
        data_path = addresses.choose(options.data_path_address, own, "data path")[0] if options.data_path_address else host
        self._busy = True
        try:
            request = JoinRequest(options.token, options.availability, self._description.hostname, options.labels)
            issued, credentials = await request_certificate(remotes, request)
            identity = Identity(
                node_id=issued.node_id, cluster_id=issued.cluster_id, role=issued.role, managers=remotes, advertise_address=host,
                manager_address=f"{host}:{port}", listen_address=options.listen_address, data_path_address=data_path,
            )  # fmt: skip
            await trio.to_thread.run_sync(membership_files.save, self._root / "node", identity, credentials)
            self._networks.enter_swarm(identity.node_id, data_path, identity.data_path_port)
            await self._become_member(identity)
        finally:
            self._busy = False
        assert self._session is not None
        with trio.move_on_after(JOIN_WAIT_S) as patience:
            await self._session.wait_open()
            if self.is_manager:
                await self._manager.wait_serving()
        if patience.cancelled_caught:
            raise Unavailable(self.error or STILL_JOINING)

    async def leave(self, *, force: bool = False) -> None:
        """Leave: tasks stop, overlays and identity go. Raises Unavailable when in no swarm, or on a manager without `force`."""
        if self._identity is None:
            raise Unavailable("This node is not part of a swarm")
        if self._manager.locked and not force:
            raise Unavailable(LOCKED_LEAVE)
        if self.is_manager and not force and not self._refused:
            raise Unavailable(leaving.refusal(await self._nodes()))
        others = [address for address in self.managers if address != self._identity.manager_address]
        if self._session is not None and others:
            await self._session.leave()
        worker = self._worker
        self._keep(replace(self._identity, left=True))
        if worker is not None:
            await worker.abandon()
        await self._end_life()
        await self._manager.let_go(patience_s=LEAVE_WAIT_S if self.is_manager and others else 0)
        self._identity, self._refused = None, ""
        await self._leave_nothing()

    async def _leave_nothing(self) -> None:
        """The end of leaving, also by the next start of a node that was killed before it came here."""
        for record in self._containers.records():
            if record.task_id:
                await self._containers.remove(record.id, force=True)
        self._networks.assigned.expect_nothing()
        await self._containers.connections.leave_cluster()
        await self._networks.leave_swarm()
        await trio.to_thread.run_sync(membership_files.forget, self._root)

    async def unlock(self, text: str) -> None:
        """Give this node's locked manager the swarm's unlock key. Raises Unavailable on other nodes, Conflict where nothing is locked,
        InvalidArgument for a wrong key."""
        if self._identity is None:
            raise Unavailable(NOT_IN_SWARM)
        if not self.is_manager:
            raise Unavailable(NOT_A_MANAGER)
        await self._manager.unlock(text)
        with trio.move_on_after(JOIN_WAIT_S):
            while self._session is None:  # the node's own key was sealed, too
                await self._awake.wait()
            await self._session.wait_open()

    async def wait_managing(self) -> None:
        """Until this node is a manager that the one who leads has answered."""
        while not (self.is_manager and self.state == "active"):
            await self._awake.wait()

    def _note_change(self) -> None:
        """Wake who waits for a session, or for this node to be a manager."""
        self._awake.set()
        self._awake = trio.Event()

    # -- calls to the managers ------------------------------------------------------------------------------------

    async def call(self, name: str, request: object = Nothing()) -> Any:  # noqa: B008  an immutable value
        """A control call. Raises Unavailable in Docker's words on a node that is no manager, or when no manager answers."""
        with _demoted():
            return await self._manager_session().call(name, request)

    async def query(self, request: Query) -> Objects:
        """Objects of the cluster as they all were at one moment, however many. Raises as `call`."""
        with _demoted():
            session = self._manager_session()
            try:
                pieces: list[Objects] = await session.read("control.list", request)
            except InvalidArgument as error:
                if error.message != UNKNOWN_CALL.format("control.list"):
                    raise
                return cast("Objects", await session.call("control.query", request))  # the leader has not been upgraded yet
        return joined(pieces)

    async def call_own_manager(self, name: str, request: object = Nothing()) -> Any:  # noqa: B008  an immutable value
        """A call that this node's own manager answers for itself. Raises Unavailable as `call`, or when it does not answer."""
        return await self._manager_session().call_own(name, request)

    async def attach(self, request: Attach) -> Attached:
        """Ask for an address on an attachable overlay for a container of this node's own. Raises what the managers say, Unavailable."""
        answer = await self.ask("agent.attach", request)
        assert isinstance(answer, Attached)
        return answer

    async def ask(self, name: str, request: object) -> Any:
        """A call that every node may make, worker or manager. Raises what the managers say, Unavailable."""
        return await self._any_session().call(name, request)

    @asynccontextmanager
    async def listen(self, name: str, request: object) -> AsyncIterator[AsyncIterator[Any]]:
        """The same for a stream."""
        async with self._any_session().stream(name, request) as items:
            yield items

    def detach(self, attachment_id: str) -> None:
        """Say that it is over, in the background: without a manager the next session's beginning says so."""
        if self._session is not None and self._background is not None:
            self._background.start_soon(self._tell, self._session, "agent.detach", Text(attachment_id))

    async def _tell_routes(self, session: Session) -> None:
        """Routes that appear later are no place for a new overlay either."""
        while True:
            routes = await self._networks.wait_routes(self._description.routes)
            self._description = msgspec.structs.replace(self._description, routes=routes)
            session.describe(self._description)
            await self._tell(session, "agent.describe", Describe(self._description))

    async def _tell(self, session: Session, name: str, request: object) -> None:
        try:
            await session.call(name, request)
        except ClusterError as error:
            log.info("not told to the managers", extra={"fields": {"call": name, "error": error.message}})

    @asynccontextmanager
    async def stream(self, name: str, request: object) -> AsyncIterator[AsyncIterator[Any]]:
        with _demoted():
            async with self._manager_session().stream(name, request) as items:
                yield items

    def _manager_session(self) -> Session:
        if self._identity is None:
            raise Unavailable(NOT_IN_SWARM)
        if self._refused:
            raise Unavailable(self._refused)
        if not self.is_manager:
            raise Unavailable(NOT_A_MANAGER)
        if self._manager.locked:
            raise Unavailable(unlock_key.LOCKED)
        return self._any_session()

    def _any_session(self) -> Session:
        if self._identity is None:
            raise Unavailable(NOT_IN_SWARM)
        if self._session is None:
            raise Unavailable(self.error or (NO_LEADER if self.is_manager else NOT_IN_SWARM))
        return self._session

    # -- inside ---------------------------------------------------------------------------------------------------

    def _refuse_member(self, *, force: bool = False) -> None:
        if self._busy or (self._identity is not None and not force):
            raise Unavailable(ALREADY)
        self._networks.check_may_enter()

    async def _nodes(self) -> tuple[Node, ...] | None:
        """All nodes of the cluster; None when nobody leads it."""
        try:
            return (await self.query(Query(Kind.NODE))).nodes
        except ClusterError:
            return None

    def _keep(self, identity: Identity) -> None:
        """This is who the node is, durably. Rare, and without an await: two tasks never write it at once."""
        self._identity = identity
        membership_files.save(self._root / "node", identity)

    async def _become_member(self, identity: Identity, *, running: bool = False) -> None:
        """Begin the life of a member; `running`: its manager was started just now."""
        if identity.role == "manager" and not identity.manager_address:  # kept by an earlier version, which had one manager
            identity = replace(identity, manager_address=identity.managers[0])
        reporter = Reporter()
        self._identity, self._ended = identity, trio.Event()
        self._worker = worker = Worker(self._containers, self._networks, self._pulls, reporter, self._description, identity.node_id)
        assert self._nursery is not None
        try:
            contexts = Contexts(await trio.to_thread.run_sync(self._key.load))
        except KeySealed:
            await self._nursery.start(self._wait_for_key, identity, worker)
            return
        advertise = identity.data_path_address or identity.advertise_address
        session = Session(contexts, identity.managers, self._description, advertise, local=_local(identity), speak=self._speak)
        renewal = Renewal(self._key, contexts, lambda: [session.reached_at(address) for address in session.managers], self._renewed)
        self._session, self._renewal = session, renewal
        self._note_change()
        await self._nursery.start(self._live, identity, session, worker, reporter, renewal, running)

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
        if not answers:  # one that was taken over and is in a bad way: the next one waits for the key
            await self._manager.let_go()
        await self._become_member(identity, running=answers)

    async def _live(self, identity: Identity, session: Session, worker: Worker, reporter: Reporter, renewal: Renewal, running: bool, *,
                    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:  # fmt: skip
        async def on_state(state: SessionState) -> None:
            renewal.heed(state)
            await self._networks.use_settings(state.data_path_port, state.network_keys)
            assert self._background is not None and self._identity is not None  # noqa: PT018
            # what ended while no manager listened ends now
            self._background.start_soon(self._tell, session, "agent.keep_attachments", KeepAttachments(self._networks.attachments.held()))
            if state.managers and set(state.managers) != set(self._identity.managers):  # who leads is not kept: it changes, and the disk is slow
                self._keep(replace(self._identity, managers=state.managers))
            self._heed_role()
            self._note_change()

        async def take_part(life: trio.CancelScope) -> None:
            await session.run(on_state, worker.apply, reporter, handlers, renewal.after_loss)
            if session.removed:
                self._refused = REMOVED
                log.error(REMOVED)
                await self._manager.let_go()
                life.cancel()

        try:
            with trio.CancelScope() as self._scope:
                async with trio.open_nursery() as nursery:
                    self._background = nursery
                    await nursery.start(worker.run)
                    handlers = {"node.present": _present, "node.logs": serve_logs(self._containers, identity.node_id, nursery), **self._handlers}
                    if identity.role == "manager":
                        nursery.start_soon(partial(self._manager.run, identity, renewal.reread, running=running))
                    nursery.start_soon(self._tell_routes, session)
                    nursery.start_soon(take_part, nursery.cancel_scope)
                    nursery.start_soon(renewal.run)
                    task_status.started()
        finally:
            self._background = None
            self._ended.set()

    async def _end_life(self) -> None:
        """The background work of a member ends; containers go on, and so does its manager process."""
        if self._scope is not None:
            self._scope.cancel()
            await self._ended.wait()
        self._session = self._worker = self._renewal = self._scope = None

    def _renewed(self) -> None:
        """The node has another certificate; its manager shows it, too."""
        self._manager.reload()
        self._heed_role()

    def _heed_role(self) -> None:
        """What the certificate says of this node, the cluster has made of it."""
        assert self._background is not None and self._identity is not None and self._renewal is not None  # noqa: PT018
        if self._renewal.role != self._identity.role and not self._changing_role:
            self._changing_role = True
            self._background.start_soon(self._change_role, self._renewal.role)

    async def _change_role(self, role: str) -> None:
        """The manager process comes or goes; what is interrupted begins again with the next session."""
        assert self._identity is not None and self._session is not None and self._background is not None and self._renewal is not None  # noqa: PT018
        try:
            await trio.to_thread.run_sync(self._key.lay_open)
            await self._manager.let_go()
            await trio.to_thread.run_sync(partial(shutil.rmtree, self._root / "raft", ignore_errors=True))  # of no use to either
            self._keep(replace(self._identity, role=role))
        finally:
            self._changing_role = False
        self._session.reopen(_local(self._identity))
        if self.is_manager:
            self._background.start_soon(self._manager.run, self._identity, self._renewal.reread)
        self._note_change()
        log.info("this node has another role", extra={"fields": {"role": role}})


async def _present(caller: Caller, request: Nothing) -> Nothing:
    """node.present: there is an agent here."""
    return Nothing()


def _local(identity: Identity) -> tuple[str, str]:
    """The host that this node's own manager advertises, and where it is reached from here."""
    if identity.role != "manager":
        return "", ""
    return identity.advertise_address, addresses.own_manager(identity.listen_address)


def _with_port(remote: str) -> str:
    host, port = addresses.split_port(remote)
    if not host:
        raise InvalidArgument(f"invalid remote address {remote!r}")
    return f"{host}:{port or addresses.DEFAULT_PORT}"

