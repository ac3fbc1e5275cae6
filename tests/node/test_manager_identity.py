"""Who may come to a manager's port, and how long a certificate is good: real processes, real TLS, certificates of the past."""

from __future__ import annotations

import signal
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio

from cluster.identity import certificates, folder, keys, tls
from cluster.identity.folder import Credentials
from cluster.model.changes import Kind
from cluster.model.errors import ClusterError, PermissionDenied, Unavailable
from cluster.model.objects import NodeDescription, TaskStatus
from cluster.model.specs import Placement
from cluster.model.task_state import TaskState
from cluster.wire.calls import (
    CALLS,
    Caller,
    ClusterWrite,
    IssueCertificate,
    IssuedCertificate,
    Nothing,
    OpenSession,
    Query,
    Remove,
    ServiceWrite,
    Text,
    UpdateStatuses,
)
from cluster.wire.frames import frame
from cluster.wire.peer import MAX_HANDSHAKES_PER_ADDRESS, UNKNOWN_FRAME_BYTES, Peer, connect
from tests.node.aged import age
from tests.node.manager_lab import FakeAgent, ManagerLab, service_spec

PATIENCE_S = 20.0
Pems = tuple[str, str, str]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ManagerLab]:
    made = ManagerLab(tmp_path)
    try:
        yield made
    finally:
        made.close()


async def joined(lab: ManagerLab, where: Path) -> tuple[str, Pems]:
    """A worker with its identity in `where`: its id, and what it is."""
    async with lab.control() as peer:
        token = (await peer.call("control.query", Query(Kind.CLUSTER))).clusters[0].join_tokens.worker
    issued, pems = await lab.join(token)
    where.mkdir()
    folder.save(where, Credentials(*pems))
    return issued.node_id, pems


async def renewed(lab: ManagerLab, pems: Pems, key_pem: str) -> IssuedCertificate:
    """Ask for the next certificate, for this key, over the renewal's protocol."""
    async with connect(lab.address, tls.renewal_context(*pems)) as peer:
        issued: IssuedCertificate = await peer.call("ca.issue", IssueCertificate(certificates.make_csr(key_pem)))
    return issued


async def says(lab: ManagerLab, context: ssl.SSLContext, name: str, request: object) -> str:
    """What came of a call: empty when it was answered."""
    try:
        async with connect(lab.address, context) as peer:
            if CALLS[name].stream:
                async with peer.stream(name, request) as items:
                    async for _ in items:
                        return ""
            await peer.call(name, request)
    except ClusterError as error:
        return error.message
    return ""


def log_of(lab: ManagerLab) -> str:
    return (lab.folder / "log").read_text()


def test_a_certificate_that_expired_is_good_for_its_renewal_alone(lab: ManagerLab, tmp_path: Path) -> None:
    ready = lab.start(bootstrap={})
    node_id, _ = trio.run(joined, lab, tmp_path / "worker")
    lab.end(signal.SIGTERM)
    age(lab.folder / "raft", {node_id: tmp_path / "worker"}, issued_days_ago=100)
    lab.start()
    known = folder.load(tmp_path / "worker")
    pems = (known.certificate_pem, known.key_pem, known.root_pem)

    async def main() -> None:
        hello = OpenSession(NodeDescription("w"), "127.0.0.1")
        assert await says(lab, tls.client_context(*pems), "agent.session", hello) != ""
        assert await says(lab, tls.client_context(*pems), "ca.issue", IssueCertificate(certificates.make_csr(known.key_pem))) != ""
        assert "for the renewal of a certificate only" in await says(lab, tls.renewal_context(*pems), "agent.session", hello)
        assert "for the renewal of a certificate only" in await says(lab, tls.renewal_context(*pems), "ca.root", Nothing())
        key = keys.new_key()
        issued = await renewed(lab, pems, key)
        assert (issued.node_id, issued.role) == (node_id, "worker")
        again = (issued.certificate_pem, key, issued.root_ca_pem)
        assert await says(lab, tls.client_context(*again), "agent.session", hello) == ""
        with pytest.raises(PermissionDenied, match="another key has been certified"):
            await renewed(lab, pems, keys.new_key())

    trio.run(main)
    assert ready["node_id"] != node_id
    assert "certificate has expired" in log_of(lab)


def test_too_late_is_refused_and_so_is_any_lateness_where_the_swarm_forgives_none(lab: ManagerLab, tmp_path: Path) -> None:
    lab.start(bootstrap={})
    long_ago, lately = (trio.run(joined, lab, tmp_path / name)[0] for name in ("one", "two"))
    lab.end(signal.SIGTERM)
    age(lab.folder / "raft", {long_ago: tmp_path / "one"}, issued_days_ago=181)
    age(lab.folder / "raft", {lately: tmp_path / "two"}, issued_days_ago=91)
    lab.start()

    async def main() -> None:
        late = folder.load(tmp_path / "one")
        with pytest.raises(PermissionDenied, match="too long ago to be renewed"):
            await renewed(lab, (late.certificate_pem, late.key_pem, late.root_pem), keys.new_key())
        async with lab.control() as peer:
            (cluster,) = (await peer.call("control.query", Query(Kind.CLUSTER))).clusters
            spec = msgspec.structs.replace(cluster.spec, labels=(("festoon.cert-grace", "0"),))
            await peer.call("control.cluster_update", ClusterWrite(cluster.meta.version, spec))
        late = folder.load(tmp_path / "two")
        with pytest.raises(PermissionDenied, match="too long ago to be renewed"):
            await renewed(lab, (late.certificate_pem, late.key_pem, late.root_pem), keys.new_key())

    trio.run(main)


def test_a_manager_that_slept_past_its_expiry_comes_back_by_itself(lab: ManagerLab) -> None:
    ready = lab.start(bootstrap={})
    lab.end(signal.SIGTERM)
    age(lab.folder / "raft", {ready["node_id"]: lab.folder / "node"}, issued_days_ago=400)
    before = folder.load(lab.folder / "node")
    assert certificates.validity(before.certificate_pem)[1].timestamp() < time.time()
    lab.start()
    after = folder.load(lab.folder / "node")
    assert after.key_pem == before.key_pem
    assert certificates.validity(after.certificate_pem)[1].timestamp() > time.time()

    async def main() -> None:
        async with lab.control() as peer:
            assert (await peer.call("control.query", Query(Kind.NODE))).nodes

    trio.run(main)


def test_a_manager_that_runs_past_its_expiry_issues_itself_the_next_one(lab: ManagerLab, tmp_path: Path) -> None:
    """As after a suspension: the process has lived on, its certificate has not."""
    ready = lab.start(bootstrap={})
    lab.end(signal.SIGTERM)
    where, kept = lab.folder / "node", (lab.folder / "node" / folder.CERTIFICATE).read_text()
    age(lab.folder / "raft", {ready["node_id"]: where}, issued_days_ago=100)
    expired = (where / folder.CERTIFICATE).read_text()
    (where / folder.CERTIFICATE).write_text(kept)
    lab.start()
    (where / folder.CERTIFICATE).write_text(expired)
    assert lab.process is not None
    lab.process.send_signal(signal.SIGHUP)

    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            while folder.load(where).certificate_pem in (kept, expired):
                await trio.sleep(0.01)
            async with lab.control() as peer:
                await peer.call("control.query", Query(Kind.NODE))

    trio.run(main)


def test_a_new_certificate_is_shown_as_soon_as_it_is_told_of_and_open_connections_go_on(lab: ManagerLab) -> None:
    lab.start(bootstrap={})
    where = lab.folder / "node"

    async def shown() -> str:
        async with lab.control() as peer:
            return peer.certificate_pem()

    async def main() -> None:
        async with lab.control() as before:
            old = before.certificate_pem()
            key = folder.next_key(where)
            issued = await renewed(lab, lab.credentials(), key)
            folder.take(where, issued.certificate_pem, issued.root_ca_pem)
            assert lab.process is not None
            lab.process.send_signal(signal.SIGHUP)
            with trio.fail_after(PATIENCE_S):
                while (new := await shown()) == old:
                    pass
            assert certificates.public_key_of(new) == keys.public_key(key)
            await before.call("control.query", Query(Kind.NODE))

    trio.run(main)


def test_a_removed_node_is_refused_however_long_its_certificate_holds(lab: ManagerLab, tmp_path: Path) -> None:
    lab.start(bootstrap={})
    node_id, pems = trio.run(joined, lab, tmp_path / "worker")

    async def main() -> None:
        async with lab.control() as peer:
            await peer.call("control.node_remove", Remove(node_id, force=True))
        hello = OpenSession(NodeDescription("w"), "127.0.0.1")
        for name, request in (("agent.session", hello), ("agent.heartbeat", Nothing()), ("agent.detach", Text("x"))):
            assert "is not of this swarm" in await says(lab, tls.client_context(*pems), name, request)
        with pytest.raises(PermissionDenied, match="this node was removed from the swarm"):
            await renewed(lab, pems, keys.new_key())

    trio.run(main)
    assert "is not of this swarm" in log_of(lab)


def test_a_worker_may_make_no_call_that_is_a_managers(lab: ManagerLab, tmp_path: Path) -> None:
    lab.start(bootstrap={})
    _, pems = trio.run(joined, lab, tmp_path / "worker")
    theirs = [call for call in CALLS.values() if call.caller is Caller.MANAGER and not call.to_agent]

    async def main() -> None:
        async with connect(lab.address, tls.client_context(*pems)) as peer:
            for call in theirs:
                with pytest.raises(PermissionDenied, match="only managers may call this"):
                    await _raw(peer, call.name, stream=call.stream)

    trio.run(main)
    assert len(theirs) > 10
    assert "only managers may call this" in log_of(lab)


def test_a_node_is_told_nothing_of_what_others_run_and_is_not_believed_about_it(lab: ManagerLab, tmp_path: Path) -> None:
    lab.start(bootstrap={})

    async def main() -> None:
        (one, one_pems), (_, two_pems) = await joined(lab, tmp_path / "one"), await joined(lab, tmp_path / "two")
        first, second = FakeAgent(lab, one_pems, "one"), FakeAgent(lab, two_pems, "two")
        async with trio.open_nursery() as nursery, lab.control() as peer:
            await nursery.start(first.run)
            await nursery.start(second.run)
            spec = service_spec("secretive", placement=Placement(("node.hostname==one",)))
            credentials = msgspec.structs.replace(spec.task.container, registry_auth="the credentials of its registry")
            spec = msgspec.structs.replace(spec, task=msgspec.structs.replace(spec.task, container=credentials))
            await peer.call("control.service_create", ServiceWrite(spec))
            await first.until(lambda: len(first.tasks) == 1)
            (task,) = first.tasks.values()
            assert task.node_id == one
            assert second.peer is not None
            await second.peer.call("agent.statuses", UpdateStatuses(((task.id, TaskStatus(TaskState.FAILED, 1, err="not yours")),)))
            known = (await peer.call("control.query", Query(Kind.TASK))).tasks
            assert [(found.id, found.status.err) for found in known] == [(task.id, "")]
            assert not second.tasks
            assert b"the credentials of its registry" not in msgspec.msgpack.encode(list(second.items.values()))
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_token_that_was_rotated_away_opens_nothing(lab: ManagerLab) -> None:
    lab.start(bootstrap={})

    async def main() -> None:
        async with lab.control() as peer:
            (cluster,) = (await peer.call("control.query", Query(Kind.CLUSTER))).clusters
            await peer.call("control.cluster_update", ClusterWrite(cluster.meta.version, cluster.spec, rotate_worker_token=True))
            (after,) = (await peer.call("control.query", Query(Kind.CLUSTER))).clusters
        for refused in (cluster.join_tokens.worker, cluster.join_tokens.worker[:-1] + "0", ""):
            with pytest.raises(PermissionDenied, match="A valid join token is necessary to join this cluster"):
                await lab.join(refused)
        assert (await lab.join(after.join_tokens.worker))[0].role == "worker"
        assert (await lab.join(cluster.join_tokens.manager))[0].role == "manager"

    trio.run(main)
    assert "A valid join token is necessary" in log_of(lab)


async def _raw(peer: Peer, name: str, *, stream: bool) -> None:
    """The call with a body that fits nothing: who may not make it is told so before anybody reads it."""
    if not stream:
        await peer.call(name, Nothing())
        return
    async with peer.stream(name, Nothing()) as items:
        async for _ in items:
            pass


def test_certificates_of_another_root_and_keys_of_another_node_are_refused(lab: ManagerLab, tmp_path: Path) -> None:
    lab.start(bootstrap={})
    (tmp_path / "strange").mkdir()
    other = ManagerLab(tmp_path / "strange")
    try:
        other.start(bootstrap={})
        certificate, key, _ = other.credentials()
    finally:
        other.close()
    root = lab.credentials()[2]
    one, _ = trio.run(joined, lab, tmp_path / "one")
    two = trio.run(joined, lab, tmp_path / "two")[1]

    async def main() -> None:
        strange = (certificate, key, root)
        for context in (tls.client_context(*strange), tls.renewal_context(*strange)):
            assert await says(lab, context, "ca.issue", IssueCertificate(certificates.make_csr(key))) != ""
        issued = await renewed(lab, two, keys.new_key())
        assert issued.node_id != one, "the certificate says who asks, never the request"
        with pytest.raises(PermissionDenied, match="another key"):
            await renewed(lab, two, keys.new_key())

    trio.run(main)


NO_UTF8 = b"\x95\x01\x01\xa2\xff\xfe\xc4\x01\x90\x00"
"""A request whose name is no text."""


def test_garbage_long_frames_and_the_slow_end_alone_and_are_logged(lab: ManagerLab) -> None:
    lab.start(bootstrap={})
    root = lab.credentials()[2]

    async def told(context: ssl.SSLContext | None, sent: bytes) -> bytes:
        """What comes back before the manager hangs up."""
        host, port = lab.address.split(":")
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = await trio.open_tcp_stream(host, int(port))
        if context is not None:
            stream = trio.SSLStream(stream, context, server_hostname="swarm-manager")
        back = b""
        async with stream:
            try:
                await stream.send_all(sent)
                while piece := await stream.receive_some(4096):
                    back += piece
            except trio.BrokenResourceError:
                pass
        return back

    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                for sent in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01", bytes(2000)):
                    nursery.start_soon(told, None, sent)
                for sent in ((UNKNOWN_FRAME_BYTES + 1).to_bytes(4, "big"), frame(b"\xc1garbage"), frame(NO_UTF8), b"\xff" * 64):
                    nursery.start_soon(told, tls.client_context("", "", root), sent)
        async with lab.control() as peer:
            await peer.call("control.query", Query(Kind.NODE))

    trio.run(main)
    assert "a connection is refused" in log_of(lab)
    with pytest.raises(Unavailable):
        trio.run(_refused_root, lab)


async def _refused_root(lab: ManagerLab) -> None:
    """A message of more than the unknown may send."""
    async with connect(lab.address, tls.client_context("", "", lab.credentials()[2])) as peer:
        await peer.call("ca.issue", IssueCertificate("x" * (UNKNOWN_FRAME_BYTES + 1)))


def test_who_never_finishes_a_handshake_keeps_nobody_out(lab: ManagerLab) -> None:
    """A slow-loris: more half-open connections than one address may have, each with a byte of a hello; others are served meanwhile."""
    lab.start(bootstrap={})

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            half_open: list[trio.SocketStream] = []
            for _ in range(MAX_HANDSHAKES_PER_ADDRESS + 20):
                stream = await _from("127.0.0.3", lab.port)
                await stream.send_all(b"\x16")
                half_open.append(stream)
            with trio.fail_after(PATIENCE_S):
                async with lab.control() as peer:
                    await peer.call("control.query", Query(Kind.NODE))
                for stream in half_open:  # each is ended by the manager: those too many at once, the others when their time is over
                    nursery.start_soon(_ended, stream)

    trio.run(main)
    assert "a connection is refused" in log_of(lab)


async def _from(source: str, port: int) -> trio.SocketStream:
    """A connection to the manager from another of the loopback's addresses."""
    connecting = trio.socket.socket()
    await connecting.bind((source, 0))
    await connecting.connect(("127.0.0.1", port))
    return trio.SocketStream(connecting)


async def _ended(stream: trio.SocketStream) -> None:
    try:
        assert await stream.receive_some(1) == b""
    except trio.BrokenResourceError:
        pass
    await stream.aclose()
