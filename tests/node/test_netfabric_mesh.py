"""Three nodes in namespaces: overlay, gateway bridge, virtual addresses and the routing mesh, by real packets."""

from __future__ import annotations

import errno
import itertools
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
import trio

from netfabric.netlink import netns, sysctls
from netfabric.netlink.conntrack import TIME_WAIT, deletions, dump_connections
from netfabric.netlink.messages import NETLINK_NETFILTER, attribute
from netfabric.netlink.socket import SyncNetlink
from netfabric.view import PublishedPort, View
from tests.node import netfabric_world as w

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

A, B = w.Task("aaaaaaaaaaaa", 1, 1), w.Task("bbbbbbbbbbbb", 2, 2)
TASKS = (A, B)


@pytest.fixture(params=["nft", "ipvs"])
def world(request: pytest.FixtureRequest) -> Iterator[w.World]:
    """Both backends have to behave alike."""
    if request.param == "ipvs" and not w.has_ipvs():
        pytest.skip("this kernel has no IPVS: python -m vm run runs these tests on one that has")
    made = w.build()
    made.backend = request.param
    try:
        yield made
    finally:
        made.close()


@asynccontextmanager
async def serving(world: w.World, tasks: tuple[w.Task, ...] = TASKS) -> AsyncIterator[dict[str, int]]:
    """Descriptors of the tasks' sandboxes, each with a server on its target port that answers with its task's id."""
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        sandboxes = {}
        for task in tasks:
            sandboxes[task.id] = stack.enter_context(world.sandbox(task.node, task.id))
            await nursery.start(w.serve, sandboxes[task.id], 80, task.id)
        yield sandboxes
        nursery.cancel_scope.cancel()


def run(world: w.World, story: Callable[[dict[str, int]], Awaitable[None]]) -> None:
    """Opens all fabrics, starts both tasks and lets `story` look around."""

    async def main() -> None:
        async with world.open():
            await world.reconcile(TASKS)
            async with serving(world) as sandboxes:
                await story(sandboxes)

    trio.run(main)


async def answers(namespace: int, address: str, port: int, times: int) -> list[str]:
    return [(await w.ask(namespace, address, port))[0] for _ in range(times)]


def in_turn(names: list[str]) -> bool:
    return set(names) == {A.id, B.id} and all(one != two for one, two in itertools.pairwise(names))


def test_tasks_on_two_nodes_reach_each_other_and_the_outside(world: w.World) -> None:
    async def story(sandboxes: dict[str, int]) -> None:
        assert await w.ping(sandboxes[A.id], B.on_mynet)
        assert await w.ping(sandboxes[B.id], A.on_mynet)
        assert await w.ping(sandboxes[A.id], w.OUTSIDE)
        assert await w.ask(sandboxes[A.id], B.on_mynet, 80) == (B.id, A.on_mynet)

    run(world, story)


def test_outbound_traffic_leaves_behind_the_node_s_address(world: w.World) -> None:
    async def story(sandboxes: dict[str, int]) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(w.serve, world.client, 7000, "client")
            assert await w.ask(sandboxes[A.id], w.CLIENT, 7000) == ("client", w.vtep(1))
            nursery.cancel_scope.cancel()

    run(world, story)


@pytest.mark.parametrize("bridge_netfilter", ["0", "1"])
def test_containers_on_the_gateway_bridge_do_not_reach_each_other(world: w.World, bridge_netfilter: str) -> None:
    world.set_bridge_netfilter(1, bridge_netfilter)

    async def main() -> None:
        neighbour = w.Task("cccccccccccc", 1, 3)
        async with world.open(1):
            await world.reconcile([A, neighbour])
            async with serving(world, (A, neighbour)) as sandboxes:
                with pytest.raises((trio.TooSlowError, OSError)):
                    await w.ask(sandboxes[A.id], "172.18.0.13", 80, within_s=0.5)
                assert await w.ask(sandboxes[A.id], neighbour.on_mynet, 80) == (neighbour.id, A.on_mynet)

    trio.run(main)


def test_interfaces_are_as_the_seed_shows_them(world: w.World) -> None:
    async def story(sandboxes: dict[str, int]) -> None:
        shown = (await w.output(sandboxes[A.id], "ip", "-o", "-4", "addr")).splitlines()
        assert [line.split()[1:4] for line in shown] == [
            ["lo", "inet", "127.0.0.1/8"],
            ["eth0", "inet", "10.0.0.11/24"],
            ["eth1", "inet", "172.18.0.11/16"],
            ["eth2", "inet", "10.0.1.11/24"],
        ]
        links = await w.output(sandboxes[A.id], "ip", "-o", "link")
        overlay = next(line for line in links.splitlines() if "eth2" in line)
        assert "mtu 1450" in overlay
        assert "link/ether 02:42:0a:00:01:0b" in overlay
        assert "inet6" not in await w.output(sandboxes[A.id], "ip", "addr")

    run(world, story)


@pytest.mark.parametrize("node", w.NODES)
def test_a_published_port_answers_on_every_node_in_turn(world: w.World, node: int) -> None:
    async def story(_: dict[str, int]) -> None:
        seen = [await w.ask(world.client, w.vtep(node), 8080) for _ in range(6)]
        assert in_turn([name for name, _ in seen])
        assert {address for _, address in seen} == {w.CLIENT}

    run(world, story)


@pytest.mark.parametrize("address", ["127.0.0.1", w.vtep(3)])
def test_a_published_port_answers_on_the_node_itself(world: w.World, address: str) -> None:
    async def story(_: dict[str, int]) -> None:
        assert in_turn(await answers(world.nodes[3], address, 8080, 4))

    run(world, story)


def test_a_published_port_answers_over_ipv6(world: w.World) -> None:
    async def story(_: dict[str, int]) -> None:
        assert in_turn(await answers(world.nodes[3], "::1", 8080, 4))

    run(world, story)


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_port_in_both_protocols_leads_each_to_its_target(world: w.World, protocol: str) -> None:
    both = (PublishedPort("udp", 5300, 53, masquerade=True), PublishedPort("tcp", 5300, 53))

    def view(node: int) -> View:
        some = w.view(node, (A,))
        balancers = tuple(replace(b, ports=both) for b in some.overlays[0].balancers)
        sandboxes = tuple(replace(sandbox, ingress_ports=both) for sandbox in some.sandboxes)
        return replace(some, overlays=(replace(some.overlays[0], balancers=balancers), *some.overlays[1:]), sandboxes=sandboxes)

    async def main() -> None:
        async with world.open(1, 2):
            for node in (1, 2):
                await world.fabrics[node].reconcile(view(node))
            with world.sandbox(1, A.id) as a, w.datagram_socket(a) as server, w.datagram_socket(world.client) as client:
                await server.bind(("0.0.0.0", 53))
                async with trio.open_nursery() as nursery:
                    await nursery.start(w.serve, a, 53, A.id)
                    with trio.fail_after(5):
                        if protocol == "tcp":
                            assert await w.ask(world.client, w.vtep(2), 5300) == (A.id, w.CLIENT)
                        else:
                            await client.sendto(b"question", (w.vtep(2), 5300))
                            question, sender = await server.recvfrom(100)
                            assert (question, sender[0]) == (b"question", "10.0.0.3")
                            await server.sendto(b"answer", sender)
                            assert await client.recvfrom(100) == (b"answer", (w.vtep(2), 5300))
                    nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_range_of_ports_leads_to_a_range_of_targets(world: w.World) -> None:
    ports = tuple(PublishedPort("tcp", 8000 + number, 80 + number) for number in range(3))

    def view(node: int) -> View:
        some = w.view(node, TASKS)
        balancers = tuple(replace(b, ports=ports) for b in some.overlays[0].balancers)
        sandboxes = tuple(replace(sandbox, ingress_ports=ports) for sandbox in some.sandboxes)
        return replace(some, overlays=(replace(some.overlays[0], balancers=balancers), *some.overlays[1:]), sandboxes=sandboxes)

    async def main() -> None:
        async with world.open(), AsyncExitStack() as stack:
            for node in w.NODES:
                await world.fabrics[node].reconcile(view(node))
            async with trio.open_nursery() as nursery:
                for task in TASKS:
                    sandbox = stack.enter_context(world.sandbox(task.node, task.id))
                    for number in range(3):
                        await nursery.start(w.serve, sandbox, 80 + number, f"{task.id}:{80 + number}")
                for number in range(3):
                    seen = await answers(world.client, w.vtep(3), 8000 + number, 4)
                    assert set(seen) == {f"{task.id}:{80 + number}" for task in TASKS}
                nursery.cancel_scope.cancel()

    trio.run(main)


@pytest.mark.parametrize("bridge_netfilter", ["0", "1"])
def test_a_container_reaches_its_own_node_s_published_port(world: w.World, bridge_netfilter: str) -> None:
    world.set_bridge_netfilter(1, bridge_netfilter)

    async def story(sandboxes: dict[str, int]) -> None:
        assert in_turn(await answers(sandboxes[A.id], w.vtep(1), 8080, 4))

    run(world, story)


def test_a_virtual_address_answers_tasks_in_turn_themselves_included(world: w.World) -> None:
    async def story(sandboxes: dict[str, int]) -> None:
        assert in_turn(await answers(sandboxes[A.id], "10.0.1.5", 80, 4))
        assert in_turn(await answers(sandboxes[B.id], "10.0.1.5", 80, 4))
        assert await w.ping(sandboxes[A.id], "10.0.1.5")

    run(world, story)


def test_a_task_takes_only_its_target_ports_on_ingress(world: w.World) -> None:
    async def story(sandboxes: dict[str, int]) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(w.serve, sandboxes[B.id], 81, "secret")
            assert await w.ask(sandboxes[A.id], B.on_mynet, 81) == ("secret", A.on_mynet)
            with world.sandbox(1, "ingress_sbox") as ingress, pytest.raises((trio.TooSlowError, OSError)):
                await w.ask(ingress, B.on_ingress, 81, within_s=0.5)
            nursery.cancel_scope.cancel()

    run(world, story)


def test_a_draining_task_gets_no_new_connections_and_keeps_its_old_ones(world: w.World) -> None:
    async def main() -> None:
        async with world.open():
            await world.reconcile([B])
            with world.sandbox(2, B.id) as sandbox, w.stream_socket(sandbox) as listener:
                await listener.bind(("0.0.0.0", 80))
                listener.listen()
                with w.stream_socket(world.client) as client:
                    await client.connect((w.vtep(3), 8080))
                    server, _ = await listener.accept()
                    with server:
                        await world.reconcile([A, B], draining=[B.id])
                        async with serving(world, (A,)):
                            assert await answers(world.client, w.vtep(3), 8080, 3) == [A.id] * 3
                        await client.send(b"still here")
                        with trio.fail_after(2):
                            assert await server.recv(100) == b"still here"

    trio.run(main)


def test_a_stream_of_datagrams_leaves_a_server_that_is_gone(world: w.World) -> None:
    """From one client port: the translation is in the tracked connection, which must go with the server."""
    syslog = PublishedPort("udp", 5140, 514)

    def view(node: int, tasks: tuple[w.Task, ...]) -> View:
        some = w.view(node, tasks)
        balancers = tuple(replace(b, ports=(syslog,)) for b in some.overlays[0].balancers)
        sandboxes = tuple(replace(sandbox, ingress_ports=(syslog,)) for sandbox in some.sandboxes)
        return replace(some, overlays=(replace(some.overlays[0], balancers=balancers), *some.overlays[1:]), sandboxes=sandboxes)

    async def main() -> None:
        async with world.open(1, 2):
            for node in (1, 2):
                await world.fabrics[node].reconcile(view(node, (A,)))
            with w.datagram_socket(world.client) as client, world.sandbox(1, A.id) as a, w.datagram_socket(a) as first:
                await first.bind(("0.0.0.0", 514))
                await client.sendto(b"one", (w.vtep(2), 5140))
                with trio.fail_after(5):
                    assert await first.recv(100) == b"one"
                for node in (2, 1):
                    await world.fabrics[node].reconcile(view(node, TASKS))
                    await world.fabrics[node].reconcile(view(node, (B,)))
                with world.sandbox(2, B.id) as b, w.datagram_socket(b) as second:
                    await second.bind(("0.0.0.0", 514))
                    await client.sendto(b"two", (w.vtep(2), 5140))
                    with trio.fail_after(5):
                        assert await second.recv(100) == b"two"

    trio.run(main)


@pytest.mark.parametrize("world", ["nft"], indirect=True)
def test_a_port_taken_again_keeps_its_new_connection_when_the_old_one_s_server_is_forgotten(world: w.World) -> None:
    """Ended connections stay tracked for two minutes; a client's ports come round sooner, also between a listing and what is deleted by it."""

    async def connected() -> trio.socket.SocketType:
        client = w.stream_socket(world.client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await client.bind(("", 45678))
        await client.connect((w.vtep(3), 8080))
        return client

    async def main() -> None:
        async with world.open():
            await world.reconcile(TASKS, draining=[B.id])
            with (world.sandbox(3, "ingress_sbox") as balancer, SyncNetlink(balancer, NETLINK_NETFILTER) as tracked,
                  world.sandbox(1, A.id) as a, world.sandbox(2, B.id) as b):  # fmt: skip
                async with trio.open_nursery() as nursery:
                    await nursery.start(w.serve, a, 80, A.id)
                    with await connected() as client:
                        assert (await client.recv(100)).startswith(A.id.encode())
                        assert await client.recv(100) == b""
                    nursery.cancel_scope.cancel()
                (listing,) = tracked.request(dump_connections())
                with trio.fail_after(5):
                    while not any(attribute(1, TIME_WAIT) in entry for _, entry in listing):
                        await trio.sleep(0.01)
                        (listing,) = tracked.request(dump_connections())
                await world.reconcile(TASKS, draining=[A.id])
                with w.stream_socket(b) as listener:
                    await listener.bind(("0.0.0.0", 80))
                    listener.listen()
                    with await connected() as client:
                        server, _ = await listener.accept()
                        await world.reconcile(TASKS, draining=[B.id])  # or what is not tracked would be led to the same server by chance
                        tracked.request(*deletions(listing, frozenset({A.on_ingress})), tolerate={errno.ENOENT})
                        with server, trio.fail_after(5):
                            await client.send(b"still here")
                            assert await server.recv(100) == b"still here"
                            await server.send(b"so am I")
                            assert await client.recv(100) == b"so am I"

    trio.run(main)


def published_as(view: View, **what: object) -> View:
    """The view with its web port balanced in another way; `what` are fields of its balancer or of its port."""
    ingress, *rest = view.overlays
    (web,) = ingress.balancers
    if "masquerade" in what:
        changed = replace(web, ports=(replace(w.WEB, masquerade=True),))
    else:
        changed = replace(web, mark=web.mark + 0x10000, virtual_ip="", affinity=True)
    return replace(view, overlays=(replace(ingress, balancers=(changed,)), *rest))


def test_a_port_may_hide_its_clients(world: w.World) -> None:
    async def story(_: dict[str, int]) -> None:
        for node, fabric in world.fabrics.items():
            await fabric.reconcile(published_as(w.view(node, TASKS), masquerade=True))
        assert {await w.ask(world.client, w.vtep(3), 8080) for _ in range(2)} == {(A.id, "10.0.0.4"), (B.id, "10.0.0.4")}

    run(world, story)


def test_sources_that_mean_something_else_elsewhere_are_hidden(world: w.World) -> None:
    """A client whose address lies in the subnet of an overlay, and the node itself."""

    async def story(_: dict[str, int]) -> None:
        await w.output(world.client, "ip", "addr", "add", "10.0.1.99/32", "dev", "eth0")
        await w.output(world.nodes[3], "ip", "route", "add", "10.0.1.99", "dev", "eth0")
        assert (await w.ask(world.client, w.vtep(3), 8080, source="10.0.1.99"))[1] == "10.0.0.4"
        assert (await w.ask(world.nodes[3], w.vtep(3), 8080))[1] == "10.0.0.4"

    run(world, story)


def test_a_client_may_stay_with_its_task(world: w.World) -> None:
    async def story(_: dict[str, int]) -> None:
        for node, fabric in world.fabrics.items():
            await fabric.reconcile(published_as(w.view(node, TASKS), affinity=True))
        clients = [f"192.0.2.{100 + n}" for n in range(8)]
        for address in clients[1:]:
            await w.output(world.client, "ip", "addr", "add", f"{address}/24", "dev", "eth0")
        chosen = {}
        for address in clients:
            through = w.NODES if world.backend == "nft" else (1, 1)  # IPVS hashes by the order in which a node heard of servers
            seen = {(await w.ask(world.client, w.vtep(node), 8080, source=address))[0] for node in through}
            assert len(seen) == 1
            chosen[address] = seen.pop()
        assert set(chosen.values()) == {A.id, B.id}
        left = A.id
        for node, fabric in world.fabrics.items():
            await fabric.reconcile(published_as(w.view(node, TASKS, draining=[B.id]), affinity=True))
        for address in clients:
            assert (await w.ask(world.client, w.vtep(1), 8080, source=address))[0] == left

    run(world, story)


def test_idle_connections_are_kept_for_hours(world: w.World) -> None:
    async def story(_: dict[str, int]) -> None:
        with world.sandbox(3, "ingress_sbox") as sandbox:
            with netns.in_namespace(sandbox):
                assert int(sysctls.read("net.netfilter.nf_conntrack_tcp_timeout_established")) >= 7200
            if world.backend == "ipvs":
                assert "Timeout (tcp tcpfin udp): 7200 120 300" in await w.output(sandbox, "ipvsadm", "-L", "--timeout")

    run(world, story)


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_nothing_deviates_after_an_application(world: w.World, protocol: str) -> None:
    """The kernel spells back what it was given, in every protocol and manner of balancing."""
    ports = (PublishedPort(protocol, 9000, 90), PublishedPort(protocol, 9001, 90, masquerade=True))

    def view(node: int) -> View:
        some = w.view(node, TASKS)
        (web,) = some.overlays[0].balancers
        sticky = replace(web, mark=web.mark + 0x10000, virtual_ip="", affinity=True, ports=ports[1:])
        balancers = (replace(web, ports=ports[:1]), sticky)
        sandboxes = tuple(replace(sandbox, ingress_ports=ports) for sandbox in some.sandboxes)
        return replace(some, overlays=(replace(some.overlays[0], balancers=balancers), *some.overlays[1:]), sandboxes=sandboxes)

    async def story(_: dict[str, int]) -> None:
        for node, fabric in world.fabrics.items():
            await fabric.reconcile(view(node))
            left = await fabric.difference(view(node))
            assert [o for o in left if not (protocol == "sctp" and "HeldPort" in str(o))] == []  # not every kernel can hold SCTP's

    run(world, story)


def test_nothing_deviates_after_servers_have_come_and_gone(world: w.World) -> None:
    async def story(_: dict[str, int]) -> None:
        for affinity in (False, True):
            for draining in ((), (A.id,), ()):
                for node, fabric in world.fabrics.items():
                    view = w.with_ipv6(w.view(node, TASKS, draining=draining))
                    view = published_as(view, affinity=True) if affinity else view
                    await fabric.reconcile(view)
                    assert await fabric.difference(view) == ()

    run(world, story)


def test_an_unpublished_port_is_refused_and_free_again(world: w.World) -> None:
    async def story(_: dict[str, int]) -> None:
        with w.stream_socket(world.nodes[3]) as taken:
            with pytest.raises(OSError, match="Address already in use") as refused:
                await taken.bind(("0.0.0.0", 8080))
            assert refused.value.errno == errno.EADDRINUSE
            await world.reconcile(TASKS, published=False)
            await taken.bind(("0.0.0.0", 8080))
        with pytest.raises(ConnectionRefusedError):
            await w.ask(world.client, w.vtep(3), 8080)

    run(world, story)


def test_a_service_without_tasks_refuses_connections(world: w.World) -> None:
    async def story(_: dict[str, int]) -> None:
        await world.reconcile(TASKS, draining=[A.id, B.id])
        with pytest.raises(ConnectionRefusedError):
            await w.ask(world.client, w.vtep(3), 8080)

    run(world, story)


def test_foreign_packets_to_loopback_are_dropped(world: w.World) -> None:
    """A container that routes 127.0.0.0/8 to its gateway must not reach the node's own loopback."""

    async def story(sandboxes: dict[str, int]) -> None:
        with netns.in_namespace(sandboxes[A.id]):
            sysctls.write("net.ipv4.conf.all.route_localnet", "1")
        with netns.in_namespace(world.nodes[1]):
            listener = socket.create_server(("127.0.0.1", 7001))
        with listener:
            await w.output(sandboxes[A.id], "ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
            await w.output(sandboxes[A.id], "ip", "route", "add", "127.0.0.1", "via", "172.18.0.1")
            with pytest.raises((trio.TooSlowError, OSError)):
                await w.ask(sandboxes[A.id], "127.0.0.1", 7001, within_s=0.5)
        rules = await w.output(world.nodes[1], "nft", "list", "chain", "ip", "festoon", "LOCALNET")
        dropped = re.search(r"ip daddr 127\.0\.0\.0/8 iifname .* counter packets (\d+)", rules)
        assert dropped is not None
        assert int(dropped[1]) > 0

    run(world, story)


def test_path_reads_every_hop_of_the_seed_from_the_kernel(world: w.World) -> None:
    async def story(_: dict[str, int]) -> None:
        await answers(world.client, w.vtep(1), 8080, 4)
        hops = await world.fabrics[1].path(w.view(1, TASKS), 8080)
        text = "\n".join(f"{hop.namespace} {hop.what} {' '.join(hop.details)}" for hop in hops)
        for word in ("DOCKER-INGRESS", "172.18.0.2:8080", "docker_gwbridge", "ingress_sbox", "10.0.0.2/24", "172.18.0.2/16"):
            assert word in text
        for word in ("mark 0x100", "FWM  256 rr", "vni 4096", f"dst {w.vtep(2)}", "redirect to :80", "10.0.0.11", "10.0.0.12"):
            assert word in text
        assert "missing" not in text
        assert hops[0].packets == 4
        counted = "weight 1 connections 2" if world.backend == "nft" else "weight 1 ActiveConn 0 InActConn 2"  # IPVS sums its totals up every 2 s
        assert text.count(counted) == 2
        assert await world.fabrics[1].path(w.view(1, TASKS), 9999) == ()

    run(world, story)


def test_a_network_with_ipv6_has_it_for_tasks_virtual_addresses_and_draining(world: w.World) -> None:
    async def main() -> None:
        async with world.open():

            async def reconcile(*draining: str) -> None:
                for node, fabric in world.fabrics.items():
                    wanted = w.with_ipv6(w.view(node, TASKS, draining=draining))
                    await fabric.reconcile(wanted)
                    assert not await fabric.difference(wanted)

            await reconcile()
            async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
                sandboxes = {task.id: stack.enter_context(world.sandbox(task.node, task.id)) for task in TASKS}
                for task in TASKS:
                    await nursery.start(w.serve, sandboxes[task.id], 80, task.id, w.twin(task.on_mynet))
                assert await w.ask(sandboxes[A.id], w.twin(B.on_mynet), 80) == (B.id, w.twin(A.on_mynet))
                assert in_turn(await answers(sandboxes[A.id], w.twin("10.0.1.5"), 80, 4))
                await reconcile(A.id)
                assert set(await answers(sandboxes[B.id], w.twin("10.0.1.5"), 80, 3)) == {B.id}
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_sctp_is_balanced_by_published_port_and_virtual_address(world: w.World) -> None:
    if not w.has_sctp():
        pytest.skip("this kernel has no SCTP: python -m vm run runs this test on one that has")
    port = PublishedPort("sctp", 8090, 90, masquerade=True)

    def with_sctp(some: View) -> View:
        overlays = tuple(
            replace(o, balancers=tuple(replace(b, ports=(*b.ports, port)) if o.ingress else b for b in o.balancers)) for o in some.overlays
        )
        sandboxes = tuple(replace(s, ingress_ports=(*s.ingress_ports, port)) for s in some.sandboxes)
        return replace(some, overlays=overlays, sandboxes=sandboxes)

    async def main() -> None:
        async with world.open():
            for node, fabric in world.fabrics.items():
                await fabric.reconcile(with_sctp(w.view(node, TASKS)))
            async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
                sandboxes = {task.id: stack.enter_context(world.sandbox(task.node, task.id)) for task in TASKS}
                for task in TASKS:
                    await nursery.start(w.serve, sandboxes[task.id], 90, task.id, "0.0.0.0", socket.IPPROTO_SCTP)
                for asked_from, address, number in ((world.client, w.vtep(3), 8090), (sandboxes[A.id], "10.0.1.5", 90)):
                    names = [(await w.ask(asked_from, address, number, protocol=socket.IPPROTO_SCTP))[0] for _ in range(4)]
                    assert in_turn(names), (address, names)
                nursery.cancel_scope.cancel()

    trio.run(main)
