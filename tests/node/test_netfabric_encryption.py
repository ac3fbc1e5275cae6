"""Encrypted overlays: what two nodes exchange is ESP, what comes in the clear is dropped, and without ESP nothing leaves. By real packets."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest
import trio
import trio.testing

from netfabric.encryption import spi
from netfabric.links.veth import mac_of
from netfabric.netlink import netns
from netfabric.view import Interface, Key, Overlay, Remote, Sandbox, View
from tests.node import netfabric_world as w

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
OVERLAY = "secretsecretsecretsecrets"
VNI = 4098
KEYS = (Key(1, bytes(range(16))), Key(2, bytes(range(16, 32))), Key(3, bytes(range(32, 48))))
ETH_P_ALL = 3
PORTS = (4789, 5789)
"""Docker's own, and one as `swarm init --data-path-port` chooses it: CVE-2023-28840 was of the second."""
WAIT_S = 5.0
UDP, ESP = 17, 50


def address(node: int) -> str:
    return f"10.0.9.{10 + node}"


def view(node: int, keys: tuple[Key, ...] = KEYS[:1], *, encrypted: bool = True, port: int = PORTS[0]) -> View:
    """One container per node, on one overlay."""
    remotes = tuple(Remote(address(other), w.vtep(other)) for other in w.NODES if other != node)
    overlay = Overlay(OVERLAY, "secret", VNI, "10.0.9.0/24", "10.0.9.1", f"10.0.9.{100 + node}/24", remotes=remotes, encrypted=encrypted)
    sandbox = Sandbox(f"container{node:03}", (Interface("eth0", OVERLAY, f"{address(node)}/24"),))
    return View(vtep=w.vtep(node), gateway_bridge=w.GATEWAY_BRIDGE, overlays=(overlay,), sandboxes=(sandbox,), keys=keys, vxlan_port=port)


@pytest.fixture
def world() -> Iterator[w.World]:
    made = w.build()
    try:
        yield made
    finally:
        made.close()


def listener(namespace: int) -> socket.socket:
    """Sees every packet that crosses the namespace's interfaces."""
    with netns.in_namespace(namespace):
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))


def protocols(seen: socket.socket, *addresses: str) -> list[int]:
    """The IP protocols of what was seen between these VTEPs."""
    seen.setblocking(False)
    found = []
    wanted = {socket.inet_aton(a) for a in addresses}
    while True:
        try:
            frame = seen.recv(65536)
        except BlockingIOError:
            return found
        if frame[12:14] == b"\x08\x00" and {frame[26:30], frame[30:34]} <= wanted:
            found.append(frame[23])


async def ask(world: w.World, source: int, destination: int) -> str:
    """What a datagram from one node's container to another's is answered with; "" when it is not."""
    with world.sandbox(destination, f"container{destination:03}") as there, world.sandbox(source, f"container{source:03}") as here:
        with netns.in_namespace(there):
            server = trio.socket.from_stdlib_socket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with netns.in_namespace(here):
            client = trio.socket.from_stdlib_socket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with server, client:
            await server.bind((address(destination), 5000))
            with trio.move_on_after(WAIT_S):
                await client.sendto(b"hello", (address(destination), 5000))
                question, sender = await server.recvfrom(100)
                await server.sendto(question, sender)
                return (await client.recv(100)).decode()
            return ""


def vxlan_frame(source: int, destination: int) -> bytes:
    """A datagram to the other container's port 5000 as VXLAN would carry it in the clear."""
    payload = b"forged"
    udp = struct.pack("!HHHH", 1, 5000, 8 + len(payload), 0) + payload
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, UDP, 0, socket.inet_aton(address(source)), socket.inet_aton(address(destination)))
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:]
    macs = b"".join(bytes.fromhex(mac_of(address(n)).replace(":", "")) for n in (destination, source))
    return struct.pack("!BBBBI", 8, 0, 0, 0, VNI << 8) + macs + b"\x08\x00" + header + udp


async def forged_arrives(world: w.World, source: int, destination: int, wait_s: float, port: int) -> bool:
    """Whether a cleartext frame, sent to the other node's VXLAN port from outside, reaches the container there."""
    with world.sandbox(destination, f"container{destination:03}") as there:
        with netns.in_namespace(there):
            server = trio.socket.from_stdlib_socket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with netns.in_namespace(world.client):
            attacker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with server, attacker:
            await server.bind((address(destination), 5000))
            attacker.sendto(vxlan_frame(source, destination), (w.vtep(destination), port))
            with trio.move_on_after(wait_s):
                return await server.recv(100) == b"forged"
    return False


async def reconcile(world: w.World, keys: tuple[Key, ...] = KEYS[:1], *, encrypted: bool = True, port: int = PORTS[0]) -> None:
    for node, fabric in world.fabrics.items():
        await fabric.reconcile(view(node, keys, encrypted=encrypted, port=port))


@pytest.mark.parametrize("port", PORTS)
def test_the_forged_frame_is_one_that_an_open_overlay_takes(world: w.World, port: int) -> None:
    async def main() -> None:
        async with world.open():
            await reconcile(world, encrypted=False, port=port)
            assert await ask(world, 1, 2) == "hello"
            assert await forged_arrives(world, 1, 2, WAIT_S, port)

    trio.run(main)


@pytest.mark.parametrize("port", PORTS)
def test_nothing_of_an_encrypted_overlay_crosses_the_underlay_in_the_clear(world: w.World, port: int) -> None:
    async def main() -> None:
        async with world.open():
            await reconcile(world, port=port)
            with listener(world.underlay) as seen:
                answer = await ask(world, 1, 2)
                assert not await forged_arrives(world, 1, 2, 1.0, port)
                crossed = protocols(seen, w.vtep(1), w.vtep(2))
            if world.fabrics[1].encrypts:
                assert answer == "hello"
                assert crossed
                assert set(crossed) == {ESP}
            else:
                assert answer == ""
                assert crossed == []

    trio.run(main)


def test_a_node_that_is_told_no_keys_sends_nothing(world: w.World) -> None:
    async def main() -> None:
        async with world.open():
            await reconcile(world, ())
            with listener(world.underlay) as seen:
                with trio.move_on_after(1.0):
                    assert await ask(world, 1, 2) == ""
                assert protocols(seen, w.vtep(1), w.vtep(2)) == []

    trio.run(main)


def test_a_turn_of_the_ring_interrupts_nothing_while_nodes_hear_of_it_one_after_the_other(world: w.World) -> None:
    async def main() -> None:
        async with world.open():
            if not world.fabrics[1].encrypts:
                pytest.skip("this kernel has no ESP: python -m vm run runs these tests on one that has")
            await reconcile(world)
            for ring in (KEYS[:2], KEYS):
                for node, fabric in world.fabrics.items():
                    await fabric.reconcile(view(node, ring))
                    assert await ask(world, 1, 2) == "hello"
                    assert await ask(world, 2, 3) == "hello"

    trio.run(main)


def test_what_is_there_is_known_again_and_the_rest_repaired(world: w.World) -> None:
    async def main() -> None:
        async with world.open():
            await reconcile(world)
            for node, fabric in world.fabrics.items():
                assert await fabric.difference(view(node)) == ()
        async with world.open():
            await reconcile(world)
            for node, fabric in world.fabrics.items():
                await fabric.reconcile(replace(view(node), overlays=(), sandboxes=()))
                assert await fabric.difference(replace(view(node), overlays=(), sandboxes=())) == ()

    trio.run(main)


BY_HAND = {
    "the guard": "nft delete table ip festoon-encryption",
    "a rule of the guard": "nft flush chain ip festoon-encryption INPUT",
    "the policies": "ip xfrm policy flush",
    "the associations": "ip xfrm state flush",
    "one policy": f"ip xfrm policy delete src {w.vtep(1)}/32 dst {w.vtep(2)}/32 proto udp dport 4789 dir out mark 0xd0c4e3 mask 0xffffffff",
    "one association": f"ip xfrm state delete src {w.vtep(1)} dst {w.vtep(2)} proto esp spi {spi(w.vtep(1), w.vtep(2), 1):#x}",
}


@pytest.mark.parametrize("what", BY_HAND)
def test_what_somebody_takes_away_of_it_is_back_at_once(world: w.World, what: str) -> None:
    """Nobody asks: the kernel tells."""

    async def main() -> None:
        async with world.open(1):
            fabric = world.fabrics[1]
            if "xfrm" in BY_HAND[what] and not fabric.encrypts:
                pytest.skip("this kernel has no ESP: python -m vm run runs these tests on one that has")
            await fabric.reconcile(view(1))
            await w.output(world.nodes[1], *BY_HAND[what].split())
            with trio.fail_after(20):
                while await fabric.difference(view(1)) != ():
                    await trio.sleep(0.01)

    trio.run(main)


def test_our_own_changes_of_it_are_no_deviation(world: w.World, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with world.open(1):
            for keys, encrypted in ((KEYS[:1], True), (KEYS[:2], True), (KEYS, True), (KEYS, False), (KEYS[1:], True)):
                await world.fabrics[1].reconcile(view(1, keys, encrypted=encrypted))
                await trio.testing.wait_all_tasks_blocked(0.02)
            await world.fabrics[1].reconcile(View())
            await trio.testing.wait_all_tasks_blocked(0.02)

    with caplog.at_level("WARNING", "netfabric"):
        trio.run(main)
    assert [r.getMessage() for r in caplog.records if "changed by others" in r.getMessage()] == []


def test_indexes_are_of_one_direction_and_key() -> None:
    found = {spi(a, b, tag) for a, b in (("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")) for tag in (1, 2)}
    assert len(found) == 4
    assert min(found) > 255
