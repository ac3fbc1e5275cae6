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

from netfabric.firewall.nftables import Chain
from netfabric.view import Backend, Balancer

MARKING = Chain("MARK", hook="type filter hook prerouting priority mangle; policy accept;")
SOURCE = Chain("POSTROUTING", hook="type nat hook postrouting priority srcnat; policy accept;")


def virtual_addresses(balancers: Sequence[Balancer]) -> tuple[str, ...]:
    """The addresses that the sandbox's eth0 has besides its own, in CIDR form."""
    own = (f"{b.virtual_ip}/32" for b in balancers if b.virtual_ip)
    own6 = (f"{b.virtual_ip6}/128" for b in balancers if b.virtual_ip6)
    return tuple(dict.fromkeys((*own, *own6)))


def on_ipv6(balancers: Iterable[Balancer]) -> tuple[Balancer, ...]:
    """The same services by their IPv6 addresses alone; ports are published on the ingress network, which has none of those."""
    return tuple(
        replace(b, virtual_ip=b.virtual_ip6, backends=tuple(Backend(s.address6, s.weight) for s in b.backends if s.address6), ports=())
        for b in balancers
        if b.virtual_ip6
    )


def family_of(address: str) -> str:
    """The word by which nftables knows the family of an address or subnet."""
    return "ip6" if ":" in address else "ip"


def marking_chain(balancers: Sequence[Balancer], *, first: Sequence[str] = ()) -> Chain:
    """Marks packets by published port, then by virtual address. `first` are the backend's own rules before them."""
    by_port = (f"{p.protocol} dport {p.published} counter {_mark(b)}" for b in balancers for p in b.ports)
    by_address = (f"{family_of(b.virtual_ip)} daddr {b.virtual_ip} counter {_mark(b)}" for b in balancers if b.virtual_ip)
    return Chain(MARKING.name, (*first, *by_port, *by_address), MARKING.hook)


def source_chain(balancers: Sequence[Balancer], subnet: str, own_address: str, local_sources: Sequence[str]) -> Chain:
    """Gives balanced connections the sandbox's own address; `subnet` is the overlay's.

    With `local_sources` only those get it whose own address would be misunderstood by a task, and those to ports that
    hide their clients. The others keep it: the task sends its answers back here all the same (firewall/rules.py).
    """
    balanced = f"{family_of(subnet)} daddr {subnet} meta mark != 0"
    translated = f"counter snat to {own_address}"
    if not local_sources:
        return Chain(SOURCE.name, (f"{balanced} {translated}",), SOURCE.hook)
    hidden = sorted({(p.protocol, p.published) for b in balancers for p in b.ports if p.masquerade})
    by_port = (f"{balanced} {protocol} dport {port} {translated}" for protocol, port in hidden)
    return Chain(SOURCE.name, (f"{balanced} ip saddr {{ {', '.join(local_sources)} }} {translated}", *by_port), SOURCE.hook)


def _mark(balancer: Balancer) -> str:
    return f"meta mark set {balancer.mark:#x}"
