"""What a fabric is, desired or observed: immutable values per network namespace, without interface indexes and
descriptors.

netfabric/plan.py makes the desired state from a View, netfabric/observe.py reads the kernel into the same values,
netfabric/diff.py compares them. Links are named, never numbered. The node's own namespace has the name NODE, every
other one its file name under <run>/netns.
"""

from __future__ import annotations

import enum
import socket
import sys
import zlib
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from netfabric.firewall.nftables import Table

NODE = ""
FABRIC_GROUP = 0xFE57
"""The link group of everything that the fabric makes in namespaces of the node: how it knows its own again."""
LINK_NAME_LENGTH = 15


class LinkKind(enum.StrEnum):
    BRIDGE = "bridge"
    VXLAN = "vxlan"
    VETH = "veth"  # the end on a bridge; making it makes both
    LOOPBACK = "loopback"
    PEER = "peer"  # the end in a sandbox; it comes and goes with the other


@dataclass(frozen=True, slots=True)
class End:
    """The other end of a pair."""

    namespace: str
    link: str
    mac: str


@dataclass(frozen=True, slots=True)
class Link:
    """`mtu` 0 and `mac` "" are left to the kernel. `master` is a bridge of the same namespace; `learning` and
    `isolated` are its port's.
    """

    name: str
    kind: LinkKind
    mtu: int = 0
    mac: str = ""
    master: str = ""
    peer: End | None = None
    vni: int = 0
    port: int = 0
    learning: bool = True
    isolated: bool = False
    hairpin: bool = False
    up: bool = True


@dataclass(frozen=True, slots=True)
class Address:
    link: str
    cidr: str


@dataclass(frozen=True, slots=True)
class Route:
    """`destination` is "default" or a CIDR; `gateway` may be empty."""

    link: str
    destination: str
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class Connected:
    """The route to an address's own subnet, which the kernel makes for it: nobody wants one, but one that is gone is missed."""

    link: str
    cidr: str


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """Answers to what came in from `gateway` leave by it again, whatever the other routes say: packets that carry its
    mark do. `whole` is False for one that was seen in part.
    """

    link: str
    gateway: str
    whole: bool = True

    @property
    def mark(self) -> int:
        """The gateway's address as the kernel's raw load of it from a frame gives it."""
        return int.from_bytes(socket.inet_aton(self.gateway), sys.byteorder)

    @property
    def table(self) -> int:
        """The routing table with the way back; above all tables that the system has itself."""
        return int.from_bytes(socket.inet_aton(self.gateway), "big")


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour: it answers ARP for a remote address."""

    link: str
    address: str
    mac: str


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Where frames to `mac` go: to a VTEP, or (`vtep` empty) this port of its bridge."""

    link: str
    mac: str
    vtep: str = ""


@dataclass(frozen=True, slots=True)
class Sysctl:
    """`key` with dots, as sysctl(8) has it: "net.ipv4.ip_forward"."""

    key: str
    value: str
    optional: bool = False  # nothing is wrong when the kernel does not have it


@dataclass(frozen=True, slots=True)
class VirtualService:
    """An IPVS service selected by a firewall mark."""

    mark: int
    scheduler: str = "rr"
    ipv6: bool = False


@dataclass(frozen=True, slots=True)
class RealServer:
    mark: int
    address: str
    weight: int


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long IPVS keeps a connection without packets; seconds."""

    tcp_s: int
    tcp_fin_s: int
    udp_s: int


@dataclass(frozen=True, slots=True)
class Target:
    """An address to which this namespace translates connections, for the service of this mark (0: none). When it goes, those that are tracked go too;
    there is nothing to make.
    """

    address: str
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Association:
    """One direction of IPsec between two VTEPs."""

    source: str
    destination: str
    spi: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Policy:
    """What is marked and goes from one VTEP to another is encrypted by the association with this index."""

    source: str
    destination: str
    spi: int
    port: int


@dataclass(frozen=True, slots=True)
class Guard:
    """Keeps cleartext of these networks from coming in, and from leaving; without `esp` everything of theirs."""

    port: int
    esp: bool
    identifiers: frozenset[int]


@dataclass(frozen=True, slots=True)
class HeldPort:
    """A port of the node that is bound so that nobody else takes it. `address` empty: all of IPv4, "::": all of IPv6.

    With `target` (address, port) what comes in is relayed there (netfabric/relay.py).
    """

    protocol: str
    port: int
    address: str = ""
    target: tuple[str, int] | None = None
    required: bool = field(default=True, compare=False)
    """False: when somebody else has it, that is only logged (the mesh still gets its packets, as in Docker)."""
    owner: str = field(default="", compare=False)
    """The sandbox that it is held for."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace's network. Tuples are in the order of making. Sets that may be large are in parts (netfabric/parts.py) where a plan made them."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    severed: tuple[Connected, ...] = ()
    """Of an observed namespace only: what its wanted addresses have lost."""
    routes: tuple[Route, ...] = ()
    returns: frozenset[ReturnPath] = frozenset()
    neighbours: Set[Neighbour] = frozenset()
    forwarding: Set[Forwarding] = frozenset()
    sysctls: tuple[Sysctl, ...] = ()
    tables: tuple[Table, ...] = ()
    services: tuple[VirtualService, ...] = ()
    servers: Set[RealServer] = frozenset()
    timeouts: Timeouts | None = None
    targets: Set[Target] = frozenset()
    shared: bool = False  # a container lives here: addresses and routes that it adds are its own business
    ports: frozenset[HeldPort] = frozenset()
    associations: frozenset[Association] = frozenset()
    policies: frozenset[Policy] = frozenset()
    guard: Guard | None = None


State = Mapping[str, Namespace]
"""Every namespace by its name; NODE is always there."""

NOTHING: State = {NODE: Namespace()}


def port_name(namespace: str, link: str) -> str:
    """The name of the bridge's end of a sandbox's link: the same every time, so that it is known again after a
    restart.
    """
    whole = zlib.crc32(f"{namespace}/{link}".encode())
    return f"v{namespace[:10]}{whole & 0xFFFF:04x}"[:LINK_NAME_LENGTH]


def is_of_link(key: str) -> bool:
    """Whether a sysctl belongs to one link, and so can be written only when that is there."""
    parts = key.split(".")
    return len(parts) > 3 and parts[2] in {"conf", "neigh"} and parts[3] not in {"all", "default"}


def link_of(key: str) -> str:
    """The link of a sysctl for which is_of_link() holds."""
    return key.split(".")[3]
