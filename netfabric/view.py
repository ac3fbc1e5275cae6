"""What one node's network has to serve, as its agent sees it: the input of netfabric/plan.py.

Values only; no ids of managers or containers are interpreted here.

All addresses of interfaces are CIDR ("10.0.1.8/24"), gateways and VTEPs plain. Interface order inside a task's namespace is the order of `interfaces`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Remote:
    """An address on an overlay that lives behind another node's VTEP."""

    address: str  # plain
    vtep: str  # plain
    address6: str = ""  # plain; the endpoint's IPv6 address where its overlay has those
    balancer: bool = False  # of another node's balancer, not of a task


@dataclass(frozen=True, slots=True)
class PublishedPort:
    protocol: str  # tcp, udp, sctp
    published: int
    target: int
    masquerade: bool = False  # tasks see the ingress node's address instead of the client's


@dataclass(frozen=True, slots=True)
class Backend:
    address: str  # plain
    weight: int = 1  # 0: draining, gets no new connections
    address6: str = ""  # plain


@dataclass(frozen=True, slots=True)
class Balancer:
    """One virtual service. On the ingress overlay it is selected by `ports`; everywhere by its virtual address. `mark` is unique per overlay.
    Its hash is computed once: what is made of a service is remembered by it, and there may be a hundred.
    """

    name: str
    virtual_ip: str  # plain; empty: none (dnsrr)
    mark: int
    backends: tuple[Backend, ...]
    ports: tuple[PublishedPort, ...] = ()
    affinity: bool = False  # a client's connections all go to the same backend, as long as it is there
    virtual_ip6: str = ""  # plain
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        own = (self.name, self.virtual_ip, self.mark, self.backends, self.ports, self.affinity, self.virtual_ip6)
        object.__setattr__(self, "_hash", hash(own))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Subnet:
    cidr: str
    gateway: str  # plain


@dataclass(frozen=True, slots=True)
class Overlay:
    id: str  # 25 characters; its namespace is <run>/netns/1-<first 10 of id>, its balancer's lb_<first 9>, as Docker names them
    name: str
    vni: int
    subnet: str  # CIDR
    gateway: str  # plain; address of br0
    lb_address: str  # CIDR: this node's own balancer address (on ingress: eth0 of ingress_sbox)
    ingress: bool = False
    internal: bool = False
    remotes: Collection[Remote] = ()  # a set in parts (netfabric/parts.py) where there may be many
    balancers: tuple[Balancer, ...] = ()
    subnet6: str = ""  # CIDR; empty: no IPv6 on it
    gateway6: str = ""  # plain
    lb_address6: str = ""  # CIDR
    mtu: int = 0  # as the user wants it; 0: what the underlay leaves
    encrypted: bool = False
    further: tuple[Subnet, ...] = ()  # of the same link: who has an address of one reaches the others without a gateway

    @property
    def subnets(self) -> tuple[str, ...]:
        """IPv4's, the first one first."""
        return (self.subnet, *(one.cidr for one in self.further))


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of a task. `network` is an Overlay.id, or a Bridge.name."""

    name: str  # eth0, eth1, ...
    network: str
    address: str  # CIDR
    default_gateway: str = ""  # plain; set on the interface that has the default route
    address6: str = ""  # CIDR
    default_gateway6: str = ""  # plain
    mac: str = ""  # empty: it follows from the address
    further: tuple[str, ...] = ()  # more addresses, CIDR


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The network namespace of one container: <run>/netns/<id>. `ingress_ports`: what it accepts on its ingress address, published -> target.
    `resolver`: it has one at 127.0.0.11 (netfabric/dns)."""

    id: str  # 12 characters
    interfaces: tuple[Interface, ...]
    ingress_ports: tuple[PublishedPort, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    resolver: bool = False


@dataclass(frozen=True, slots=True)
class Bridge:
    """A local bridge on the node: docker_gwbridge, docker0 or a user's. `masquerade`: its subnet leaves the node behind the node's address."""

    name: str  # interface name
    subnet: str
    gateway: str  # CIDR, address of the bridge itself
    masquerade: bool = True
    isolate: bool = False  # no traffic between its containers (docker_gwbridge)
    subnet6: str = ""  # CIDR; empty: no IPv6 on it
    gateway6: str = ""  # CIDR
    internal: bool = False  # nothing from outside comes in, nothing goes out
    mtu: int = 0  # of its containers' interfaces; 0: Ethernet's
    addressed: bool = True  # False: the gateway's address is somebody else's on the link, or nobody's
    addressed6: bool = True
    sources: tuple[str, str] = ("", "")  # IPv4, IPv6: behind which address of the node it leaves; empty: that of the interface which it leaves by


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the node forwarded to one container on a bridge (published in host mode, or by docker run -p).

    What comes to an IPv6 `host_address` for an IPv4 `address`, or from ::1, is relayed by this process: no rule can lead it there.
    """

    protocol: str
    published: int
    address: str  # plain, of the container on its bridge
    target: int
    host_address: str = ""  # plain; empty: all of IPv4; "::": all of IPv6


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the ring that encrypted overlays use, the same on every node. `tag` grows with each."""

    tag: int
    secret: bytes = field(repr=False)  # 16 bytes


@dataclass(frozen=True, slots=True)
class View:
    """Everything. `vtep` is this node's address on the underlay; empty as long as the node is in no swarm (then there are no overlays)."""

    vtep: str = ""
    underlay_mtu: int = 1500
    vxlan_port: int = 4789
    gateway_bridge: Bridge | None = None
    bridges: tuple[Bridge, ...] = ()
    overlays: tuple[Overlay, ...] = ()
    sandboxes: tuple[Sandbox, ...] = ()
    host_ports: tuple[HostPort, ...] = ()
    ingress_sandbox_address: str = "172.18.0.2/16"  # eth1 of ingress_sbox on the gateway bridge
    keys: tuple[Key, ...] = ()


INGRESS_SANDBOX = "ingress_sbox"
