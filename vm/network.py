"""The private network of a cluster: a bridge and a tap per machine, in a network namespace that nothing has a name for.

Owns their making only: they end with the namespace, and that with the last process in it. The bridge answers for the gateway's
address and for 8.8.8.8, a stand-in for the outside; whatever else a machine asks for is refused at once.
"""

from __future__ import annotations

import ipaddress
import subprocess
from pathlib import Path

from lab.layout import OUTSIDE, Layout, Machine
from netfabric.netlink import libc
from vm.errors import VmError
from vm.machine import Link

BRIDGE = "vm0"


def enter(layout: Layout) -> dict[str, Link]:
    """Moves this process (before it has threads) into the new network. The machines' links, by name. Raises VmError."""
    libc.unshare(libc.CLONE_NEWNET)
    links = {machine.name: _link(layout, machine) for machine in layout.machines}
    commands = [
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"address add {layout.gateway}/{layout.prefix} dev {BRIDGE}",
        f"address add {OUTSIDE}/32 dev lo",
        f"link set {BRIDGE} up",
    ]
    for link in links.values():
        commands += [f"tuntap add {link.tap} mode tap", f"link set {link.tap} master {BRIDGE} up"]
    _ip(commands)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")  # there is no route: what goes elsewhere is told so
    Path("/proc/sys/net/ipv4/icmp_ratelimit").write_text("0")
    return links


def _link(layout: Layout, machine: Machine) -> Link:
    packed = ipaddress.IPv4Address(machine.address).packed
    mac = "52:54:" + ":".join(f"{byte:02x}" for byte in packed)
    return Link(f"tap{packed[3]}", mac, f"{machine.address}/{layout.prefix}", layout.gateway)


def _ip(commands: list[str]) -> None:
    try:
        done = subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise VmError("ip is missing: install iproute2") from None
    if done.returncode:
        raise VmError(f"the machines' network can't be made: {done.stderr.strip()}")
