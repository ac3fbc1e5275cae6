"""From what the cluster assigned and what the containers lease to the fabric's input: pure.

Interface order as Docker 20.10's (the seed): with a port published through the mesh eth0 is ingress and eth1 docker_gwbridge, overlays follow; else overlays
come first and docker_gwbridge last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from cluster.model.assignments import BalancerItem, ConfigItem, EndpointItem, Item, NetworkItem, PortSettings, SecretItem, TaskItem
from cluster.model.ids import NetworkId
from cluster.model.specs import PortConfig, PublishMode
from cluster.model.twins import twin
from netfabric import view


@dataclass(frozen=True, slots=True)
class ClusterTables:
    """The cluster's side of the node's networks, by key; replaced, never changed."""

    networks: dict[NetworkId, NetworkItem]
    endpoints: dict[str, EndpointItem]
    balancers: dict[str, BalancerItem]


AFFINITY_MARKS = 0x10000  # added to a service's mark (16 bits, manager/allocator/ports.py) for its second balancer
EMPTY_TABLES = ClusterTables({}, {}, {})
Kept = TypeVar("Kept", EndpointItem, BalancerItem)
Made = TypeVar("Made", view.Remote | None, tuple[view.Balancer, ...])


@dataclass(frozen=True, slots=True)
class Served:
    """The overlays of some tables, and what was made of each item: a change of one task among a thousand makes one thing anew."""

    overlays: tuple[view.Overlay, ...]
    tables: ClusterTables
    node_id: str
    remotes: dict[NetworkId, tuple[view.Remote, ...]]
    by_endpoint: dict[str, tuple[EndpointItem, view.Remote | None]]
    by_balancer: dict[str, tuple[BalancerItem, tuple[view.Balancer, ...]]]


NOTHING_SERVED = Served((), EMPTY_TABLES, "", {}, {}, {})


def fold(tables: ClusterTables, upserts: Iterable[Item], removals: Iterable[str], *, complete: bool) -> ClusterTables:
    """The tables after one message; `complete` starts from nothing. Tasks are not kept here."""
    networks = {} if complete else dict(tables.networks)
    endpoints = {} if complete else dict(tables.endpoints)
    balancers = {} if complete else dict(tables.balancers)
    for key in removals:
        endpoints.pop(key, None)
        balancers.pop(key, None)
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
    return ClusterTables(networks, endpoints, balancers)


def published(ports: Iterable[PortConfig]) -> tuple[view.PublishedPort, ...]:
    """The ports of a service that go through the mesh."""
    return tuple(view.PublishedPort(p.protocol, p.published_port, p.target_port) for p in ports if p.publish_mode is PublishMode.INGRESS and p.published_port)


def serve(tables: ClusterTables, node_id: str, before: Served) -> Served:
    """Every overlay that the node takes part in and that has been allocated. What has not changed since `before` is the same object."""
    if tables.networks != before.tables.networks or node_id != before.node_id:
        before = NOTHING_SERVED
    if tables.endpoints == before.tables.endpoints:
        remotes, by_endpoint = before.remotes, before.by_endpoint
    else:
        by_endpoint = {key: _kept(before.by_endpoint.get(key), item) or (item, _remote(tables, item, node_id)) for key, item in tables.endpoints.items()}
        found: dict[NetworkId, list[view.Remote]] = {}
        for endpoint, remote in by_endpoint.values():
            if remote is not None:
                found.setdefault(endpoint.network_id, []).append(remote)
        remotes = {network_id: tuple(sorted(some, key=lambda r: r.address)) for network_id, some in found.items()}
    balanced = {key: item for key, item in tables.balancers.items() if item.mark}  # without one it is for names only (dnsrr)
    by_balancer = {key: _kept(before.by_balancer.get(key), item) or (item, tuple(_balancers(tables, item))) for key, item in balanced.items()}
    balancers: dict[NetworkId, list[view.Balancer]] = {}
    for item, made in by_balancer.values():
        balancers.setdefault(item.network_id, []).extend(made)
    overlays = tuple(
        _overlay(item, remotes.get(network_id, ()), tuple(sorted(balancers.get(network_id, ()), key=lambda b: b.mark)))
        for network_id, item in sorted(tables.networks.items())
        if item.network.subnet and item.lb_address
    )
    return Served(overlays, tables, node_id, remotes, by_endpoint, by_balancer)


def _kept(before: tuple[Kept, Made] | None, item: Kept) -> tuple[Kept, Made] | None:
    return before if before is not None and before[0] is item else None


def _remote(tables: ClusterTables, item: EndpointItem, node_id: str) -> view.Remote | None:
    """An endpoint as other nodes reach it; None for one of this node's, or of no place yet."""
    if item.node_id == node_id or not item.node_address:
        return None
    address = _plain(item.address)
    return view.Remote(address, item.node_address, _twin(tables, item.network_id, address), balancer=not item.task_id)


def _overlay(item: NetworkItem, remotes: tuple[view.Remote, ...], balancers: tuple[view.Balancer, ...]) -> view.Overlay:
    network = item.network
    options = dict(network.spec.driver_opts)
    return view.Overlay(
        network.id, network.spec.name, network.vni, network.subnet, network.gateway, item.lb_address, network.spec.ingress, network.spec.internal,
        remotes=remotes, balancers=balancers, mtu=_mtu(options), encrypted="encrypted" in options,
        subnet6=network.subnet6, gateway6=network.gateway6, lb_address6=twin(network, item.lb_address),
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
