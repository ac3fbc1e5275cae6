"""From what the cluster assigned and what the containers lease to the fabric's input: pure.

Interface order as Docker 20.10's (the seed): with a port published through the mesh eth0 is ingress and eth1 docker_gwbridge, overlays follow; else overlays
come first and docker_gwbridge last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

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


def overlays(tables: ClusterTables, node_id: str) -> tuple[view.Overlay, ...]:
    """Every overlay that the node takes part in and that has been allocated."""
    remotes: dict[NetworkId, list[view.Remote]] = {}
    for endpoint in tables.endpoints.values():
        if endpoint.node_id != node_id and endpoint.node_address:
            address = _plain(endpoint.address)
            remote = view.Remote(address, endpoint.node_address, _twin(tables, endpoint.network_id, address), balancer=not endpoint.task_id)
            remotes.setdefault(endpoint.network_id, []).append(remote)
    balancers: dict[NetworkId, list[view.Balancer]] = {}
    for balancer in (balancer for balancer in tables.balancers.values() if balancer.mark):  # without one it is for names only (dnsrr)
        balancers.setdefault(balancer.network_id, []).extend(_balancers(tables, balancer))
    found = []
    for network_id, item in sorted(tables.networks.items()):
        network = item.network
        if not network.subnet or not item.lb_address:
            continue
        options = dict(network.spec.driver_opts)
        overlay = view.Overlay(
            network_id, network.spec.name, network.vni, network.subnet, network.gateway, item.lb_address, network.spec.ingress, network.spec.internal,
            remotes=tuple(sorted(remotes.get(network_id, ()), key=lambda r: r.address)),
            balancers=tuple(sorted(balancers.get(network_id, ()), key=lambda b: b.mark)),
            mtu=_mtu(options), encrypted="encrypted" in options,
            subnet6=network.subnet6, gateway6=network.gateway6, lb_address6=twin(network, item.lb_address),
        )  # fmt: skip
        found.append(overlay)
    return tuple(found)


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
