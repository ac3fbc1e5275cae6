"""Who is in a lab: names, roles and addresses, from how many nodes and managers. Pure.

`swarm-manager` (.10), `swarm-manager2`, ... then `swarm-worker1`, ...: addresses in that order. `.1` is the lab's
bridge, `.2` this host.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from types import MappingProxyType

DEFAULT_NAME = "lab"
DEFAULT_SUBNET = "192.168.200.0/24"
OUTSIDE = "8.8.8.8"
"""What the lab's bridge answers for on a machine without internet."""

NODE_BRIDGES = MappingProxyType({"docker0": "172.17.0.0/16", "docker_gwbridge": "172.18.0.0/16"})
GATEWAY_OFFSET = 1
HOST_OFFSET = 2
FIRST_NODE_OFFSET = 10
MAX_NODES = 64
MAX_NAME_CHARACTERS = 12  # the host's end of the lab's link is `fl-<name>`, and links have 15

_NAME = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{MAX_NAME_CHARACTERS - 1}}}")


class LabError(Exception):
    """What the user can mend, in one sentence."""


@dataclass(frozen=True)
class Machine:
    """One node. `address` is without prefix."""

    name: str
    role: str  # manager | worker: what `--swarm` makes of it
    address: str


@dataclass(frozen=True)
class Layout:
    """A lab's plan."""

    name: str
    subnet: str
    machines: tuple[Machine, ...]

    @property
    def prefix(self) -> int:
        return ipaddress.IPv4Network(self.subnet).prefixlen

    @property
    def gateway(self) -> str:
        return _at(self.subnet, GATEWAY_OFFSET)

    @property
    def host(self) -> str:
        return _at(self.subnet, HOST_OFFSET)

    @property
    def host_link(self) -> str:
        """The host's interface into the lab."""
        return f"fl-{self.name}"

    def machine(self, name: str) -> Machine:
        """Raises LabError for a name that is none of them."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise LabError(f"no machine {name} in the lab: there are {', '.join(m.name for m in self.machines)}")


def plan(nodes: int, managers: int, subnet: str = DEFAULT_SUBNET, name: str = DEFAULT_NAME) -> Layout:
    """Raises LabError for numbers, names and subnets that make no lab."""
    if not _NAME.fullmatch(name):
        raise LabError(f"--name {name}: at most {MAX_NAME_CHARACTERS} characters of a-z, 0-9 and -")
    if not 1 <= nodes <= MAX_NODES:
        raise LabError(f"--nodes {nodes}: a lab has 1 to {MAX_NODES}")
    if not 1 <= managers <= nodes:
        raise LabError(f"--managers {managers}: of {nodes} nodes 1 to {nodes} can be managers")
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError as error:
        raise LabError(f"--subnet {subnet}: {error}") from None
    if network.is_loopback or network.is_multicast or network.is_reserved or network.is_link_local:
        raise LabError(f"--subnet {subnet}: no network for machines")
    used = next((name for name, own in NODE_BRIDGES.items() if network.overlaps(ipaddress.IPv4Network(own))), "")
    if used:
        raise LabError(f"--subnet {subnet}: on every node that is the network of {used}")
    if network.num_addresses < FIRST_NODE_OFFSET + nodes + 1:
        raise LabError(f"--subnet {subnet}: too small for {nodes} nodes, whose addresses begin at .{FIRST_NODE_OFFSET}")
    names = [(f"swarm-manager{n if n > 1 else ''}", "manager") for n in range(1, managers + 1)]
    names += [(f"swarm-worker{n}", "worker") for n in range(1, nodes - managers + 1)]
    machines = tuple(Machine(n, role, _at(subnet, FIRST_NODE_OFFSET + i)) for i, (n, role) in enumerate(names))
    return Layout(name, str(network), machines)


def conflict(subnet: str, routes: tuple[str, ...], own_link_routes: frozenset[str] = frozenset()) -> str:
    """The first of the host's routes (CIDRs, without the default route) that the subnet overlaps; empty when there is
    none.
    """
    network = ipaddress.IPv4Network(subnet)
    for route in routes:
        other = ipaddress.IPv4Network(route, strict=False)
        if other.prefixlen and route not in own_link_routes and network.overlaps(other):
            return route
    return ""


def _at(subnet: str, offset: int) -> str:
    return str(ipaddress.IPv4Network(subnet).network_address + offset)
