"""A member with its log on a real disk: what was acknowledged is there, whatever happens to the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from cluster.model.changes import Kind, created, deleted
from cluster.model.errors import Conflict, InvalidArgument, Unavailable
from cluster.model.ids import ClusterId, NetworkId
from cluster.model.objects import Cluster, Network
from cluster.model.specs import ClusterSpec, NetworkSpec
from manager.raft.driver import MAX_ENTRY_BYTES, Driver, open_driver
from manager.raft_storage.faults import Damaged, InUse, StorageFault
from manager.store import Store


def network(name: str) -> Network:
    return Network(NetworkId(name), NetworkSpec(name))


def cluster(snapshot_interval: int) -> Cluster:
    return Cluster(ClusterId("c"), ClusterSpec(snapshot_interval=snapshot_interval, log_entries_for_slow_followers=10))


async def networks_in(path: Path) -> tuple[set[str], str]:
    """What a member that starts from this directory knows, and the digest of its store."""
    store = Store()
    async with open_driver(path, store) as driver:
        await driver.wait_leader()
        return {found.id for found in store.all(Kind.NETWORK)}, store.digest()


def test_a_proposal_is_applied_when_it_is_answered_and_there_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        store = Store()
        async with open_driver(tmp_path / "raft", store) as driver:
            assert not driver.leader
            await driver.wait_leader()
            assert (driver.leader, driver.term) == (True, 1)
            watch = store.watch()
            batch = await driver.propose((created(network("a")), created(network("b"))))
            assert [event.id for event in batch.events] == ["a", "b"]
            assert await watch.next() == (batch,)
            with pytest.raises(Conflict, match="network with name a already exists"):
                await driver.propose((created(network("c")), created(Network(NetworkId("x"), NetworkSpec("a")))))
            await driver.propose((deleted(network("b")),))
            digest = store.digest()
        assert await networks_in(tmp_path / "raft") == ({"a"}, digest)

    trio.run(main)


def test_what_is_proposed_together_is_decided_in_order_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    async def main() -> None:
        store, indexes, conflicts = Store(), [], []

        async def propose(driver: Driver, number: int) -> None:
            try:
                indexes.append((await driver.propose((created(network(f"n{number % 50}")),))).index)
            except Conflict as error:
                conflicts.append(error.message)

        async with open_driver(tmp_path / "raft", store) as driver:
            await driver.wait_leader()
            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(propose, driver, number)
            assert (len(set(indexes)), len(conflicts)) == (50, 50)
            assert driver.applied == 101
            assert len(store.all(Kind.NETWORK)) == 50

    trio.run(main)


def test_snapshots_replace_the_log_and_a_restart_finds_the_same_store(tmp_path: Path) -> None:
    async def main() -> None:
        path, store = tmp_path / "raft", Store()
        async with open_driver(path, store) as driver:
            await driver.wait_leader()
            await driver.propose((created(cluster(20)),))
            for number in range(75):
                await driver.propose((created(network(f"n{number}")),))
            digest = store.digest()
        assert len(list(path.glob("snapshot-*"))) == 1
        found, again = await networks_in(path)
        assert len(found) == 75
        assert again == digest
        for segment in sorted(path.glob("log-*"))[:-1]:
            assert segment.stat().st_size < 16384

    trio.run(main)


def test_an_interval_of_no_entries_makes_no_snapshot_due(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "raft"
        async with open_driver(path, Store()) as driver:
            await driver.wait_leader()
            await driver.propose((created(cluster(0)),))
            for number in range(25):
                await driver.propose((created(network(f"n{number}")),))
        assert not list(path.glob("snapshot-*"))

    trio.run(main)


def test_an_entry_that_is_too_large_is_refused_before_it_is_logged(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_driver(tmp_path / "raft", Store()) as driver:
            await driver.wait_leader()
            with pytest.raises(InvalidArgument, match="the limit is"):
                await driver.propose((created(network("x" * MAX_ENTRY_BYTES)),))
            await driver.propose((created(network("a")),))

    trio.run(main)


def test_a_directory_is_one_members_and_damage_stops_it(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "raft"
        async with open_driver(path, Store()) as driver:
            await driver.wait_leader()
            with pytest.raises(InUse):
                async with open_driver(path, Store()):
                    pass
            for number in range(5):
                await driver.propose((created(network(f"n{number}")),))
        (segment,) = path.glob("log-*")
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 255
        segment.write_bytes(data)
        with pytest.raises(Damaged, match=str(path)):
            async with open_driver(path, Store()):
                pass

    trio.run(main)


def test_who_waits_when_the_member_stops_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:

            async def propose(driver: Driver) -> None:
                while driver.leader:
                    await driver.propose((created(network("a")), deleted(network("a"))))

            async def wait(driver: Driver) -> None:
                with pytest.raises(Unavailable, match="the manager is stopping"):
                    await propose(driver)

            async with open_driver(tmp_path / "raft", Store()) as driver:
                await driver.wait_leader()
                for _ in range(5):
                    nursery.start_soon(wait, driver)
                await trio.testing.wait_all_tasks_blocked()
            assert not driver.leader

    trio.run(main)


def test_a_disk_that_fails_ends_the_member(tmp_path: Path) -> None:
    """The log's descriptor is replaced by one that the kernel refuses to write to; what was acknowledged before is
    there.
    """

    path = tmp_path / "raft"

    async def lose_the_disk() -> None:
        async with open_driver(path, Store()) as driver:
            await driver.wait_leader()
            await driver.propose((created(network("a")),))
            null = os.open("/dev/null", os.O_RDONLY)
            os.dup2(null, driver._disk._wal._descriptor)
            os.close(null)
            await driver.propose((created(network("b")),))

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as raised:
            await lose_the_disk()
        assert raised.group_contains(StorageFault, match="pwrite")
        assert (await networks_in(path))[0] == {"a"}

    trio.run(main)


PROPOSER = """
import os, sys, trio
from pathlib import Path
from cluster.model.changes import Kind, created
from cluster.model.ids import ClusterId, NetworkId
from cluster.model.objects import Cluster, Network
from cluster.model.specs import ClusterSpec, NetworkSpec
from manager.raft.driver import open_driver
from manager.store import Store

async def propose(driver, name):
    number = 0
    while True:
        number += 1
        id = f"{name}.{number}"
        await driver.propose((created(Network(NetworkId(id), NetworkSpec(id))),))
        os.write(1, id.encode() + b"\\n")

async def main():
    store = Store()
    async with open_driver(Path(sys.argv[1]), store) as driver:
        await driver.wait_leader()
        if not store.all(Kind.CLUSTER):
            spec = ClusterSpec(snapshot_interval=150, log_entries_for_slow_followers=10)
            await driver.propose((created(Cluster(ClusterId("c"), spec)),))
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(propose, driver, f"{sys.argv[2]}.{number}")

trio.run(main)
"""
ROUNDS = 6


def acknowledged_until_killed(path: Path, name: str, count: int) -> set[str]:
    """What a child process acknowledged until it was killed, which is soon after the `count`th acknowledgement."""
    with subprocess.Popen([sys.executable, "-I", "-c", PROPOSER, str(path), name], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        said = b""
        while said.count(b"\n") < count:
            piece = os.read(child.stdout.fileno(), 65536)
            assert piece, "the child ended by itself"
            said += piece
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read()
    assert child.returncode == -signal.SIGKILL
    return {line.decode() for line in said.split(b"\n")[:-1]}


def tear(path: Path) -> None:
    """Put half a frame behind the last one, as a write that power loss interrupted leaves it."""
    segment = max(path.glob("log-*"))
    used = len(segment.read_bytes().rstrip(b"\0"))
    with segment.open("r+b") as file:
        file.seek(-(-used // 8) * 8)
        file.write(os.urandom(777))


@pytest.mark.parametrize("torn", [False, True])
def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path, torn: bool) -> None:
    path = tmp_path / "raft"
    acknowledged: set[str] = set()
    for number in range(ROUNDS):
        acknowledged |= acknowledged_until_killed(path, f"r{number}", 1 + 97 * number)
        if torn:
            tear(path)
        present, digest = trio.run(networks_in, path)
        assert acknowledged <= present
        assert trio.run(networks_in, path) == (present, digest)
    assert list(path.glob("snapshot-*"))
    assert not list(path.glob("*.tmp"))


FULL = """
import sys, trio
from pathlib import Path
from cluster.model.changes import Kind, created, deleted
from cluster.model.errors import Unavailable
from cluster.model.ids import NetworkId
from cluster.model.objects import Network
from cluster.model.specs import NetworkSpec
from manager.raft.driver import open_driver
from manager.store import Store

def made(number):
    return created(Network(NetworkId(f"n{number}"), NetworkSpec(f"n{number}", labels=(("big", "x" * 500_000),))))

async def main():
    folder = Path(sys.argv[1])
    (folder / "ballast").write_bytes(bytes(12 << 20))
    store = Store()
    number = 0
    async with open_driver(folder / "raft", store) as driver:
        await driver.wait_leader()
        try:
            while True:
                await driver.propose((made(number),))
                number += 1
        except Unavailable as error:
            print(error.message)
        assert driver.leader and len(store.all(Kind.NETWORK)) == number > 10
        try:
            await driver.propose((made(number),))
        except Unavailable:
            print("still")
    store = Store()
    (folder / "ballast").unlink()
    async with open_driver(folder / "raft", store) as driver:
        await driver.wait_leader()
        assert len(store.all(Kind.NETWORK)) == number
        await driver.propose((made(number),))
        print("went on")

trio.run(main)
"""


def test_a_full_disk_refuses_proposals_says_so_and_loses_nothing(tmp_path: Path) -> None:
    """On a file system of its own, in a mount namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mount = 'mount -t tmpfs -o size=44m none "$1" && exec "$2" -I -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, FULL],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sentence, still, last = done.stdout.splitlines()
    assert sentence.startswith("the manager's log cannot be written: no space left on device;")
    assert (still, last) == ("still", "went on")
