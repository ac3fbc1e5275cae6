"""What a fabric does with the kernel as it finds it: after damage, after kill -9, after the end, with what is not
its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
import trio
import trio.testing

from netfabric.anatomy.balancer import Balancing
from netfabric.audit import AUDIT_S
from netfabric.diff import diff
from netfabric.errors import BackendUnavailable, FabricError
from netfabric.handles import Handles
from netfabric.netlink import netns
from netfabric.netlink.exchange import NetlinkError
from netfabric.netlink.ipvs import get_family
from netfabric.netlink.messages import NETLINK_GENERIC
from netfabric.netlink.socket import SyncNetlink
from netfabric.perform import Kernel, perform
from netfabric.plan import plan
from netfabric.state import NOTHING
from netfabric.view import Bridge, HostPort, Interface, Sandbox, View
from tests.node import netfabric_world as w

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

A, B = w.Task("aaaaaaaaaaaa", 1, 1), w.Task("bbbbbbbbbbbb", 2, 2)
TASKS = (A, B)
CRASH_STRIDE = 1


@pytest.fixture
def world() -> Iterator[w.World]:
    made = w.build()
    try:
        yield made
    finally:
        made.close()


def test_a_fresh_start_finds_everything_as_it_was(world: w.World) -> None:
    async def main() -> None:
        async with world.open():
            await world.reconcile(TASKS)
        async with world.open():
            for node in w.NODES:
                left = await world.fabrics[node].difference(w.view(node, TASKS))
                assert [o for o in left if "HeldPort" not in str(o)] == []

    trio.run(main)


def test_who_waits_for_a_fabric_that_has_ended_is_told(world: w.World) -> None:
    """Also who is shielded from the cancellation: a bug in one view must not hang the whole node."""

    async def main() -> None:
        with pytest.RaisesGroup(ValueError, FabricError, flatten_subgroups=True):
            async with world.open(1):
                fabric = world.fabrics[1]
                broken = Sandbox("c" * 12, (Interface("eth0", "lan", "10.9.0.2/24", further=("x/16",)),))
                try:
                    await fabric.reconcile(View(bridges=(Bridge("lan", "10.9.0.0/24", "10.9.0.1/24"),), sandboxes=(broken,)))
                finally:
                    with trio.CancelScope(shield=True), pytest.raises(FabricError, match="the fabric has ended"):
                        await fabric.reconcile(View())

    trio.run(main)


def test_a_fresh_start_does_not_disturb_a_connection(world: w.World) -> None:
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
                    async with world.open():
                        await world.reconcile([B])
                        await client.send(b"still here")
                        with trio.fail_after(2):
                            assert await server.recv(100) == b"still here"

    trio.run(main)


DAMAGE = {
    "port of a task": ("1-ingressing", "ip link del {port}"),
    "tunnel": ("1-ingressing", "ip link del vxlan0"),
    "overlay bridge": ("1-mynetmynet", "ip link del br0"),
    "link down": ("1-mynetmynet", "ip link set br0 down"),
    "gateway bridge": ("", "ip link del docker_gwbridge"),
    "forwarding entry": ("1-mynetmynet", "bridge fdb del 02:42:0a:00:01:0c dev vxlan0 self"),
    "neighbour": ("1-mynetmynet", "ip neigh del 10.0.1.12 dev vxlan0"),
    "address": ("ingress_sbox", "ip addr del 10.0.0.2/24 dev eth0"),
    "route": ("ingress_sbox", "ip route del default"),
    "interface of a task": ("aaaaaaaaaaaa", "ip link del eth0"),
    "interface renamed": ("aaaaaaaaaaaa", "ip link set eth0 down name lost0"),
    "all rules of the node": ("", "nft flush ruleset"),
    "one chain": ("", "nft flush chain ip festoon DOCKER-INGRESS"),
    "elements": ("ingress_sbox", "nft flush map ip festoon services"),
    "rules of a task": ("aaaaaaaaaaaa", "nft delete table ip festoon"),
    "forwarding": ("ingress_sbox", "sysctl -qw net.ipv4.ip_forward=0"),
    "foreign rule": ("ingress_sbox", "nft insert rule ip festoon PREROUTING drop"),
}


async def damage(world: w.World, namespace: str, command: str) -> None:
    """Does it by hand on the first node. {port}: A's port on an overlay; {rule}, {table}: of a way back."""
    with contextlib.ExitStack() as stack:
        inside = stack.enter_context(world.sandbox(1, namespace)) if namespace else world.nodes[1]
        listing = await w.output(inside, "ip", "-o", "link")
        port = next((word for line in listing.splitlines() for word in line.split() if word.startswith("vaaaa")), "")
        rules = [line.split(":", 1)[1].replace("from all", "") for line in (await w.output(inside, "ip", "rule")).splitlines() if "fwmark" in line]
        rule = (rules or [""])[0].partition("proto")[0]
        await w.output(inside, *command.format(port=port.partition("@")[0], rule=rule, table=rule.split()[-1] if rule else "").split())


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_repaired_at_the_next_start(world: w.World, what: str) -> None:
    async def main() -> None:
        async with world.open():
            await world.reconcile(TASKS)
        await damage(world, *DAMAGE[what])
        async with world.open(1):
            assert await world.fabrics[1].difference(w.view(1, TASKS)) != ()
        async with world.open():
            await world.reconcile(TASKS)
            assert await world.fabrics[1].difference(w.view(1, TASKS)) == ()
            async with trio.open_nursery() as nursery:
                with world.sandbox(1, A.id) as a, world.sandbox(2, B.id) as b:
                    await nursery.start(w.serve, a, 80, A.id)
                    await nursery.start(w.serve, b, 80, B.id)
                    assert await w.ping(a, B.on_mynet)
                    for node in (1, 3):
                        assert {(await w.ask(world.client, w.vtep(node), 8080))[0] for _ in range(2)} == {A.id, B.id}
                    nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_lost_namespace_is_made_again_and_a_broken_file_replaced(world: w.World) -> None:
    async def main() -> None:
        async with world.open():
            await world.reconcile(TASKS)
        folder = os.path.join(world.run_dir(1), "netns")
        netns.remove(os.path.join(folder, "1-mynetmynet"))
        netns.remove(os.path.join(folder, "ingress_sbox"))
        with open(os.path.join(folder, "ingress_sbox"), "w", encoding="ascii"):
            pass  # what a crash between making the file and mounting leaves
        with open(os.path.join(folder, "leftover"), "w", encoding="ascii"):
            pass
        async with world.open():
            await world.reconcile(TASKS)
            assert await world.fabrics[1].difference(w.view(1, TASKS)) == ()
        assert "leftover" not in netns.names(folder)

    trio.run(main)


def test_nothing_is_left_when_everything_goes(world: w.World) -> None:
    async def main() -> None:
        async with world.open():
            await world.reconcile(TASKS)
        async with world.open():
            for node, fabric in world.fabrics.items():
                await fabric.reconcile(View())
                assert netns.names(os.path.join(world.run_dir(node), "netns")) == ()
                links = (await w.output(world.nodes[node], "ip", "-br", "link")).split()
                assert [word for word in links if word.startswith(("docker", "v"))] == []
                assert (await w.output(world.nodes[node], "nft", "list", "ruleset")).strip() == ""

    trio.run(main)


def test_what_is_not_the_fabric_s_stays(world: w.World) -> None:
    async def main() -> None:
        node = world.nodes[1]
        await w.output(node, "ip", "link", "add", "other0", "type", "bridge")
        await w.output(node, "nft", "add table ip other")
        async with world.open(1):
            await world.reconcile(TASKS)
            with world.sandbox(1, A.id) as sandbox:
                await w.output(sandbox, "ip", "link", "add", "inner0", "type", "bridge")
        async with world.open(1):
            await world.reconcile(TASKS)
            with world.sandbox(1, A.id) as sandbox:
                assert "inner0" in await w.output(sandbox, "ip", "-br", "link")
            await world.fabrics[1].reconcile(View())
        assert "other0" in await w.output(node, "ip", "-br", "link")
        assert "table ip other" in await w.output(node, "nft", "list", "ruleset")

    trio.run(main)


def test_concurrent_callers_all_return_and_the_last_view_stands(world: w.World) -> None:
    async def main() -> None:
        async with world.open(1):
            fabric = world.fabrics[1]
            async with trio.open_nursery() as nursery:
                for tasks in ((), (A,), TASKS, (B,)):
                    nursery.start_soon(fabric.reconcile, w.view(1, tasks))
                for _ in range(2):
                    await trio.lowlevel.checkpoint()  # all of them have asked
                await fabric.reconcile(w.view(1, TASKS))
            assert await fabric.difference(w.view(1, TASKS)) == ()

    trio.run(main)


def test_a_caller_that_leaves_does_not_stop_the_others(world: w.World) -> None:
    async def main() -> None:
        async with world.open(1):
            fabric = world.fabrics[1]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fabric.reconcile, w.view(1, TASKS))
                with trio.move_on_after(0):
                    await fabric.reconcile(w.view(1, (A,)))
            await fabric.reconcile(w.view(1, TASKS))
            assert await fabric.difference(w.view(1, TASKS)) == ()

    trio.run(main)


def test_a_bad_sysctl_fails_its_own_sandbox_only(world: w.World) -> None:
    async def main() -> None:
        view = w.view(1, TASKS)
        (sandbox,) = view.sandboxes
        bad = replace(sandbox, sysctls=(("net.ipv4.nonsense", "1"),))
        async with world.open(1):
            fabric = world.fabrics[1]
            with pytest.raises(FabricError, match="open /proc/sys/net/ipv4/nonsense: no such file") as failed:
                await fabric.reconcile(replace(view, sandboxes=(bad,)))
            assert [f.namespace for f in failed.value.failures] == [A.id]
            assert await fabric.difference(view) == ()
            await fabric.reconcile(view)

    trio.run(main)


@pytest.mark.parametrize("bridge_netfilter", ["0", "1"])
def test_host_ports_reach_their_container_and_a_taken_one_is_told(world: w.World, bridge_netfilter: str) -> None:
    world.set_bridge_netfilter(1, bridge_netfilter)
    view = View(
        bridges=(Bridge("docker0", "172.17.0.0/16", "172.17.0.1/16"),),
        gateway_bridge=w.GATEWAY_BRIDGE,
        sandboxes=(
            Sandbox("dddddddddddd", (Interface("eth0", "docker0", "172.17.0.2/16", "172.17.0.1"),)),
            Sandbox("eeeeeeeeeeee", (Interface("eth0", "docker_gwbridge", "172.18.0.3/16", "172.18.0.1"),)),
            Sandbox("ffffffffffff", (Interface("eth0", "docker_gwbridge", "172.18.0.4/16", "172.18.0.1"),)),
        ),
        host_ports=(HostPort("tcp", 9000, "172.17.0.2", 90), HostPort("tcp", 9001, "172.18.0.3", 91)),
    )

    async def main() -> None:
        async with world.open(1), trio.open_nursery() as nursery:
            fabric = world.fabrics[1]
            with netns.in_namespace(world.nodes[1]):
                squatter = socket.create_server(("127.0.0.1", 9000))
            refusal = r"listen tcp4 0\.0\.0\.0:9000: bind: address already in use"
            with squatter, pytest.raises(FabricError, match=refusal) as refused:
                await fabric.reconcile(view)
            assert [failure.namespace for failure in refused.value.failures] == ["dddddddddddd"]
            await fabric.reconcile(view)
            with world.sandbox(1, "dddddddddddd") as d, world.sandbox(1, "eeeeeeeeeeee") as e, world.sandbox(1, "ffffffffffff") as f:
                await nursery.start(w.serve, d, 90, "d")
                await nursery.start(w.serve, e, 91, "e")
                assert await w.ask(world.client, w.vtep(1), 9000) == ("d", w.CLIENT)
                assert await w.ask(world.client, w.vtep(1), 9001) == ("e", w.CLIENT)
                for namespace, address in ((world.nodes[1], "127.0.0.1"), (d, w.vtep(1)), (e, w.vtep(1)), (f, w.vtep(1))):
                    assert (await w.ask(namespace, address, 9000))[0] == "d"
                    assert (await w.ask(namespace, address, 9001))[0] == "e"
                with pytest.raises((trio.TooSlowError, OSError)):
                    await w.ask(f, "172.18.0.3", 91, within_s=0.5)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_ipvs_is_used_where_it_is_and_refused_where_it_is_not(world: w.World) -> None:
    with SyncNetlink(world.nodes[1], NETLINK_GENERIC) as generic:
        try:
            generic.request(get_family())
            there = True
        except NetlinkError:
            there = False

    async def main() -> None:
        async with world.open(1, backend="auto"):
            assert world.fabrics[1].backend == ("ipvs" if there else "nft")
        if not there:
            with pytest.raises(BackendUnavailable, match="IPVS is not available"):
                async with world.open(1, backend="ipvs"):
                    raise AssertionError("it opened")

    trio.run(main)


def test_a_start_after_a_crash_at_any_point_converges(world: w.World) -> None:
    """A process that is killed has carried out some first part of its operations, and none of the rest."""
    view = w.view(1, TASKS)
    operations = diff(plan(view, Balancing.NFT).state, NOTHING)
    folder = os.path.join(world.run_dir(1), "netns")

    async def main() -> None:
        for length in range(1, len(operations), CRASH_STRIDE):
            os.makedirs(folder, exist_ok=True)
            kernel = Kernel()
            with Handles(world.nodes[1], folder) as handles:
                assert await perform(kernel, handles, operations[:length]) == ()
            kernel.close()
            async with world.open(1):
                await world.fabrics[1].reconcile(view)
                assert await world.fabrics[1].difference(view) == ()
                await world.fabrics[1].reconcile(View())

    trio.run(main)


DAMAGE_AT_ONCE = DAMAGE | {
    "mtu of a task": ("aaaaaaaaaaaa", "ip link set eth0 mtu 1000"),
    "port out of its bridge": ("1-ingressing", "ip link set {port} nomaster"),
    "neighbour changed": ("1-mynetmynet", "ip neigh replace 10.0.1.12 lladdr 02:00:00:00:00:01 dev vxlan0 nud permanent"),
    "bridge entry": ("1-mynetmynet", "bridge fdb del 02:42:0a:00:01:0c dev vxlan0 master"),
    "rules of the balancer": ("ingress_sbox", "nft flush chain ip festoon MARK"),
    "rule of a way back": ("aaaaaaaaaaaa", "ip rule del {rule}"),
    "way back": ("aaaaaaaaaaaa", "ip route flush table {table}"),
    "address of a bridge": ("", "ip addr flush dev docker_gwbridge"),
    "route of a bridge": ("", "ip route del 172.18.0.0/16 dev docker_gwbridge"),
    "gateway bridge down": ("", "ip link set docker_gwbridge down"),
    "address of the gateway bridge's hardware": ("", "ip link set docker_gwbridge address 02:00:00:00:00:99"),
    "isolation of a port": ("", "bridge link set dev {port} isolated off"),
    "port of a task on the node": ("", "ip link del {port}"),
    "table of the node": ("", "nft delete table ip festoon"),
    "one rule of the node": ("", "nft insert rule ip festoon FORWARD accept"),
    "forwarding of the node": ("", "sysctl -qw net.ipv4.ip_forward=0"),
    "route of an overlay": ("1-mynetmynet", "ip route del 10.0.1.0/24 dev br0"),
    "address of an overlay": ("1-mynetmynet", "ip addr del 10.0.1.1/24 dev br0"),
    "tunnel down": ("1-mynetmynet", "ip link set vxlan0 down"),
    "tunnel's size": ("1-mynetmynet", "ip link set vxlan0 mtu 1300"),
    "forwarding entry elsewhere": ("1-mynetmynet", "bridge fdb replace 02:42:0a:00:01:0c dev vxlan0 dst 192.0.2.3 self permanent"),
    "all neighbours": ("1-mynetmynet", "ip neigh flush nud permanent dev vxlan0"),
    "learning of the tunnel's port": ("1-mynetmynet", "bridge link set dev vxlan0 learning on"),
    "virtual address": ("ingress_sbox", "ip addr del 10.0.0.5/32 dev eth0"),
    "route of a balancer's overlay": ("ingress_sbox", "ip route del 10.0.0.0/24 dev eth0"),
    "all routes of a balancer": ("ingress_sbox", "ip route flush table main"),
    "link of a balancer down": ("ingress_sbox", "ip link set eth0 down"),
    "loopback down": ("ingress_sbox", "ip link set lo down"),
    "table of a balancer": ("ingress_sbox", "nft delete table ip festoon"),
    "route of a task's overlay": ("aaaaaaaaaaaa", "ip route del 10.0.1.0/24 dev eth2"),
    "default route of a task": ("aaaaaaaaaaaa", "ip route del default"),
    "all routes of a task": ("aaaaaaaaaaaa", "ip route flush table main"),
    "address of a task": ("aaaaaaaaaaaa", "ip addr flush dev eth2"),
    "hardware address of a task": ("aaaaaaaaaaaa", "ip link set eth0 address 02:00:00:00:00:99"),
    "loopback of a task down": ("aaaaaaaaaaaa", "ip link set lo down"),
    "one chain of a task": ("aaaaaaaaaaaa", "nft flush chain ip festoon INPUT"),
    "filter of ways back": ("aaaaaaaaaaaa", "sysctl -qw net.ipv4.conf.all.rp_filter=1"),
    "filter of one link": ("aaaaaaaaaaaa", "sysctl -qw net.ipv4.conf.eth0.rp_filter=1"),
}


SHOWN = ("ip -o addr", "ip -4 route", "ip -6 route", "ip rule", "nft -s list ruleset", "bridge fdb", "ip neigh show nud permanent", "bridge -d link")
VARYING = r"^\d+: |@[^\s:]+|link-netns\S* \S+| state \S+|valid_lft.*|expires \S+"
"""Numbers, lifetimes, the kernel's own state."""


async def looks(world: w.World, namespace: str) -> list[str]:
    """Everything in a namespace of the first node that somebody could have changed."""
    with contextlib.ExitStack() as stack:
        inside = stack.enter_context(world.sandbox(1, namespace)) if namespace else world.nodes[1]
        lines = [line for command in SHOWN for line in (await w.output(inside, *command.split())).splitlines()]
    own = re.compile(r"^[0-9a-f:]{17} dev (?!.* dst )")  # the bridge's: hardware addresses that the kernel invents
    return sorted(re.sub(VARYING, "", line) for line in lines if not own.match(line) and "fe80:" not in line)


@pytest.mark.parametrize("what", DAMAGE_AT_ONCE)
def test_damage_is_repaired_as_soon_as_it_is_done(world: w.World, what: str) -> None:
    """Nobody asks: the kernel tells."""

    async def main() -> None:
        async with world.open():
            await world.reconcile(TASKS)
            fabric, view = world.fabrics[1], w.view(1, TASKS)
            before = await looks(world, DAMAGE_AT_ONCE[what][0])
            await damage(world, *DAMAGE_AT_ONCE[what])
            now: list[str] = []
            with trio.move_on_after(20):
                while await fabric.difference(view) != () or now != before:
                    await trio.sleep(0.01)
                    now = await looks(world, DAMAGE_AT_ONCE[what][0])
            assert await fabric.difference(view) == ()
            assert sorted({*now} - {*before}) == sorted({*before} - {*now}) == []

    trio.run(main)


SILENT_DAMAGE = {
    "the way of local packets on a bridge": ("", "sysctl -qw net.ipv4.conf.docker_gwbridge.route_localnet=0"),
    "redirects of a balancer": ("ingress_sbox", "sysctl -qw net.ipv4.conf.all.send_redirects=1"),
    "IPv6 of an overlay": ("1-mynetmynet", "sysctl -qw net.ipv6.conf.all.disable_ipv6=0"),
    "marks of accepted connections": ("aaaaaaaaaaaa", "sysctl -qw net.ipv4.tcp_fwmark_accept=0"),
}


@pytest.mark.parametrize("what", SILENT_DAMAGE)
def test_damage_of_which_the_kernel_tells_nobody_is_repaired_in_time(world: w.World, what: str) -> None:
    async def main() -> None:
        async with world.open(1):
            fabric, view = world.fabrics[1], w.view(1, TASKS)
            await fabric.reconcile(view)
            await damage(world, *SILENT_DAMAGE[what])
            assert await fabric.difference(view) != ()
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert await fabric.difference(view) != (), "somebody has been told"
            clock.jump(AUDIT_S)
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert await fabric.difference(view) == ()

    clock = trio.testing.MockClock(rate=1.0)
    trio.run(main, clock=clock)


def test_what_a_container_sets_for_itself_is_its_own(world: w.World) -> None:
    async def main() -> None:
        async with world.open(1):
            await world.reconcile(TASKS)
            with world.sandbox(1, A.id) as sandbox:
                await w.output(sandbox, "sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=100")
                clock.jump(AUDIT_S)
                await trio.testing.wait_all_tasks_blocked(0.02)
                assert "= 100" in await w.output(sandbox, "sysctl", "net.ipv4.ip_unprivileged_port_start")

    clock = trio.testing.MockClock(rate=1.0)
    trio.run(main, clock=clock)


def test_an_overlay_whose_namespace_is_taken_away_is_made_again(world: w.World) -> None:
    """Nothing of ours holds it: its links end, and the kernel tells."""

    async def main() -> None:
        async with world.open():
            await world.reconcile(TASKS)
            fabric, view = world.fabrics[1], w.view(1, TASKS)
            netns.remove(os.path.join(world.run_dir(1), "netns", "1-mynetmynet"))
            with trio.fail_after(20):
                while await fabric.difference(view) != ():
                    await trio.sleep(0.01)

    trio.run(main)


def test_what_a_container_adds_for_itself_stays(world: w.World) -> None:
    async def main() -> None:
        async with world.open(1):
            await world.reconcile(TASKS)
            with world.sandbox(1, A.id) as inside:
                await w.output(inside, "ip", "addr", "add", "10.77.0.1/32", "dev", "eth2")
                await w.output(inside, "nft", "add table ip its_own")
                await w.output(inside, "ip", "link", "set", "eth2", "down")
                with trio.fail_after(20):
                    while "state UP" not in await w.output(inside, "ip", "link", "show", "eth2"):
                        await trio.sleep(0.01)
                assert "10.77.0.1/32" in await w.output(inside, "ip", "addr")
                assert "its_own" in await w.output(inside, "nft", "list", "tables")

    trio.run(main)


def test_our_own_changes_are_no_deviation(world: w.World, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with world.open():
            for tasks in (TASKS, (), (A,), TASKS, (B,), (A,)):
                await world.reconcile(tasks)
                await trio.testing.wait_all_tasks_blocked(0.02)

    with caplog.at_level("WARNING", "netfabric"):
        trio.run(main)
    assert [r.getMessage() for r in caplog.records if "changed by others" in r.getMessage()] == []
