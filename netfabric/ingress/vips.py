"""How a balancer's sandbox tells services apart and answers for them. Pure, and the same for both backends.

Every virtual service has a firewall mark. Packets to its virtual address, and on the ingress network to its
published ports, are marked as they come in; what the mark selects is the backend's (ingress/ipvs.py,
ingress/nft.py). The answer must come back here: either what goes on to a task leaves with the sandbox's own address,
or (from outside, through the ingress) the task knows by which sandbox it came.
Source: moby libnetwork service_linux.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import Final

from netfabric.firewall.nftables import Chain
from netfabric.state import Target
from netfabric.view import Backend, Balancer

SERVICES_KEPT: Final = 4096
"""Services of which is remembered what was made of them: a change of one leaves the others alone."""
MARKING = Chain("MARK", hook="type filter hook prerouting priority mangle; policy accept;")
SOURCE = Chain("POSTROUTING", hook="type nat hook postrouting priority srcnat; policy accept;")


def on_ipv6(balancers: Iterable[Balancer]) -> tuple[Balancer, ...]:
    """The same services by their IPv6 addresses alone; ports are published on the ingress network, which has none of those."""
    return tuple(_on_ipv6(b) for b in balancers if b.virtual_ip6)


@lru_cache(maxsize=SERVICES_KEPT)
def _on_ipv6(balancer: Balancer) -> Balancer:
    backends = tuple(Backend(s.address6, s.weight) for s in balancer.backends if s.address6)
    return replace(balancer, virtual_ip=balancer.virtual_ip6, backends=backends, ports=())


def targets(balancers: Iterable[Balancer]) -> frozenset[Target]:
    """To whom their connections are led."""
    return frozenset().union(*map(_targets, balancers))


@lru_cache(maxsize=SERVICES_KEPT)
def _targets(balancer: Balancer) -> frozenset[Target]:
    return frozenset(Target(address, balancer.mark) for server in balancer.backends for address in (server.address, server.address6) if address)


def family_of(address: str) -> str:
    """The word by which nftables knows the family of an address or subnet."""
    return "ip6" if ":" in address else "ip"


def marking_chain(balancers: Sequence[Balancer], *, first: Sequence[str] = ()) -> Chain:
    """Marks packets by published port, then by virtual address. `first` are the backend's own rules before them."""
    marks = [_marks(b) for b in balancers]
    by_port = chain.from_iterable(ports for ports, _ in marks)
    by_address = chain.from_iterable(addresses for _, addresses in marks)
    return Chain(MARKING.name, (*first, *by_port, *by_address), MARKING.hook)


@lru_cache(maxsize=SERVICES_KEPT)
def _marks(balancer: Balancer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The rules that mark a service's packets, by its ports and by its address."""
    mark = f"meta mark set {balancer.mark:#x}"
    address = balancer.virtual_ip
    by_port = tuple(f"{p.protocol} dport {p.published} counter {mark}" for p in balancer.ports)
    return by_port, (f"{family_of(address)} daddr {address} counter {mark}",) if address else ()


def source_chain(balancers: Sequence[Balancer], subnets: Sequence[str], own_address: str, local_sources: Sequence[str]) -> Chain:
    """Gives balanced connections the sandbox's own address; `subnets` are the overlay's, of one family.

    With `local_sources` only those get it whose own address would be misunderstood by a task, and those to ports that
    hide their clients. The others keep it: the task sends its answers back here all the same (firewall/rules.py).
    """
    there = subnets[0] if len(subnets) == 1 else f"{{ {', '.join(subnets)} }}"
    balanced = f"{family_of(subnets[0])} daddr {there} meta mark != 0"
    translated = f"counter snat to {own_address}"
    if not local_sources:
        return Chain(SOURCE.name, (f"{balanced} {translated}",), SOURCE.hook)
    hidden = sorted({(p.protocol, p.published) for b in balancers for p in b.ports if p.masquerade})
    by_port = (f"{balanced} {protocol} dport {port} {translated}" for protocol, port in hidden)
    return Chain(SOURCE.name, (f"{balanced} ip saddr {{ {', '.join(local_sources)} }} {translated}", *by_port), SOURCE.hook)
