"""What the sandbox of a network's balancer looks like, by either of the ways to balance. Pure."""

from __future__ import annotations

import dataclasses
import enum
import itertools
from functools import lru_cache
from typing import Any

from netfabric.anatomy.addresses import plain
from netfabric.anatomy.node import FORWARDING, FORWARDING6, bridges_of
from netfabric.anatomy.sandbox import Kind, base
from netfabric.ingress import ipvs, nft
from netfabric.ingress.rebalancing import rebalanced
from netfabric.ingress.vips import SERVICES_KEPT, on_ipv6, source_chain, targets
from netfabric.parts import PartedSet
from netfabric.state import Address, Namespace, Sysctl
from netfabric.view import INGRESS_SANDBOX, Balancer, Interface, Overlay, Sandbox, View

NO_REDIRECTS = (Sysctl("net.ipv4.conf.all.send_redirects", "0"), Sysctl("net.ipv4.conf.default.send_redirects", "0"))


class Balancing(enum.StrEnum):
    """What carries out virtual services on this node."""

    IPVS = "ipvs"
    NFT = "nft"


def balancer_sandbox(overlay: Overlay) -> str:
    return INGRESS_SANDBOX if overlay.ingress else f"lb_{overlay.id[:9]}"


def balancer_sandboxes(view: View) -> list[tuple[Overlay, Sandbox]]:
    """The sandboxes that the fabric itself needs: the balancer of every overlay where this node has an address."""
    made = []
    for overlay in view.overlays:
        if not overlay.lb_address:
            continue
        interfaces = [Interface("eth0", overlay.id, overlay.lb_address, address6=overlay.lb_address6)]
        if overlay.ingress and view.gateway_bridge is not None:
            bridge = view.gateway_bridge
            interfaces.append(Interface("eth1", bridge.name, view.ingress_sandbox_address, plain(bridge.gateway)))
        made.append((overlay, Sandbox(balancer_sandbox(overlay), tuple(interfaces))))
    return made


def local_sources(view: View) -> tuple[str, ...]:
    """The subnets whose addresses mean something else on every node, or inside a task: as a client's they are hidden."""
    bridges = (bridge.subnet for bridge in bridges_of(view))
    return tuple(sorted({*bridges, *(subnet for overlay in view.overlays for subnet in overlay.subnets)}))


def planned_balancer(
    _name: str,
    kinds: tuple[Kind, ...],
    subnets: tuple[tuple[str, ...], str],
    balancing: Balancing,
    local_sources: tuple[str, ...],
    balancers: tuple[Balancer, ...],
) -> Namespace:
    """`local_sources` is empty where no client keeps its address: on every network but the ingress."""
    common = base(kinds)
    subnets4, subnet6 = subnets
    own, own6 = plain(kinds[0].interface.address), plain(kinds[0].interface.address6)
    aliases = itertools.chain.from_iterable(map(_aliases, balancers))
    by_ipvs = balancing is Balancing.IPVS
    backend = ipvs if by_ipvs else nft
    tables = [backend.balancer_table(balancers, source_chain(balancers, subnets4, own, local_sources))]
    if own6:
        tables.append(backend.balancer_table(on_ipv6(balancers), source_chain((), (subnet6,), own6, ()), "ip6"))
    return dataclasses.replace(
        common,
        addresses=(*common.addresses, *aliases),
        sysctls=(*common.sysctls, *FORWARDING, *(FORWARDING6 if own6 else ()), *NO_REDIRECTS, *(ipvs.SYSCTLS if by_ipvs else ())),
        tables=tuple(tables),
        services=ipvs.services(balancers) if by_ipvs else (),
        servers=PartedSet(ipvs.servers(balancers) if by_ipvs else ()),
        timeouts=ipvs.TIMEOUTS if by_ipvs else None,
        targets=PartedSet(targets(balancers)),
    )


def balanced_otherwise(namespace: Namespace, before: tuple[Any, ...], now: tuple[Any, ...]) -> Namespace | None:
    return rebalanced(namespace, before[-1], now[-1], by_ipvs=now[2] is Balancing.IPVS)


@lru_cache(maxsize=SERVICES_KEPT)
def _aliases(balancer: Balancer) -> tuple[Address, ...]:
    """What the sandbox's eth0 has besides its own addresses."""
    own = (f"{balancer.virtual_ip}/32",) if balancer.virtual_ip else ()
    return tuple(Address("eth0", cidr) for cidr in (*own, *((f"{balancer.virtual_ip6}/128",) if balancer.virtual_ip6 else ())))
