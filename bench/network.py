"""Attaching a container to an overlay and the gateway bridge: the fabric against `ip` commands that make the same, in turn; and the cost of the hundredth.
An overlay's throughput against the same VXLAN made by `ip` commands, over the same underlay, in turn (iperf3, Debian's package).

Both work in a namespace of their own that stands for a node. The peer's commands are what a person would type: a namespace, two veth pairs, bridge ports,
MAC addresses, MTU, addresses, the default route, and the forwarding and neighbour entries of one remote endpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import trio

from bench.report import Report
from netfabric.apply import Fabric, open_fabric
from netfabric.netlink import netns
from netfabric.netlink.messages import RTM_DELLINK
from netfabric.view import Bridge, Interface, Overlay, Remote, Sandbox, View
from tests.node import netfabric_world as w

FESTOON, COMMANDS = "festoon", "ip"
MANY = 100
_RTMGRP_LINK = 1
SECONDS = 1
TURNS = 5  # of each peer in a run: many short ones, because what else the machine does comes and goes
ENDS = (w.Task("aaaaaaaaaaaa", 1, 1), w.Task("bbbbbbbbbbbb", 2, 2))
OVERLAY = "o" * 25
GATEWAY = Bridge("docker_gwbridge", "172.18.0.0/16", "172.18.0.1/16", isolate=True)


def measure(report: Report, runs: int) -> None:
    trio.run(_measure, report, runs)
    trio.run(_throughput, report, runs)


def _view(count: int) -> View:
    """A node with `count` containers; each has brought a remote endpoint along. Those of before are the same objects, as a node's agent has them."""
    remotes, sandboxes = tuple(map(_remote, range(count))), tuple(map(_sandbox, range(count)))
    overlay = Overlay(OVERLAY, "net", 4097, "10.0.0.0/16", "10.0.0.1", "10.0.0.2/16", remotes=remotes)
    return View(vtep="192.0.2.1", gateway_bridge=GATEWAY, overlays=(overlay,), sandboxes=sandboxes)


@cache
def _remote(number: int) -> Remote:
    return Remote(f"10.0.2.{number + 1}", "192.0.2.2")


@cache
def _sandbox(number: int) -> Sandbox:
    interfaces = (Interface("eth0", OVERLAY, f"10.0.1.{number + 1}/16"), Interface("eth1", GATEWAY.name, f"172.18.1.{number + 1}/16", "172.18.0.1"))
    return Sandbox(f"{number:012x}", interfaces, resolver=True)


async def _attached(fabric: Fabric, count: int) -> float:
    """Milliseconds until the `count`th container is attached, the others being there."""
    view = _view(count)
    began = time.perf_counter()
    await fabric.reconcile(view)
    return (time.perf_counter() - began) * 1000


async def _measure(report: Report, runs: int) -> None:
    figure, growth = "attach to an overlay and the gateway bridge, ms", f"the last ten of {MANY} in proportion to the first ten"
    for _ in range(runs):
        folder, node, peer = tempfile.mkdtemp(prefix="festoon-bench-"), netns.create_anonymous(), netns.create_anonymous()
        try:
            async with open_fabric(folder, namespace=node) as fabric:
                with _by_commands(peer) as attach_by_commands:
                    await fabric.reconcile(_view(0))
                    _settle()
                    report.add(figure, FESTOON, await _attached(fabric, 1))
                    _settle()
                    report.add(figure, COMMANDS, attach_by_commands(1))
                    _settle()
                    cost: dict[str, list[float]] = {FESTOON: [], COMMANDS: []}
                    for number in range(2, MANY + 1):  # in turn
                        cost[FESTOON].append(await _attached(fabric, number))
                        cost[COMMANDS].append(attach_by_commands(number))
                    for name, some in cost.items():
                        report.add(growth, name, statistics.median(some[-10:]) / statistics.median(some[:10]))
                    report.add(f"each of {MANY}, ms", FESTOON, statistics.median(cost[FESTOON]))
                    report.add(f"each of {MANY}, ms", COMMANDS, statistics.median(cost[COMMANDS]))
                    await fabric.reconcile(View())
        finally:
            os.close(node)
            os.close(peer)
            shutil.rmtree(folder)


def _settle() -> None:
    """Returns when the kernel has destroyed every namespace that was let go of before: it takes them in turn, all that have come meanwhile together, and
    whoever makes one or a link waits. So one that is let go of when the first is seen to go is destroyed after all others.
    """
    for _ in range(2):
        _destroyed()


def _destroyed() -> None:
    """Until a namespace that is let go of now is seen to go: by a link that goes with it."""
    watch, doomed = netns.create_anonymous(), netns.create_anonymous()
    try:
        with netns.in_namespace(watch):
            heard = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with heard:
            heard.bind((0, _RTMGRP_LINK))
            _run(watch, f"ip link add last type veth peer name last netns /proc/{os.getpid()}/fd/{doomed}".split())
            os.close(doomed)
            while struct.unpack_from("=IH", heard.recv(65536))[1] != RTM_DELLINK:
                pass
    finally:
        os.close(watch)


@contextlib.contextmanager
def _by_commands(node: int) -> Iterator[Callable[[int], float]]:
    """The same by `ip` and `bridge`: milliseconds until the container of a number is attached."""
    with contextlib.ExitStack() as stack:

        def namespace() -> int:
            made = netns.create_anonymous()
            stack.callback(os.close, made)
            return made

        overlay = namespace()
        for argv in ("ip link add br0 type bridge", "ip link add vxlan0 type vxlan id 4097 dstport 4789 nolearning proxy", "ip link set br0 up",
                     "ip link set vxlan0 master br0 up"):  # fmt: skip
            _run(overlay, argv.split())
        _run(node, "ip link add gw0 type bridge".split())
        _run(node, "ip link set gw0 up".split())

        def attach(number: int) -> float:
            began = time.perf_counter()
            inside = namespace()
            for bridge, home, link, address, mac in (
                ("br0", overlay, "eth0", f"10.0.1.{number}/16", f"02:42:0a:00:01:{number:02x}"),
                ("gw0", node, "eth1", f"172.18.1.{number}/16", f"02:42:ac:12:01:{number:02x}"),
            ):
                other, target = f"v{link}{number}", f"/proc/{os.getpid()}/fd/{inside}"
                _run(home, ["ip", "link", "add", other, "mtu", "1450", "type", "veth", "peer", "name", link, "address", mac, "netns", target])
                _run(home, ["ip", "link", "set", other, "master", bridge, "up"])
                _run(inside, ["ip", "addr", "add", address, "dev", link])
                _run(inside, ["ip", "link", "set", link, "up"])
            _run(inside, "ip link set lo up".split())
            _run(inside, "ip route add default via 172.18.0.1 dev eth1".split())
            _run(overlay, f"bridge fdb add 02:42:0a:00:02:{number:02x} dev vxlan0 dst 192.0.2.2 self permanent".split())
            _run(overlay, f"ip neigh add 10.0.2.{number} lladdr 02:42:0a:00:02:{number:02x} dev vxlan0 nud permanent".split())
            return (time.perf_counter() - began) * 1000

        yield attach


def _run(namespace: int, argv: Sequence[str]) -> None:
    with netns.in_namespace(namespace):
        subprocess.run(argv, check=True, close_fds=False, capture_output=True)


# -- throughput ---------------------------------------------------------------------------------------------------------


async def _throughput(report: Report, runs: int) -> None:
    world = w.build()
    try:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(world.open())
            await world.reconcile(ENDS)
            made = {FESTOON: [(stack.enter_context(world.sandbox(one.node, one.id)), one.on_mynet) for one in ENDS], COMMANDS: _overlay_by_hand(world, stack)}
            for _, server in made.values():
                stack.enter_context(_served(server[0]))
            await trio.sleep(1)
            for number in range(runs * TURNS + 1):  # the first is a warm-up
                rates = {}
                for name, ((client, _), (_, address)) in list(made.items())[:: 1 if number % 2 else -1]:  # nobody is always the first
                    said = json.loads(await w.output(client, "iperf3", "-J", "-t", str(SECONDS), "-c", address))
                    rates[name] = said["end"]["sum_received"]["bits_per_second"] / 1e9
                    if number:
                        report.add("overlay, Gbit/s", name, rates[name])
                if number:
                    report.add("overlay, in proportion to the same turn's by hand", FESTOON, rates[FESTOON] / rates[COMMANDS])
    finally:
        world.close()


@contextlib.contextmanager
def _served(namespace: int) -> Iterator[None]:
    argv = ["nsenter", f"--net=/proc/self/fd/{namespace}", "iperf3", "-s"]
    with subprocess.Popen(argv, pass_fds=(namespace,), stdout=subprocess.DEVNULL) as server:
        try:
            yield
        finally:
            server.kill()


def _overlay_by_hand(world: w.World, stack: contextlib.ExitStack | contextlib.AsyncExitStack) -> list[tuple[int, str]]:
    """A namespace with its address on each of the two nodes, joined as the fabric joins its sandboxes."""
    ends = []
    for here, there in ((1, 2), (2, 1)):
        overlay, inside = netns.create_anonymous(), netns.create_anonymous()
        stack.callback(os.close, overlay)
        stack.callback(os.close, inside)
        _run(world.nodes[here], f"ip link add vxlan9 type vxlan id 4200 dstport 4789 local {w.vtep(here)} nolearning proxy".split())
        _run(world.nodes[here], f"ip link set vxlan9 netns /proc/{os.getpid()}/fd/{overlay}".split())
        for line in (
            "ip link add br0 type bridge",
            "ip link set vxlan9 mtu 1450 master br0 up",
            f"ip link add veth9 mtu 1450 type veth peer name eth0 address 02:42:0a:09:00:0{here} mtu 1450 netns /proc/{os.getpid()}/fd/{inside}",
            "ip link set veth9 master br0 up",
            "ip link set br0 up",
            f"bridge fdb add 02:42:0a:09:00:0{there} dev vxlan9 dst {w.vtep(there)} self permanent",
            f"ip neigh add 10.9.0.{there} lladdr 02:42:0a:09:00:0{there} dev vxlan9 nud permanent",
        ):
            _run(overlay, line.split())
        _run(inside, f"ip addr add 10.9.0.{here}/24 dev eth0".split())
        _run(inside, "ip link set eth0 up".split())
        ends.append((inside, f"10.9.0.{here}"))
    return ends
