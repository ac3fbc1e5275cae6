"""This node and its swarm: in or out, as what, and through whom. Owns init, join, leave, unlock, and the calls to the managers.

What runs while the node is a member is agent/member_life.py's. Errors are Docker's sentences.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import trio

from agent import entry, leaving, membership_files
from agent.entry import InitOptions, JoinOptions
from agent.join import JoinRequest, request_certificate
from agent.manager_keeper import ManagerKeeper
from agent.manager_process import ManagerFailed, Ready
from agent.member_life import MemberLife, Parts
from agent.membership_files import Identity
from agent.session import Session
from cluster.identity import unlock_key
from cluster.model.changes import Kind
from cluster.model.errors import NO_LEADER, ClusterError, InvalidArgument, NoManager, Unavailable
from cluster.model.ids import NodeId
from cluster.model.objects import Node, NodeDescription
from cluster.wire import versions
from cluster.wire.calls import UNKNOWN_CALL, Attach, Attached, Nothing, Objects, Query, Text, joined
from cluster.wire.peer import Handler

if TYPE_CHECKING:
    from agent.containers import Containers
    from agent.networks import Networks
    from agent.pulls import Pulls

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
LOCKED_LEAVE: Final = "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message."
NOT_IN_SWARM: Final = 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'


@contextmanager
def _demoted() -> Iterator[None]:
    """What the managers say to a node that has not heard yet that it is none of them any more, in Docker's words."""
    try:
        yield
    except NoManager as demoted:
        raise Unavailable(NOT_A_MANAGER) from demoted


class Membership:
    """State: `inactive`, `pending` (joining), `active`, `locked` (its manager needs the unlock key) or `error`."""

    def __init__(self, root: Path, run: Path, containers: Containers, networks: Networks, description: NodeDescription, pulls: Pulls,
                 handlers: Mapping[str, Handler], speak: int = versions.VERSION) -> None:  # fmt: skip
        """`handlers`: of calls that managers make on this node, beside those of agent/member_life.py. `speak`: see cluster/wire/versions.py."""
        self._root, self._containers, self._networks = root, containers, networks
        self._manager = ManagerKeeper(root, run, speak)
        self._life = MemberLife(Parts(root, containers, networks, pulls, handlers, speak), self._manager, description)
        networks.attachments.cluster = self
        pulls.managers = self
        self._busy = False

    # -- what the engine shows ------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        if self._life.identity is None:
            return "inactive"
        if self.error:
            return "locked" if self._manager.locked else "error"
        return "active" if self._life.session is not None and self._life.session.state is not None else "pending"

    @property
    def error(self) -> str:
        """Why this node's manager does not run, or why the managers do not take the node; empty where all is well."""
        return self._manager.error or self._life.refused or (self._life.session.refusal if self._life.session is not None else "")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What people should know of this node's manager, though it runs."""
        words = self._manager.ended_for
        return (f"WARNING: this node's manager ended and was started anew: {words}",) if words else ()

    @property
    def node_id(self) -> str:
        return self._life.identity.node_id if self._life.identity else ""

    @property
    def cluster_id(self) -> str:
        return self._life.identity.cluster_id if self._life.identity else ""

    @property
    def node_address(self) -> str:
        return self._life.identity.advertise_address if self._life.identity else ""

    @property
    def is_manager(self) -> bool:
        return self._life.identity is not None and self._life.identity.role == "manager"

    @property
    def waits_for_leader(self) -> bool:
        """Whether this node's manager runs, and nobody is known to lead: it may be cut off from the others."""
        return self.is_manager and self.state == "pending" and self._manager.serves

    @property
    def managers(self) -> tuple[str, ...]:
        """host:port of the managers that this node knows, the leader first."""
        if self._life.session is not None:
            return self._life.session.managers
        return self._life.identity.managers if self._life.identity else ()

    # -- in and out -----------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the member's background work; takes an identity found on disk up again."""
        async with trio.open_nursery() as nursery:
            self._life.nursery = nursery
            if (kept := membership_files.load(self._root / "node")) is not None:
                await self._life.begin(kept)
            elif membership_files.was_leaving(self._root / "node"):
                await self._manager.let_go()
                await self._leave_nothing()
            task_status.started()
            await trio.sleep_forever()

    async def init(self, options: InitOptions) -> str:
        """Make a new cluster of this node, or (`force_new_cluster`) one of what it has of its present one, or (`restore`) one from a saved snapshot;
        returns the node's id. Raises Unavailable when it is in one, InvalidArgument for a bad address, ManagerFailed."""
        self._refuse_member(force=options.force_new_cluster)
        if self._life.identity is not None and not self.is_manager:
            raise Unavailable(NOT_A_MANAGER)
        identity = entry.as_first(options, self.node_address, self._networks.locals.bridges())
        bootstrap = msgspec.json.encode({
            "hostname": self._life.description.hostname, "routes": self._networks.routes(),
            "cluster_spec": msgspec.to_builtins(options.spec), "availability": options.availability,
            "default_address_pool": options.default_address_pool, "subnet_size": options.subnet_size, "data_path_port": options.data_path_port,
            "force_new_cluster": options.force_new_cluster,
            "restore": str(options.restore or ""), "restore_key": options.restore_key,
        })  # fmt: skip
        self._busy = True
        try:
            await self._life.end()
            await self._manager.let_go()
            ready = await self._start_first(identity, bootstrap)
            identity = replace(identity, node_id=ready.node_id, cluster_id=ready.cluster_id)
            membership_files.save(self._root / "node", identity)
            self._networks.enter_swarm(identity.node_id, identity.data_path_address, identity.data_path_port)
            await self._life.begin(identity, running=True)
        finally:
            self._busy = False
            if self._life.session is None and (kept := membership_files.load(self._root / "node")) is not None:
                await self._life.begin(kept)  # what was to take the place of the old cluster failed: it goes on
        assert self._life.session is not None
        with trio.move_on_after(JOIN_WAIT_S):
            await self._life.session.wait_open()
        return ready.node_id

    async def _start_first(self, identity: Identity, bootstrap: bytes) -> Ready:
        """Raises ManagerFailed. A swarm that is locked is left as it is to be when its key is brought: at these addresses."""
        try:
            return await self._manager.start(identity, bootstrap)
        except ManagerFailed:
            kept = membership_files.load(self._root / "node")
            if kept is not None and self._manager.locked:
                membership_files.save(self._root / "node", replace(identity, node_id=kept.node_id, cluster_id=kept.cluster_id))
            raise

    async def join(self, options: JoinOptions) -> None:
        """Enter the cluster that the token belongs to. Raises InvalidArgument for a bad token, Unavailable when nobody answers or the node is in a swarm."""
        self._refuse_member()
        wanted = entry.as_joining(options, self._networks.locals.bridges())
        self._busy = True
        try:
            request = JoinRequest(options.token, options.availability, self._life.description.hostname, options.labels)
            issued, credentials = await request_certificate(wanted.managers, request)
            identity = replace(wanted, node_id=issued.node_id, cluster_id=issued.cluster_id, role=issued.role)
            await trio.to_thread.run_sync(membership_files.save, self._root / "node", identity, credentials)
            self._networks.enter_swarm(identity.node_id, identity.data_path_address, identity.data_path_port)
            await self._life.begin(identity)
        finally:
            self._busy = False
        assert self._life.session is not None
        with trio.move_on_after(JOIN_WAIT_S) as patience:
            await self._life.session.wait_open()
            if self.is_manager:
                await self._manager.wait_serving()
        if patience.cancelled_caught:
            raise Unavailable(self.error or STILL_JOINING)

    async def leave(self, *, force: bool = False) -> None:
        """Leave: tasks stop, overlays and identity go. Raises Unavailable when in no swarm, or on a manager without `force`."""
        if self._life.identity is None:
            raise Unavailable("This node is not part of a swarm")
        if self._manager.locked and not force:
            raise Unavailable(LOCKED_LEAVE)
        if self.is_manager and not force and not self._life.refused:
            raise Unavailable(leaving.refusal(await self._nodes(), NodeId(self.node_id)))
        others = [address for address in self.managers if address != self._life.identity.manager_address]
        if self._life.session is not None and others:
            await self._life.session.leave()
        worker = self._life.worker
        self._life.keep(replace(self._life.identity, left=True))
        if worker is not None:
            await worker.abandon()
        await self._life.end()
        await self._manager.let_go(patience_s=LEAVE_WAIT_S if self.is_manager and others else 0)
        self._life.forget()
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
        if self._life.identity is None:
            raise Unavailable(NOT_IN_SWARM)
        if not self.is_manager:
            raise Unavailable(NOT_A_MANAGER)
        await self._manager.unlock(text)
        with trio.move_on_after(JOIN_WAIT_S):
            while self._life.session is None:  # the node's own key was sealed, too
                await self._life.wait_change()
            await self._life.session.wait_open()

    async def wait_managing(self) -> None:
        """Until this node is a manager that the one who leads has answered."""
        while not (self.is_manager and self.state == "active"):
            await self._life.wait_change()

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
        self._life.tell_soon("agent.detach", Text(attachment_id))

    @asynccontextmanager
    async def stream(self, name: str, request: object) -> AsyncIterator[AsyncIterator[Any]]:
        with _demoted():
            async with self._manager_session().stream(name, request) as items:
                yield items

    def _manager_session(self) -> Session:
        if self._life.identity is None:
            raise Unavailable(NOT_IN_SWARM)
        if self._life.refused:
            raise Unavailable(self._life.refused)
        if not self.is_manager:
            raise Unavailable(NOT_A_MANAGER)
        if self._manager.locked:
            raise Unavailable(unlock_key.LOCKED)
        return self._any_session()

    def _any_session(self) -> Session:
        if self._life.identity is None:
            raise Unavailable(NOT_IN_SWARM)
        if self._life.session is None:
            raise Unavailable(self.error or (NO_LEADER if self.is_manager else NOT_IN_SWARM))
        return self._life.session

    # -- inside ---------------------------------------------------------------------------------------------------

    def _refuse_member(self, *, force: bool = False) -> None:
        if self._busy or (self._life.identity is not None and not force):
            raise Unavailable(ALREADY)
        self._networks.check_may_enter()

    async def _nodes(self) -> tuple[Node, ...] | None:
        """All nodes of the cluster; None when nobody leads it."""
        try:
            return (await self.query(Query(Kind.NODE))).nodes
        except ClusterError:
            return None
