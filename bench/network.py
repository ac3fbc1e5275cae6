"""Attaching a container to an overlay and the gateway bridge: the fabric against `ip` commands that make the same, in turn; and the cost of the hundredth.

Both work in a namespace of their own that stands for a node. The peer's commands are what a person would type: a namespace, two veth pairs, bridge ports,
MAC addresses, MTU, addresses, the default route, and the forwarding and neighbour entries of one remote endpoint.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence

import trio

from bench.report import Report
from netfabric.apply import Fabric, open_fabric
from netfabric.netlink import netns
from netfabric.view import Bridge, Interface, Overlay, Remote, Sandbox, View

FESTOON, COMMANDS = "festoon", "ip"
MANY = 100
OVERLAY = "o" * 25
GATEWAY = Bridge("docker_gwbridge", "172.18.0.0/16", "172.18.0.1/16", isolate=True)


def measure(report: Report, runs: int) -> None:
    trio.run(_measure, report, runs)


def _view(count: int) -> View:
    """A node with `count` containers; each has brought a remote endpoint along."""
    remotes = tuple(Remote(f"10.0.2.{number + 1}", "192.0.2.2") for number in range(count))
    overlay = Overlay(OVERLAY, "net", 4097, "10.0.0.0/16", "10.0.0.1", "10.0.0.2/16", remotes=remotes)
    sandboxes = tuple(
        Sandbox(
            f"{number:012x}",
            (Interface("eth0", OVERLAY, f"10.0.1.{number + 1}/16"), Interface("eth1", GATEWAY.name, f"172.18.1.{number + 1}/16", "172.18.0.1")),
            resolver=True,
        )
        for number in range(count)
    )
    return View(vtep="192.0.2.1", gateway_bridge=GATEWAY, overlays=(overlay,), sandboxes=sandboxes)


async def _attached(fabric: Fabric, count: int) -> float:
    """Milliseconds until the `count`th container is attached, the others being there."""
    view = _view(count)
    began = time.perf_counter()
    await fabric.reconcile(view)
    return (time.perf_counter() - began) * 1000


async def _measure(report: Report, runs: int) -> None:
    figure = "attach to an overlay and the gateway bridge, ms"
    for _ in range(runs):
        folder, node, peer = tempfile.mkdtemp(prefix="festoon-bench-"), netns.create_anonymous(), netns.create_anonymous()
        try:
            async with open_fabric(folder, namespace=node) as fabric:
                await fabric.reconcile(_view(0))
                report.add(figure, FESTOON, await _attached(fabric, 1))
                report.add(figure, COMMANDS, _by_commands(peer))
                cost = [await _attached(fabric, number) for number in range(2, MANY + 1)]
                report.add(f"the last ten of {MANY} in proportion to the first ten", FESTOON, sum(cost[-10:]) / sum(cost[:10]))
                await fabric.reconcile(View())
        finally:
            os.close(node)
            os.close(peer)
            shutil.rmtree(folder)


def _by_commands(node: int) -> float:
    """Milliseconds for the same by `ip` and `bridge`."""
    inside, overlay = netns.create_anonymous(), netns.create_anonymous()
    try:
        for argv in ("ip link add br0 type bridge", "ip link add vxlan0 type vxlan id 4097 dstport 4789 nolearning proxy", "ip link set br0 up",
                     "ip link set vxlan0 master br0 up"):  # fmt: skip
            _run(overlay, argv.split())
        _run(node, "ip link add gw0 type bridge".split())
        _run(node, "ip link set gw0 up".split())
        began = time.perf_counter()
        fresh = netns.create_anonymous()
        os.close(fresh)
        target = f"/proc/{os.getpid()}/fd/{inside}"
        for bridge, home, link, address, mac in (
            ("br0", overlay, "eth0", "10.0.1.1/16", "02:42:0a:00:01:01"),
            ("gw0", node, "eth1", "172.18.1.1/16", "02:42:ac:12:01:01"),
        ):
            _run(home, ["ip", "link", "add", f"v{link}", "mtu", "1450", "type", "veth", "peer", "name", link, "address", mac, "netns", target])
            _run(home, ["ip", "link", "set", f"v{link}", "master", bridge, "up"])
            _run(inside, ["ip", "addr", "add", address, "dev", link])
            _run(inside, ["ip", "link", "set", link, "up"])
        _run(inside, "ip link set lo up".split())
        _run(inside, "ip route add default via 172.18.0.1 dev eth1".split())
        _run(overlay, "bridge fdb add 02:42:0a:00:02:01 dev vxlan0 dst 192.0.2.2 self permanent".split())
        _run(overlay, "ip neigh add 10.0.2.1 lladdr 02:42:0a:00:02:01 dev vxlan0 nud permanent".split())
        return (time.perf_counter() - began) * 1000
    finally:
        os.close(inside)
        os.close(overlay)


def _run(namespace: int, argv: Sequence[str]) -> None:
    with netns.in_namespace(namespace):
        subprocess.run(argv, check=True, close_fds=False, capture_output=True)
