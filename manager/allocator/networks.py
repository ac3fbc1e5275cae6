"""Overlay networks and what hangs on them: identifiers, subnets, the load-balancer addresses of nodes.

Owns the rules of choice; writes networks and nodes into the draft. VNIs count from 4096; subnets are cut from the
cluster's address pool, the lowest that overlaps with none; what the user gave is honoured or refused with a reason.
While tasks of a network that was removed still stop, a new one gets neither its subnet nor its VNI: their nodes cannot
have two of one number.
Every ready node has a load-balancer address on the ingress network as soon as that exists, and on another network
from its first task there; it keeps it until the network or the node is gone. Source: SwarmKit's
`manager/allocator/cnmallocator`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

import msgspec

from cluster.model.ids import NetworkId, NodeId
from cluster.model.objects import ContainerAttachment, Network, NetworkSubnet, Node, NodeAttachment, NodeState
from cluster.model.specs import IpamConfig
from manager.allocator import subnets6
from manager.draft import Draft, Reason
from manager.scheduler.usage import holds_node

FIRST_VNI: Final = 4096
LAST_VNI: Final = (1 << 24) - 1
LATER_VNI: Final = 1 << 16
VERSIONS: Final = 1 << 23
"""VNIs of networks that come while another leaves count from LATER_VNI by the version of the network, which no two
share: what the leaving one's was, nothing tells any more.
"""

DEFAULT_POOL: Final = ("10.0.0.0/8",)
DEFAULT_SUBNET_SIZE: Final = 24
NO_POOL: Final = (
    "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
)
OVERLAP: Final = "invalid pool request: Pool overlaps with other one on this address space"


def allocate(draft: Draft, network_ids: Iterable[NetworkId]) -> None:
    """Give each of these networks that lacks it its VNI, subnet and gateway; ingress networks first, then by age."""
    networks = [draft.index.networks[id_] for id_ in network_ids if id_ in draft.index.networks]
    networks = [n for n in networks if n.spec.driver == "overlay" and not n.subnet]
    for network in sorted(networks, key=lambda n: (not n.spec.ingress, n.meta.created_at_ns, n.meta.version, n.id)):
        leaving = _leaving(draft)
        chosen = _subnets(draft, network, leaving)
        if isinstance(chosen, str):
            _refuse(draft, network, chosen)
            continue
        taken = {n.vni for n in draft.index.networks.values() if n.vni}
        first = LATER_VNI + network.meta.version % VERSIONS if leaving else FIRST_VNI
        vni = next((v for v in range(first, LAST_VNI + 1) if v not in taken), None)
        if vni is None:
            _refuse(draft, network, "no VXLAN identifier is free")
            continue
        first_subnet, *further = chosen
        chosen6 = subnets6.choose(draft, network, ipaddress.IPv4Network(first_subnet.subnet))
        if isinstance(chosen6, str):
            _refuse(draft, network, chosen6)
            continue
        subnet6, gateway6 = chosen6
        draft.index.refused.pop(network.id, None)
        draft.put(
            msgspec.structs.replace(
                network, vni=vni, subnet=first_subnet.subnet, gateway=first_subnet.gateway, subnet6=subnet6, gateway6=gateway6, further=tuple(further)
            )
        )


def _refuse(draft: Draft, network: Network, why: str) -> None:
    draft.reasons[network.id] = Reason(why)
    draft.index.refused[network.id] = why


def _leaving(draft: Draft) -> list[ipaddress.IPv4Network]:
    """Subnets of networks that are gone, as far as tasks still hold addresses of them."""
    index = draft.index
    texts = {
        n.address for task in index.tasks.values() if holds_node(task) for n in task.networks if n.address and n.network_id not in index.networks
    }
    return sorted({ipaddress.IPv4Interface(text).network for text in texts})


def _first(subnet: ipaddress.IPv4Network, ip_range: str) -> ipaddress.IPv4Address:
    """The first address that may be given out: of the range where there is one. Raises ValueError."""
    part = ipaddress.IPv4Network(ip_range, strict=False) if ip_range else subnet
    return max(part[0], subnet[1])


def _subnets(draft: Draft, network: Network, leaving: list[ipaddress.IPv4Network]) -> tuple[NetworkSubnet, ...] | str:
    """The subnets and gateways that this network gets, at least one, or the reason why it gets none."""
    taken = [ipaddress.IPv4Network(s) for n in draft.index.networks.values() for s in n.subnets if ":" not in s]
    asked = [c for c in network.spec.ipam if ":" not in c.subnet]
    chosen: list[NetworkSubnet] = []
    for given in asked or [IpamConfig()]:
        one = _subnet(draft, given, taken, leaving)
        if isinstance(one, str):
            return one
        chosen.append(one)
        taken.append(ipaddress.IPv4Network(one.subnet))
    return tuple(chosen)


def _subnet(draft: Draft, given: IpamConfig, taken: list[ipaddress.IPv4Network], leaving: list[ipaddress.IPv4Network]) -> NetworkSubnet | str:
    try:
        if given.subnet:
            subnet = ipaddress.IPv4Network(given.subnet, strict=False)
            if any(subnet.overlaps(other) for other in taken):
                return f"{OVERLAP}: {subnet}"
        else:
            apart = [*leaving, *_routed(draft)]
            free = _next_subnet(draft, [*taken, *apart]) or _next_subnet(draft, taken)
            if free is None:
                return NO_POOL
            subnet = free
        if subnet.num_addresses < 4:
            return f"invalid pool request: subnet {subnet} is too small"
        gateway = ipaddress.IPv4Address(given.gateway) if given.gateway else _first(subnet, given.ip_range)
    except ValueError as error:
        return f"invalid network configuration: {error}"
    if gateway not in subnet:
        return f"gateway {gateway} is not in subnet {subnet}"
    return NetworkSubnet(str(subnet), str(gateway))


def _routed(draft: Draft) -> list[ipaddress.IPv4Network]:
    """Where the nodes' own routes lead: a subnet there would hide what is behind them."""
    texts = {text for node in draft.index.nodes.values() for text in node.description.routes}
    return [ipaddress.IPv4Network(text, strict=False) for text in sorted(texts)]


def _next_subnet(draft: Draft, taken: list[ipaddress.IPv4Network]) -> ipaddress.IPv4Network | None:
    """The lowest free subnet of the cluster's pools; steps over what overlaps, network by network."""
    cluster = next(iter(draft.index.clusters.values()), None)
    pools = cluster.default_address_pool if cluster is not None and cluster.default_address_pool else DEFAULT_POOL
    size = cluster.subnet_size if cluster is not None and cluster.subnet_size else DEFAULT_SUBNET_SIZE
    for text in pools:
        pool = ipaddress.IPv4Network(text, strict=False)
        if size < pool.prefixlen:
            continue
        step = 1 << (32 - size)
        start, end = int(pool.network_address), int(pool.broadcast_address)
        for other in sorted(taken, key=lambda n: int(n.network_address)):
            first, last = int(other.network_address), int(other.broadcast_address)
            if last < start or first >= start + step:
                continue
            start = -(-(last + 1) // step) * step
        if start + step - 1 <= end:
            return ipaddress.IPv4Network((start, size))
    return None


def attach_nodes(draft: Draft, node_ids: Iterable[NodeId]) -> None:
    """Give these nodes the addresses that they lack, when they are ready on ingress networks, and on those of their
    tasks; take those of networks away that are gone."""
    index = draft.index
    nodes = [index.nodes[id_] for id_ in node_ids if id_ in index.nodes]
    for node in sorted(nodes, key=lambda n: (n.meta.created_at_ns, n.meta.version, n.id)):
        kept = tuple(a for a in node.attachments if a.network_id in index.networks)
        if len(kept) != len(node.attachments):
            draft.put(msgspec.structs.replace(node, attachments=kept))
        wanted = dict(index.ingress) if node.status.state is NodeState.READY else {}
        for container in index.nodes[node.id].containers:
            give(draft, node.id, container)
            wanted[container.network_id] = None
        for task_id in index.uses[node.id].tasks:
            wanted.update((n.network_id, None) for n in index.tasks[task_id].networks)
        for network_id in wanted:
            attach(draft, node.id, network_id)


def give(draft: Draft, node_id: NodeId, container: ContainerAttachment) -> None:
    """Give a container of a user's its address on an overlay unless it has one, or say why it can't be."""
    network = draft.index.networks.get(container.network_id)
    if container.address or container.refused or (network is not None and not network.subnet and network.id not in draft.index.refused):
        return
    if network is None or not network.subnet:
        address, why = None, "the network has no subnet" if network is not None else f"network {container.network_id} not found"
    elif container.asked:
        address, why = draft.index.addresses.asked(network.id, container.asked), f"address {container.asked} is in use or not of this network"
    elif has_room(draft, node_id, network.id):
        address, why = draft.index.addresses.next_free(network.id), exhausted(network)
    else:
        address, why = None, exhausted(network)
    node = draft.index.nodes[node_id]
    given = msgspec.structs.replace(container, address=address or "", refused="" if address else why)
    draft.put(msgspec.structs.replace(node, containers=tuple(given if c.id == container.id else c for c in node.containers)))


def attach(draft: Draft, node_id: NodeId, network_id: NetworkId) -> None:
    """Give this node its load-balancer address on this network unless it has one. Where none is free there is a
    reason, and the node stays marked."""
    node, network = draft.index.nodes.get(node_id), draft.index.networks.get(network_id)
    if node is None or network is None or not network.subnet or _attached(node, network_id):
        return
    address = draft.index.addresses.next_free(network_id)
    if address is None:
        name = node.description.hostname or node.id
        draft.reasons[network_id] = Reason(f"{exhausted(network)}: none is left for the load balancer of node {name}")
        draft.unattached[node_id] = None
        return
    attachment = NodeAttachment(network_id, address)
    draft.put(msgspec.structs.replace(node, attachments=(*node.attachments, attachment)))


def has_room(draft: Draft, node_id: NodeId, network_id: NetworkId) -> bool:
    """Whether one more address can be given on this node, with those of the load balancers that this makes necessary."""
    owed = draft.owed.get(network_id, {})
    own = 0 if node_id in owed or node_id in draft.index.attached.get(network_id, ()) else 1
    return draft.index.addresses.has_free(network_id, 1 + len(owed) + own)


def owe(draft: Draft, node_id: NodeId, network_id: NetworkId) -> None:
    """The node's load balancer needs an address there, when the tasks of this plan have theirs."""
    if node_id not in draft.index.attached.get(network_id, ()):
        draft.owed.setdefault(network_id, {})[node_id] = None


def exhausted(network: Network) -> str:
    """libnetwork's words for a network whose addresses are all taken."""
    return f"no available IPv4 addresses on this network's address pools: {network.spec.name} ({network.id})"


def _attached(node: Node, network_id: NetworkId) -> bool:
    return any(a.network_id == network_id for a in node.attachments)
