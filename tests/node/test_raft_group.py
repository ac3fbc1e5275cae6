"""Members of one group over TLS on loopback, each with its log on a real disk: elections, joining, removal, snapshots,
and that what was acknowledged outlives the one that acknowledged it.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from cluster.identity import certificates, keys, tls
from cluster.identity.contexts import Contexts
from cluster.identity.folder import Credentials
from cluster.model.changes import Kind, created
from cluster.model.errors import NotLeader, PermissionDenied, Unavailable
from cluster.model.ids import ClusterId, NetworkId
from cluster.model.objects import Cluster, Network
from cluster.model.specs import ClusterSpec, NetworkSpec, Role
from cluster.wire.calls import Follow, JoinManagers
from cluster.wire.peer import Handler, connect, serve
from manager.peers import Peers
from manager.raft.driver import FOUNDER, Driver, open_driver
from manager.raft.membership import Member, Membership
from manager.raft_storage.faults import StorageFault
from manager.store import Store

PATIENCE_S = 20


class Manager:
    """One running member."""

    def __init__(self, name: str, address: str, driver: Driver, store: Store, peers: Peers) -> None:
        self.name, self.address, self.driver, self.store, self._peers = name, address, driver, store, peers
        self.scope, self.ended = trio.CancelScope(), trio.Event()

    def hears_all(self) -> bool:
        """Whether it and every other member are connected in both directions."""
        return all(self._peers.hears(member) for member in self.driver.membership.members if member.raft_id != self.driver.raft_id)

    @property
    def leader_address(self) -> str:
        """Where it sends who asks it."""
        return self._peers.leader_address

    def networks(self) -> set[str]:
        return {found.id for found in self.store.all(Kind.NETWORK)}


class Group:
    """A cluster's root, and the members that were started with it."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.folder = folder
        self._nursery = nursery
        self.root_pem, self._root_key_pem = certificates.new_root(dt.datetime.now(dt.UTC))
        self.running: dict[str, Manager] = {}
        self._ids = {"one": FOUNDER}
        self._ports: dict[str, int] = {}
        self._known: dict[str, tuple[Member, ...]] = {}

    def pems(self, name: str, role: Role = Role.MANAGER) -> tuple[str, str, str]:
        key_pem = keys.new_key()
        certificate_pem = certificates.issue(
            self.root_pem, self._root_key_pem, certificates.make_csr(key_pem), name, role, "cluster", dt.datetime.now(dt.UTC), dt.timedelta(days=1)
        )
        return certificate_pem, key_pem, self.root_pem

    async def start(self, name: str) -> Manager:
        """The member with this name; a new one joins first, by whoever leads."""
        manager: Manager = await self._nursery.start(self._run, name)
        return manager

    async def stop(self, name: str) -> None:
        manager = self.running.pop(name)
        manager.scope.cancel()
        await manager.ended.wait()

    async def _run(self, name: str, *, task_status: trio.TaskStatus[Manager]) -> None:
        port = self._ports.setdefault(name, await free_port())
        address = f"127.0.0.1:{port}"
        pems = self.pems(name)
        if name not in self._ids:
            async with connect(self.leader().address, tls.client_context(*pems)) as peer:
                joined = await peer.call("raft.join", JoinManagers(address))
            self._ids[name] = joined.raft_id
            self._known[name] = tuple(Member(*member) for member in joined.members)
        try:
            await self._serve(name, port, address, Contexts(Credentials(*pems)), task_status)
        except* StorageFault:
            self.running.pop(name).ended.set()

    async def _serve(self, name: str, port: int, address: str, contexts: Contexts, task_status: trio.TaskStatus[Manager]) -> None:
        store = Store()
        async with open_driver(self.folder / name, store, raft_id=self._ids[name]) as driver, trio.open_nursery() as nursery:
            peers = Peers(driver, contexts, self._known.get(name, ()))
            manager = self.running[name] = Manager(name, address, driver, store, peers)
            handlers: dict[str, Handler] = {"raft.follow": peers.follow, "raft.join": peers.join}
            await nursery.start(partial(serve, "127.0.0.1", port, contexts.server, handlers))
            nursery.start_soon(peers.run)
            if name == "one" and not driver.membership.find(FOUNDER).address:
                await driver.wait_leader()
                await driver.change_membership(lambda known: founded(known, address))
            task_status.started(manager)
            with manager.scope:
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
        manager.ended.set()

    async def voter(self, name: str) -> Manager:
        """A new member that has caught up and got its vote."""
        manager = await self.start(name)
        leader = self.leader().driver
        await until(lambda: leader.has_caught_up(self._ids[name]))
        await leader.change_membership(lambda known: known.promoted(self._ids[name]))
        return manager

    async def anew(self, lost: str, name: str) -> Manager:
        """A new node where one was that is lost."""
        self._ports[name] = self._ports[lost]
        return await self.voter(name)

    def leader(self) -> Manager:
        return next(manager for manager in self.running.values() if manager.driver.leader)

    async def wait_leader(self) -> Manager:
        await until(lambda: any(manager.driver.leader for manager in self.running.values()))
        return self.leader()

    async def propose(self, name: str) -> None:
        """Until some leader has acknowledged it."""
        while True:
            try:
                await (await self.wait_leader()).driver.propose((created(Network(NetworkId(name), NetworkSpec(name))),))
            except (NotLeader, Unavailable):
                continue
            return


async def free_port() -> int:
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not true():
            await trio.sleep(0.01)


def in_group(folder: Path, script: Callable[[Group], Awaitable[None]]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await script(Group(folder, nursery))
            nursery.cancel_scope.cancel()

    trio.run(main)


def founded(known: Membership, address: str) -> Membership:
    return msgspec.structs.replace(known, members=(msgspec.structs.replace(known.members[0], node_id="one", address=address),))


def test_three_members_have_one_store_and_go_on_without_their_leader(tmp_path: Path) -> None:
    async def script(group: Group) -> None:
        await group.start("one")
        two, three = await group.voter("two"), await group.voter("three")
        assert group.leader().driver.membership.voters == (1, 2, 3)
        for number in range(20):
            await group.propose(f"n{number}")
        with pytest.raises(NotLeader, match=group.leader().address):
            await two.driver.propose((created(Network(NetworkId("x"), NetworkSpec("x"))),))
        await group.stop("one")
        await group.propose("after")
        expected = {f"n{number}" for number in range(20)} | {"after"}
        await until(lambda: two.networks() == three.networks() == expected)
        one = await group.start("one")
        await until(lambda: one.networks() == expected)
        assert one.store.digest() == two.store.digest()

    in_group(tmp_path, script)


def test_a_machine_that_lost_its_disk_takes_the_place_that_it_had_and_is_heard(tmp_path: Path) -> None:
    """It joins by a token again, as another node; what it was would count as a voter for ever."""

    async def script(group: Group) -> None:
        one = await group.start("one")
        two, three = await group.voter("two"), await group.voter("three")
        await until(lambda: one.hears_all() and two.hears_all() and three.hears_all())
        for number in range(2):
            lost = "three" if number == 0 else f"again-{number - 1}"
            await group.stop(lost)
            await until(lambda: not group.leader().hears_all())
            again = await group.anew(lost, f"again-{number}")
            voters = group.leader().driver.membership.voters
            assert len(voters) == 3, voters
            await until(lambda at=again: group.leader().hears_all() and at.hears_all())  # type: ignore[misc]
        assert await group.leader().driver.hand_over(again.driver.raft_id)
        await until(lambda: again.driver.leader and one.leader_address == again.address)

    in_group(tmp_path, script)


def test_the_leadership_is_handed_over_at_once(tmp_path: Path) -> None:
    async def script(group: Group) -> None:
        one = await group.start("one")
        await group.voter("two")
        await group.voter("three")
        assert await one.driver.hand_over(2)
        assert (await group.wait_leader()).name == "two"
        await group.propose("a")

    in_group(tmp_path, script)


def test_a_leader_whose_disk_fails_hands_over_before_it_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script(group: Group) -> None:
        one = await group.start("one")
        two, three = await group.voter("two"), await group.voter("three")
        await group.propose("before")
        for member in (one, two, three):  # a request for a vote that cannot be sent is lost
            await until(member.hears_all)
        term = one.driver.term
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, one.driver._disk._wal._descriptor)
        os.close(null)
        with pytest.raises(Unavailable):
            await one.driver.propose((created(Network(NetworkId("doubtful"), NetworkSpec("doubtful"))),))
        await one.ended.wait()
        await group.propose("after")
        assert group.leader().driver.term == term + 1, "nobody had to wait for a timeout"
        for member in (two, three):
            await until(lambda at=member: {"before", "after"} <= at.networks())  # type: ignore[misc]

    with caplog.at_level(logging.INFO, "festoon.raft"):
        in_group(tmp_path, script)
    assert [record.getMessage() for record in caplog.records if "hand" in record.getMessage()] == ["handed over"]


def test_a_read_sees_what_was_acknowledged_and_only_a_leader_answers(tmp_path: Path) -> None:
    async def script(group: Group) -> None:
        one = await group.start("one")
        await one.driver.wait_read()
        two = await group.voter("two")
        await group.propose("a")
        await one.driver.wait_read()
        assert "a" in one.networks()
        with pytest.raises(NotLeader):
            await two.driver.wait_read()

    in_group(tmp_path, script)


def test_a_member_that_comes_late_gets_a_snapshot(tmp_path: Path) -> None:
    async def script(group: Group) -> None:
        one = await group.start("one")
        spec = ClusterSpec(snapshot_interval=20, log_entries_for_slow_followers=5)
        await one.driver.propose((created(Cluster(ClusterId("c"), spec)),))
        for number in range(70):
            await group.propose(f"n{number}")
        await until(lambda: bool(list((tmp_path / "one").glob("snapshot-*"))))
        two = await group.voter("two")
        await until(lambda: len(two.networks()) == 70)
        assert list((tmp_path / "two").glob("snapshot-*"))
        digest = two.store.digest()
        await group.stop("two")
        again = await group.start("two")
        await until(lambda: again.store.digest() == digest)
        assert again.driver.membership.voters == (1, 2)

    in_group(tmp_path, script)


def test_a_removed_member_is_told(tmp_path: Path) -> None:
    async def script(group: Group) -> None:
        one = await group.start("one")
        await group.voter("two")
        three = await group.voter("three")
        await one.driver.change_membership(lambda known: known.without(3))
        await until(lambda: three.driver.removed)
        await group.propose("a")

    in_group(tmp_path, script)


@pytest.mark.parametrize(("name", "role"), [("mallory", Role.MANAGER), ("two", Role.WORKER)])
def test_nobody_listens_in_another_members_name(tmp_path: Path, name: str, role: Role) -> None:
    async def script(group: Group) -> None:
        one = await group.start("one")
        await group.voter("two")
        async with connect(one.address, tls.client_context(*group.pems(name, role))) as peer:
            async with peer.stream("raft.follow", Follow(2)) as frames:
                with pytest.raises(PermissionDenied):
                    await anext(frames)

    in_group(tmp_path, script)
