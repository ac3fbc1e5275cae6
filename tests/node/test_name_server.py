"""The resolver in real namespaces: asked as a container asks it, at 127.0.0.11:53, over datagrams and streams."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.flags
import dns.message
import dns.rrset
import pytest
import trio
import trio.testing

from netfabric.apply import open_fabric
from netfabric.dns import server as dns_server
from netfabric.dns.server import Client, NameServer
from netfabric.dns.upstream import Servers, nameservers
from netfabric.dns.zone import Asker, Contribution, Zone
from netfabric.netlink import netns
from netfabric.view import Bridge, Interface, Sandbox, View

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

BOX = "aaaaaaaaaaaa"
RESOLVER = ("127.0.0.11", 53)
VIEW = View(
    bridges=(Bridge("br-test", "10.9.0.0/24", "10.9.0.1/24"),),
    sandboxes=(Sandbox(BOX, (Interface("eth0", "br-test", "10.9.0.2/24", "10.9.0.1"),), resolver=True),),
)


@dataclass
class World:
    path: str
    inside: int
    zone: Zone
    names: NameServer
    sockets: tuple[int, int]

    def socket(self, kind: socket.SocketKind) -> trio.socket.SocketType:
        with netns.in_namespace(self.inside):
            return trio.socket.from_stdlib_socket(socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK))

    async def ask(self, query: dns.message.Message) -> dns.message.Message:
        with self.socket(socket.SOCK_DGRAM) as sock, trio.fail_after(20):
            await sock.connect(RESOLVER)
            await sock.send(query.to_wire())
            return dns.message.from_wire(await sock.recv(65535))

    async def addresses(self, name: str) -> list[str]:
        found = await self.ask(dns.message.make_query(name, "A"))
        return sorted(r.to_text() for rrset in found.answer for r in rrset)

    async def ask_stream(self, *queries: dns.message.Message) -> list[dns.message.Message]:
        with self.socket(socket.SOCK_STREAM) as sock, trio.fail_after(20):
            await sock.connect(RESOLVER)
            stream = trio.SocketStream(sock)
            for query in queries:
                wire = query.to_wire()
                await stream.send_all(struct.pack("!H", len(wire)) + wire)
            data = b""
            found = []
            while len(found) < len(queries):
                data += await stream.receive_some()
                while len(data) > 2 and len(data) >= 2 + int.from_bytes(data[:2], "big"):
                    length = int.from_bytes(data[:2], "big")
                    found.append(dns.message.from_wire(data[2 : 2 + length]))
                    data = data[2 + length :]
            return found


def big_zone() -> Zone:
    zone = Zone("net", ("10.9.0.0/24",))
    many = tuple(f"10.8.{i // 200}.{i % 200 + 1}" for i in range(400))
    zone.put("web", Contribution((("web", ("10.9.0.7",)), ("many", many))))
    return zone


@asynccontextmanager
async def world(folder: Path, client: Callable[[Zone, str], Client] = lambda zone, _: Client(Asker((zone,)))) -> AsyncIterator[World]:
    node = netns.create_anonymous()
    path = str(folder / "netns" / BOX)
    try:
        async with open_fabric(str(folder), namespace=node) as fabric, trio.open_nursery() as nursery:
            await fabric.reconcile(VIEW)
            inside = netns.open_named(path)
            zone, names = big_zone(), NameServer()
            await nursery.start(names.run)
            sockets = names.open(BOX, path, client(zone, path))
            try:
                yield World(path, inside, zone, names, sockets)
            finally:
                nursery.cancel_scope.cancel()
                os.close(inside)
                with trio.CancelScope(shield=True):
                    await fabric.reconcile(View())
    finally:
        os.close(node)


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main)


def test_names_are_answered_where_a_container_asks(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as w:
            assert await w.addresses("web") == ["10.9.0.7"]
            w.zone.put("web", Contribution((("web", ("10.9.0.8",)),)))
            assert await w.addresses("web") == ["10.9.0.8"]
            (over_stream, again) = await w.ask_stream(dns.message.make_query("web", "A"), dns.message.make_query("web", "AAAA"))
            assert over_stream.answer[0][0].to_text() == "10.9.0.8"
            assert (again.rcode(), again.answer) == (0, [])

    run(main)


def test_a_long_answer_is_cut_in_a_datagram_and_whole_in_a_stream(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as w:
            plain = await w.ask(dns.message.make_query("many", "A"))
            assert plain.flags & dns.flags.TC
            edns = await w.ask(dns.message.make_query("many", "A", use_edns=0, payload=4096))
            assert edns.flags & dns.flags.TC
            assert len(plain.answer[0]) < len(edns.answer[0]) < 400
            (whole,) = await w.ask_stream(dns.message.make_query("many", "A"))
            assert len(whole.answer[0]) == 400

    run(main)


def test_a_container_may_have_port_53_for_itself(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as w:
            with w.socket(socket.SOCK_DGRAM) as own, w.socket(socket.SOCK_STREAM) as listener, w.socket(socket.SOCK_DGRAM) as asker:
                await own.bind(("0.0.0.0", 53))
                await listener.bind(("0.0.0.0", 53))
                listener.listen()
                assert await w.addresses("web") == ["10.9.0.7"]
                await asker.sendto(b"to the container's own", ("10.9.0.2", 53))
                assert await own.recv(100) == b"to the container's own"

    run(main)


def test_questions_asked_while_nobody_serves_are_answered_afterwards(tmp_path: Path) -> None:
    """The sockets are what is kept: a restart of the node process is the end of one NameServer and the start of another on duplicates of them."""

    async def main() -> None:
        async with world(tmp_path) as w:
            kept = (os.dup(w.sockets[0]), os.dup(w.sockets[1]))
            w.names.close(BOX)
            await trio.testing.wait_all_tasks_blocked()
            answers: list[list[str]] = []
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    answers.append(await w.addresses("web"))

                async def ask_stream() -> None:
                    (found,) = await w.ask_stream(dns.message.make_query("web", "A"))
                    answers.append([found.answer[0][0].to_text()])

                nursery.start_soon(ask)
                nursery.start_soon(ask_stream)
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert answers == []
                w.names.open(BOX, w.path, Client(Asker((w.zone,))), kept)
            assert answers == [["10.9.0.7"]] * 2

    run(main)


class Elsewhere:
    """A resolver beside the container (10.9.0.2 port 53 inside it): scripted answers, and what it was asked."""

    def __init__(self, w: World) -> None:
        self.asked: list[str] = []
        self._sock = w.socket(socket.SOCK_DGRAM)
        self.silent = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self._sock.bind(("10.9.0.2", 53))
        task_status.started()
        with self._sock as sock:
            while True:
                data, sender = await sock.recvfrom(4096)
                query = dns.message.from_wire(data)
                name = str(query.question[0].name)
                self.asked.append(name)
                if self.silent:
                    self.silent -= 1
                    continue
                forged = dns.message.make_response(query)
                forged.id ^= 1
                forged.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.66"))
                await sock.sendto(forged.to_wire(), sender)
                answer = dns.message.make_response(query)
                if name.startswith("no."):
                    answer.set_rcode(3)
                else:
                    answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.77"))
                await sock.sendto(answer.to_wire(), sender)


def given(*servers: str) -> Callable[[Zone, str], Client]:
    return lambda zone, path: Client(Asker((zone,)), lambda: Servers(servers, path))


def test_other_names_are_asked_elsewhere_and_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, given("10.9.0.2")) as w, trio.open_nursery() as nursery:
            elsewhere = Elsewhere(w)
            await nursery.start(elsewhere.run)
            for _ in range(3):
                assert await w.addresses("host.example") == ["192.0.2.77"]
            assert elsewhere.asked == ["host.example."]
            for _ in range(2):  # a denial without an SOA is not kept
                assert (await w.ask(dns.message.make_query("no.example", "A"))).rcode() == 3
            assert elsewhere.asked == ["host.example.", "no.example.", "no.example."]
            assert await w.addresses("web") == ["10.9.0.7"]
            nursery.cancel_scope.cancel()

    run(main)


def test_a_silent_resolver_is_followed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netfabric.dns.upstream.TRY_TIMEOUT_S", 0.1)

    async def main() -> None:
        async with world(tmp_path, given("10.9.0.99", "10.9.0.2")) as w, trio.open_nursery() as nursery:
            elsewhere = Elsewhere(w)
            elsewhere.silent = 1
            await nursery.start(elsewhere.run)
            assert await w.addresses("host.example") == ["192.0.2.77"]
            assert elsewhere.asked == ["host.example."] * 2
            nursery.cancel_scope.cancel()

    run(main)


def test_without_anybody_to_ask_the_answer_is_a_failure(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as w:
            assert (await w.ask(dns.message.make_query("host.example", "A"))).rcode() == 2
            (found,) = await w.ask_stream(dns.message.make_query("host.example", "A"))
            assert found.rcode() == 2

    run(main)


def test_questions_asked_elsewhere_are_bounded_for_each_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_server, "FORWARDED_MAX", 4)

    async def main() -> None:
        async with world(tmp_path, given("10.9.0.99")) as w:
            with w.socket(socket.SOCK_DGRAM) as sock, trio.fail_after(20):
                await sock.connect(RESOLVER)
                for number in range(6):
                    await sock.send(dns.message.make_query(f"h{number}.example", "A").to_wire())
                refused = [dns.message.from_wire(await sock.recv(4096)).rcode() for _ in range(2)]
                assert refused == [2, 2]
            assert await w.addresses("web") == ["10.9.0.7"]

    run(main)


def test_streams_are_bounded_for_each_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_server, "STREAMS_MAX", 2)

    async def main() -> None:
        async with world(tmp_path) as w:
            with w.socket(socket.SOCK_STREAM) as one, w.socket(socket.SOCK_STREAM) as two, w.socket(socket.SOCK_STREAM) as three, trio.fail_after(20):
                for sock in (one, two, three):
                    await sock.connect(RESOLVER)
                assert await three.recv(10) == b""

    run(main)


def test_hostile_packets_leave_the_resolver_serving(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as w:
            with w.socket(socket.SOCK_DGRAM) as sock:
                answer = dns.message.make_response(dns.message.make_query("a", "A")).to_wire()
                for data in (b"", b"\0", os.urandom(12), os.urandom(500), b"\0" * 4000, b"\xff" * 9000, answer):
                    await sock.sendto(data, RESOLVER)
            with w.socket(socket.SOCK_STREAM) as stream:
                await stream.connect(RESOLVER)
                await stream.send(b"\xff\xff" + b"\0" * 100)
            with w.socket(socket.SOCK_STREAM) as stream:
                await stream.connect(RESOLVER)
                await stream.send(b"\0\0")
                with trio.fail_after(20):
                    assert await stream.recv(10) == b""
            assert await w.addresses("web") == ["10.9.0.7"]

    run(main)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nameserver 192.0.2.1\nsearch x\nnameserver ::1\n", ("192.0.2.1", "::1")),
        ("# nameserver 192.0.2.1\nnameserver nonsense\nnameserver\n", ()),
        ("nameserver 1.1.1.1\n" * 9, ("1.1.1.1",) * 3),
    ],
)
def test_the_nodes_resolvers_are_those_of_its_file(text: str, found: tuple[str, ...]) -> None:
    assert nameservers(text) == found
