"""From what the cluster assigned and what the containers lease to the fabric's input: pure.

Interface order as Docker 20.10's (the seed): with a port published through the mesh eth0 is ingress and eth1 docker_gwbridge, overlays follow; else overlays
come first and docker_gwbridge last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import attrgetter

from cluster.model.assignments import BalancerItem, ConfigItem, EndpointItem, Item, NetworkItem, PortSettings, SecretItem, TaskItem
from cluster.model.ids import NetworkId
from cluster.model.specs import PortConfig, PublishMode
from cluster.model.twins import twin
from netfabric import view
from netfabric.parts import PartedMap, PartedSet


@dataclass(frozen=True, slots=True)
class ClusterTables:
    """The cluster's side of the node's networks, by key; replaced, never changed."""

    networks: dict[NetworkId, NetworkItem]
    endpoints: PartedMap[EndpointItem]
    balancers: PartedMap[BalancerItem]


AFFINITY_MARKS = 0x10000  # added to a service's mark (16 bits, manager/allocator/ports.py) for its second balancer
EMPTY_TABLES = ClusterTables({}, PartedMap({}), PartedMap({}))
NO_REMOTES: PartedSet[view.Remote] = PartedSet()


@dataclass(frozen=True, slots=True)
class Served:
    """The overlays of some tables, and what was made of their items: of one task among a thousand that changes only its own is made anew."""

    overlays: tuple[view.Overlay, ...]
    tables: ClusterTables
    node_id: str
    remotes: dict[NetworkId, PartedSet[view.Remote]]
    balancers: dict[NetworkId, tuple[view.Balancer, ...]]


NOTHING_SERVED = Served((), EMPTY_TABLES, "", {}, {})


def fold(tables: ClusterTables, upserts: Iterable[Item], removals: Iterable[str], *, complete: bool) -> ClusterTables:
    """The tables after one message; `complete` says all that there is. What has not changed is the same object. Tasks are not kept here."""
    networks = {} if complete else dict(tables.networks)
    endpoints: dict[str, EndpointItem | None] = dict.fromkeys(tables.endpoints if complete else removals)
    balancers: dict[str, BalancerItem | None] = dict.fromkeys(tables.balancers if complete else removals)
    for key in removals:
        if key.startswith("network/"):
            networks.pop(NetworkId(key.removeprefix("network/")), None)
    for item in upserts:
        match item:
            case NetworkItem():
                networks[item.network.id] = item
            case EndpointItem():
                endpoints[item.key] = item
            case BalancerItem():
                balancers[item.key] = item
            case TaskItem() | SecretItem() | ConfigItem():
                pass
    return ClusterTables(networks, tables.endpoints.changed(endpoints.items()), tables.balancers.changed(balancers.items()))


def published(ports: Iterable[PortConfig]) -> tuple[view.PublishedPort, ...]:
    """The ports of a service that go through the mesh."""
    return tuple(view.PublishedPort(p.protocol, p.published_port, p.target_port) for p in ports if p.publish_mode is PublishMode.INGRESS and p.published_port)


def serve(tables: ClusterTables, node_id: str, before: Served) -> Served:
    """Every overlay that the node takes part in and that has been allocated. What has not changed since `before` is the same object."""
    if tables.networks != before.tables.networks or node_id != before.node_id:
        before = NOTHING_SERVED
    remotes, balancers = _remotes(tables, node_id, before), _all_balancers(tables, before)
    overlays = tuple(
        _overlay(item, remotes.get(network_id, NO_REMOTES), balancers.get(network_id, ()))
        for network_id, item in sorted(tables.networks.items())
        if item.network.subnet and item.lb_address
    )
    return Served(overlays, tables, node_id, remotes, balancers)


def _remotes(tables: ClusterTables, node_id: str, before: Served) -> dict[NetworkId, PartedSet[view.Remote]]:
    gone: dict[NetworkId, set[view.Remote]] = {}
    come: dict[NetworkId, set[view.Remote]] = {}
    for _, was, now in tables.endpoints.since(before.tables.endpoints):
        for item, some in ((was, gone), (now, come)):
            if item is not None and (remote := _remote(tables, item, node_id)) is not None:
                some.setdefault(item.network_id, set()).add(remote)
    found = dict(before.remotes)
    for network_id in gone.keys() | come.keys():
        old, new = gone.get(network_id, set()), come.get(network_id, set())
        found[network_id] = found.get(network_id, NO_REMOTES).changed(old - new, new - old)
    return found


def _all_balancers(tables: ClusterTables, before: Served) -> dict[NetworkId, tuple[view.Balancer, ...]]:
    """Of each network, in the order of their marks; a service without one is for names only (dnsrr)."""
    gone: dict[NetworkId, set[int]] = {}
    come: dict[NetworkId, list[view.Balancer]] = {}
    for _, was, now in tables.balancers.since(before.tables.balancers):
        if was is not None:
            gone.setdefault(was.network_id, set()).update((was.mark, was.mark + AFFINITY_MARKS))
        if now is not None and now.mark:
            come.setdefault(now.network_id, []).extend(_balancers(tables, now))
    found = dict(before.balancers)
    for network_id in gone.keys() | come.keys():
        marks = gone.get(network_id, set())
        kept = (one for one in found.get(network_id, ()) if one.mark not in marks)
        found[network_id] = tuple(sorted((*kept, *come.get(network_id, ())), key=attrgetter("mark")))
    return found


def _remote(tables: ClusterTables, item: EndpointItem, node_id: str) -> view.Remote | None:
    """An endpoint as other nodes reach it; None for one of this node's, or of no place yet."""
    if item.node_id == node_id or not item.node_address:
        return None
    address = _plain(item.address)
    return view.Remote(address, item.node_address, _twin(tables, item.network_id, address), balancer=not item.task_id)


def _overlay(item: NetworkItem, remotes: PartedSet[view.Remote], balancers: tuple[view.Balancer, ...]) -> view.Overlay:
    network = item.network
    options = dict(network.spec.driver_opts)
    return view.Overlay(
        network.id, network.spec.name, network.vni, network.subnet, network.gateway, item.lb_address, network.spec.ingress, network.spec.internal,
        remotes=remotes, balancers=balancers, mtu=_mtu(options), encrypted="encrypted" in options,
        subnet6=network.subnet6, gateway6=network.gateway6, lb_address6=twin(network, item.lb_address),
        further=tuple(view.Subnet(one.subnet, one.gateway) for one in network.further),
    )  # fmt: skip


def _twin(tables: ClusterTables, network_id: NetworkId, address: str) -> str:
    """The endpoint's IPv6 address; empty where there is none."""
    item = tables.networks.get(network_id)
    return twin(item.network, address) if item is not None else ""


def _balancers(tables: ClusterTables, item: BalancerItem) -> Iterator[view.Balancer]:
    """The service's balancer, and one more for the ports at which clients stay with their task: how it chooses is a virtual service's."""
    backends = tuple(view.Backend(b.address, b.weight, _twin(tables, item.network_id, b.address)) for b in item.backends)
    virtual_ip6 = _twin(tables, item.network_id, item.virtual_ip)
    settings = item.settings or tuple(PortSettings() for _ in item.ports)
    ports = {
        affine: tuple(
            replace(port, masquerade=s.masquerade) for p, s in zip(item.ports, settings, strict=True) for port in published((p,)) if s.affinity is affine
        )
        for affine in (False, True)
    }
    yield view.Balancer(item.service_name, item.virtual_ip, item.mark, backends, ports[False], virtual_ip6=virtual_ip6)
    if ports[True]:
        yield view.Balancer(item.service_name, "", item.mark + AFFINITY_MARKS, backends, ports[True], affinity=True)


def _mtu(options: dict[str, str]) -> int:
    """What the user asks for; 0 where that is nothing, or no number."""
    text = options.get("com.docker.network.driver.mtu", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def interface_order(names: Iterable[tuple[str, bool]], gateway: bool) -> tuple[str, ...]:
    """Networks of a container -> their order, as names; `names` are (network id, is ingress), `gateway` adds "" for the gateway bridge."""
    listed = tuple(names)
    ingress = tuple(n for n, is_ingress in listed if is_ingress)
    others = tuple(n for n, is_ingress in listed if not is_ingress)
    middle = ("",) if gateway else ()
    return ingress + middle + others if ingress else others + middle


def _plain(address: str) -> str:
    return address.partition("/")[0]
