"""The manager process from outside: bootstrap, restart after kill -9, refusals, roles, tokens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from cluster.identity import certificates, tls, tokens
from cluster.model.changes import Kind
from cluster.model.errors import Conflict, InvalidArgument, PermissionDenied, Unavailable
from cluster.model.objects import NodeDescription, NodeState
from cluster.model.specs import EndpointSpec, NetworkSpec, Placement, PortConfig, Role
from cluster.model.task_state import TaskState
from cluster.wire.calls import (
    Ids,
    LogsOf,
    NetworkWrite,
    Nothing,
    Objects,
    OpenSession,
    Query,
    Remove,
    ServiceWrite,
    Watched,
    WatchKinds,
    Why,
    WhyAnswer,
)
from cluster.wire.peer import Peer, connect
from tests.node.manager_lab import FakeAgent, ManagerLab, service_spec

PATIENCE_S = 20.0


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ManagerLab]:
    made = ManagerLab(tmp_path)
    try:
        yield made
    finally:
        made.close()


async def objects(peer: Peer, kind: Kind) -> Objects:
    answer: Objects = await peer.call("control.query", Query(kind))
    return answer


async def create(peer: Peer, name: str, replicas: int = 1, **more: object) -> str:
    answer: Ids = await peer.call("control.service_create", ServiceWrite(service_spec(name, replicas, **more)))
    return answer.id


async def worker_token(peer: Peer) -> str:
    return (await objects(peer, Kind.CLUSTER)).clusters[0].join_tokens.worker


def test_bootstrap_makes_a_cluster_with_its_identity_on_disk(lab: ManagerLab) -> None:
    ready = lab.start(bootstrap={"hostname": "one"})
    certificate, _, root = lab.credentials()
    assert stat.S_IMODE((lab.folder / "node" / "node.key").stat().st_mode) == 0o600
    subject = certificates.subject_of(certificate)
    assert (subject.node_id, subject.cluster_id, subject.role) == (ready["node_id"], ready["cluster_id"], Role.MANAGER)
    assert certificates.is_issued_by(certificate, root)
    identity = json.loads((lab.folder / "node" / "identity.json").read_text())
    assert (identity["node_id"], identity["managers"]) == (ready["node_id"], [lab.address])

    async def main() -> None:
        async with lab.control() as peer:
            (cluster,) = (await objects(peer, Kind.CLUSTER)).clusters
            assert cluster.id == ready["cluster_id"]
            assert cluster.root_key_pem == ""
            digest = certificates.root_digest(root)
            both = (cluster.join_tokens.worker, cluster.join_tokens.manager)
            assert [tokens.parse(t).digest for t in both] == [digest, digest]
            (node,) = (await objects(peer, Kind.NODE)).nodes
            assert node.manager is not None
            assert (node.manager.leader, node.manager.address) == (True, lab.address)
            (network,) = (await objects(peer, Kind.NETWORK)).networks
            assert (network.spec.name, network.spec.ingress) == ("ingress", True)

    trio.run(main)
    assert lab.end(signal.SIGTERM) == 0


def test_the_root_and_its_keys_are_not_readable_in_the_log(lab: ManagerLab) -> None:
    lab.start(bootstrap={})
    lab.end(signal.SIGTERM)
    written = b"".join(path.read_bytes() for path in (lab.folder / "raft").iterdir())
    assert b"PRIVATE KEY" not in written
    assert b"SWMTKN" not in written


def test_a_second_bootstrap_is_refused(lab: ManagerLab) -> None:
    lab.start(bootstrap={})
    lab.end(signal.SIGTERM)
    status, words = lab.refused("--bootstrap")
    assert status != 0
    assert words.startswith("This node is already part of a swarm.")


def test_without_state_it_says_so(lab: ManagerLab) -> None:
    status, words = lab.refused()
    assert status != 0
    assert words.startswith("this node is in no swarm")
    assert not (lab.folder / "raft").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (b"nonsense", "invalid bootstrap options"),
        (b'{"default_address_pool": ["10.0.0/8"]}', "invalid CIDR address: 10.0.0/8"),
        (b'{"data_path_port": 80}', "invalid dataPathPort value: Datapath port 80 is not in the range of 1024 to 49151"),
    ],
)
def test_bad_options_are_refused_and_leave_nothing(lab: ManagerLab, options: bytes, words: str) -> None:
    status, said = lab.refused("--bootstrap", stdin=options)
    assert status != 0
    assert said.startswith(words)
    assert list(lab.folder.iterdir()) == []


def test_a_taken_port_is_one_sentence_and_leaves_nothing(lab: ManagerLab) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", lab.port))
        holder.listen()
        status, words = lab.refused("--bootstrap")
    assert status != 0
    assert words == f"manager stopped: failed to listen on remote API address: listen tcp {lab.address}: bind: address already in use"
    assert not (lab.folder / "raft").exists()
    assert not (lab.folder / "node" / "identity.json").exists()


def test_what_an_interrupted_bootstrap_left_does_not_matter(lab: ManagerLab) -> None:
    lab.start(bootstrap={})
    lab.end(signal.SIGKILL)
    (lab.folder / "node" / "identity.json").unlink()
    before = (lab.folder / "node" / "root.crt").read_text()
    lab.start(bootstrap={})
    assert (lab.folder / "node" / "root.crt").read_text() != before


def test_a_node_joins_with_a_token_and_gets_its_role(lab: ManagerLab) -> None:
    ready = lab.start(bootstrap={})

    async def main() -> None:
        async with lab.control() as peer:
            token = await worker_token(peer)
            issued, _ = await lab.join(token, "w1")
            assert (issued.role, issued.cluster_id) == ("worker", ready["cluster_id"])
            nodes = {str(n.id): n for n in (await objects(peer, Kind.NODE)).nodes}
            assert nodes[issued.node_id].spec.role is Role.WORKER

    trio.run(main)


@pytest.mark.parametrize("spoil", [lambda t: t[:-4] + "aaaa", lambda t: "SWMTKN-1-x", lambda t: ""])
def test_a_bad_token_is_refused(lab: ManagerLab, spoil: object) -> None:
    assert callable(spoil)
    lab.start(bootstrap={})

    async def main() -> None:
        async with lab.control() as peer:
            token = await worker_token(peer)
            with pytest.raises((InvalidArgument, PermissionDenied), match="join token"):
                await lab.join(spoil(token))
            assert len((await objects(peer, Kind.NODE)).nodes) == 1

    trio.run(main)


def test_a_worker_may_not_control(lab: ManagerLab) -> None:
    lab.start(bootstrap={})

    async def main() -> None:
        async with lab.control() as peer:
            _, credentials = await lab.join(await worker_token(peer))
        async with connect(lab.address, tls.client_context(*credentials)) as worker:
            with pytest.raises(PermissionDenied):
                await objects(worker, Kind.NODE)
            with pytest.raises(PermissionDenied):
                await worker.call("control.stop", Nothing())

    trio.run(main)


def test_a_removed_node_is_refused(lab: ManagerLab) -> None:
    lab.start(bootstrap={})

    async def main() -> None:
        async with lab.control() as peer:
            issued, credentials = await lab.join(await worker_token(peer))
            await peer.call("control.node_remove", Remove(issued.node_id, force=True))
        async with connect(lab.address, tls.client_context(*credentials)) as worker:
            with pytest.raises(PermissionDenied, match="is not of this swarm"):
                async with worker.stream("agent.session", OpenSession(NodeDescription())) as messages:
                    await anext(messages)

    trio.run(main)


def test_a_service_reaches_its_agents_and_is_reported_running(lab: ManagerLab) -> None:
    lab.start(bootstrap={"hostname": "one"})

    async def main() -> None:
        async with lab.control() as peer, trio.open_nursery() as nursery:
            issued, credentials = await lab.join(await worker_token(peer))
            agents = [FakeAgent(lab, lab.credentials(), "one"), FakeAgent(lab, credentials, "two")]
            for agent in agents:
                await nursery.start(agent.run)
            assert agents[1].states[0].node_id == issued.node_id
            net: Ids = await peer.call("control.network_create", NetworkWrite(NetworkSpec("mynet")))
            ports = EndpointSpec(ports=(PortConfig(target_port=80, published_port=8080),))
            service_id = await create(peer, "web", 4, endpoint=ports, networks=_on("mynet"))
            await _converged(peer, service_id, 4)
            for agent in agents:
                await agent.until(lambda a=agent: len(a.tasks) == 2)
                await agent.until(lambda a=agent: _backends(a, net.id, service_id) == 4)
                ingress = next(n.id for n in (await objects(peer, Kind.NETWORK)).networks if n.spec.ingress)
                await agent.until(lambda a=agent, i=ingress: _backends(a, i, service_id) == 4)
                assert f"network/{net.id}" in agent.items
            await peer.call("control.service_remove", Remove(service_id))
            for agent in agents:
                await agent.until(lambda a=agent: not a.tasks and f"network/{net.id}" not in a.items)
            await peer.call("control.network_remove", Remove(net.id))
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_what_was_acknowledged_survives_kill_9(lab: ManagerLab) -> None:
    lab.start(bootstrap={"hostname": "one"})
    made: dict[str, str] = {}

    async def before() -> None:
        async with lab.control() as peer, trio.open_nursery() as nursery:
            agent = FakeAgent(lab, lab.credentials(), "one")
            await nursery.start(agent.run)
            for number in range(10):
                made[f"s{number}"] = await create(peer, f"s{number}", 2)
            await _converged(peer, made["s9"], 2)
            lab.end(signal.SIGKILL)
            nursery.cancel_scope.cancel()

    async def after() -> None:
        async with lab.control() as peer:
            found = await objects(peer, Kind.SERVICE)
            assert {s.spec.name: s.id for s in found.services} == made
            with pytest.raises(Conflict, match="service s3 already exists"):
                await create(peer, "s3")
            async with trio.open_nursery() as nursery:
                agent = FakeAgent(lab, lab.credentials(), "one")
                await nursery.start(agent.run)
                await agent.until(lambda: len(agent.tasks) == 20)
                for service_id in made.values():
                    await _converged(peer, service_id, 2)
                tasks = (await objects(peer, Kind.TASK)).tasks
                assert len(tasks) == 20, "a task whose agent came back was replaced"
                nursery.cancel_scope.cancel()

    _broken_off(before)
    lab.start()
    trio.run(after)


def test_a_node_that_leaves_is_down_and_its_tasks_move(lab: ManagerLab) -> None:
    lab.start(bootstrap={"hostname": "one"})

    async def main() -> None:
        async with lab.control() as peer, trio.open_nursery() as nursery:
            issued, credentials = await lab.join(await worker_token(peer))
            stays, leaves = FakeAgent(lab, lab.credentials(), "one"), FakeAgent(lab, credentials, "two")
            await nursery.start(stays.run)
            service_id = await create(peer, "web", 4)
            await stays.until(lambda: len(stays.tasks) == 4)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as leaving:
                    await leaving.start(leaves.run)
                    await leaves.leave()
                    scope.cancel()
            nodes = {str(n.id): n for n in (await objects(peer, Kind.NODE)).nodes}
            assert nodes[issued.node_id].status.state is NodeState.DOWN
            await _converged(peer, service_id, 4)
            nursery.cancel_scope.cancel()

    _broken_off(main)


def test_a_lost_agent_is_down_after_the_grace_and_its_tasks_move(lab: ManagerLab) -> None:
    lab.start(bootstrap={"hostname": "one"})

    async def main() -> None:
        async with lab.control() as peer, trio.open_nursery() as nursery:
            issued, credentials = await lab.join(await worker_token(peer))
            stays, goes = FakeAgent(lab, lab.credentials(), "one"), FakeAgent(lab, credentials, "two")
            await nursery.start(stays.run)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as going:
                    await going.start(goes.run)
                    service_id = await create(peer, "web", 4)
                    await goes.until(lambda: len(goes.tasks) == 2)
                    await _converged(peer, service_id, 4)
                    began = trio.current_time()
                    scope.cancel()
            await _until(peer, Kind.NODE, lambda o: any(n.id == issued.node_id and n.status.state is NodeState.DOWN for n in o.nodes))
            assert trio.current_time() - began >= 2.9
            await stays.until(lambda: len(stays.tasks) >= 4)
            nursery.cancel_scope.cancel()

    _broken_off(main)


def test_why_names_the_filter_that_turned_each_node_down(lab: ManagerLab) -> None:
    lab.start(bootstrap={"hostname": "one"})

    async def main() -> None:
        async with lab.control() as peer, trio.open_nursery() as nursery:
            await nursery.start(FakeAgent(lab, lab.credentials(), "one").run)
            await create(peer, "nowhere", placement=Placement(("node.labels.disk==ssd",)))
            await _until(peer, Kind.TASK, lambda o: any("no suitable node" in t.status.err for t in o.tasks))
            why: WhyAnswer = await peer.call("control.why", Why("nowhere"))
            assert why.kind == "service"
            ((hostname, verdict),) = why.tasks[0].nodes
            assert hostname == "one"
            assert "node.labels.disk==ssd" in verdict
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_logs_come_from_the_agents_that_have_them(lab: ManagerLab) -> None:
    lab.start(bootstrap={"hostname": "one"})

    async def main() -> None:
        async with lab.control() as peer, trio.open_nursery() as nursery:
            _, credentials = await lab.join(await worker_token(peer))
            await nursery.start(FakeAgent(lab, lab.credentials(), "one").run)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as going:
                    await going.start(FakeAgent(lab, credentials, "two").run)
                    service_id = await create(peer, "talk", 2)
                    await _converged(peer, service_id, 2)
                    async with peer.stream("control.logs", LogsOf(services=(service_id,))) as lines:
                        said = sorted([line.data async for line in lines])
                    assert said == [b"said by one\n", b"said by two\n"]
                    scope.cancel()
            with pytest.raises(Unavailable, match="incomplete log stream"):
                async with peer.stream("control.logs", LogsOf(services=(service_id,))) as lines:
                    assert [line.data async for line in lines] == [b"said by one\n"]
            nursery.cancel_scope.cancel()

    _broken_off(main)


def test_watch_tells_every_commit(lab: ManagerLab) -> None:
    lab.start(bootstrap={})

    async def main() -> None:
        async with lab.control() as peer:
            async with peer.stream("control.watch", WatchKinds((Kind.SERVICE,))) as told:
                first: Watched = await anext(told)
                assert first.changes == ()
                service_id = await create(peer, "web")
                second: Watched = await anext(told)
                assert [(kind, key) for _, kind, key, _ in second.changes] == [(Kind.SERVICE, service_id)]
                assert second.version > first.version

    trio.run(main)


def test_stop_ends_the_process(lab: ManagerLab) -> None:
    lab.start(bootstrap={})

    async def main() -> None:
        async with lab.control() as peer:
            await peer.call("control.stop", Nothing())

    trio.run(main)
    assert lab.process is not None
    assert lab.process.wait(timeout=10) == 0


def test_a_full_disk_refuses_writes_and_goes_on_reading(lab: ManagerLab, small_disk: Path) -> None:
    lab.folder = small_disk
    lab.start(bootstrap={})

    async def main() -> None:
        async with lab.control() as peer:
            await create(peer, "before")
            with (small_disk / "ballast").open("wb") as ballast:
                free = shutil.disk_usage(small_disk).free
                os.posix_fallocate(ballast.fileno(), 0, free - free % 4096)
            refused: Unavailable | None = None
            count = 0
            with trio.fail_after(PATIENCE_S):
                while refused is None:
                    try:
                        await create(peer, f"s{count}", labels=(("pad", "x" * 400_000),))
                        count += 1
                    except Unavailable as error:
                        refused = error
            assert "no space left on device" in refused.message
            found: Objects = await peer.call("control.query", Query(Kind.SERVICE, reference="before"))
            assert found.services[0].spec.name == "before"
            (small_disk / "ballast").unlink()
            await create(peer, "after")

    trio.run(main)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 96 MiB, in the mount namespace that the tests run in."""
    import subprocess

    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# -- what tests wait for ----------------------------------------------------------------------------------------------


def _on(network: str) -> object:
    from cluster.model.specs import NetworkAttachmentConfig

    return (NetworkAttachmentConfig(network),)


def _backends(agent: FakeAgent, network_id: str, service_id: str) -> int:
    item = agent.items.get(f"balancer/{network_id}/{service_id}")
    return len(getattr(item, "backends", ()))


async def _until(peer: Peer, kind: Kind, holds: object) -> None:
    """Wait, woken by every commit, until `holds(objects of the kind)`."""
    assert callable(holds)
    with trio.fail_after(PATIENCE_S):
        async with peer.stream("control.watch", WatchKinds((kind,))) as told:
            async for _ in told:
                if holds(await objects(peer, kind)):
                    return


async def _converged(peer: Peer, service_id: str, replicas: int) -> None:
    def holds(found: Objects) -> bool:
        live = [t for t in found.tasks if t.service_id == service_id and t.desired_state is TaskState.RUNNING]
        return len(live) == replicas and all(t.status.state is TaskState.RUNNING for t in live)

    await _until(peer, Kind.TASK, holds)


def _broken_off(main: object) -> None:
    """Run what ends with agents or managers that are broken off on purpose."""
    assert callable(main)
    try:
        trio.run(main)
    except* Unavailable as lost:
        strange = [e for e in _leaves(lost) if "is lost" not in str(e) and "left the swarm" not in str(e)]
        if strange:
            raise strange[0] from lost


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
