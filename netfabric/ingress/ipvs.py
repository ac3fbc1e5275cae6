"""Balancing by IPVS: a virtual service per firewall mark, a real server per task, masquerading; nftables only marks
and translates the source. Clients that stay with their server are found again by source hashing. Pure.

The kernel's messages are in netlink/ipvs.py. Sources: ipvsadm(8), kernel Documentation/networking/ipvs-sysctl.
"""

from __future__ import annotations

from collections.abc import Sequence

from netfabric.firewall.nftables import Chain, Table
from netfabric.firewall.rules import TABLE
from netfabric.ingress.vips import marking_chain, on_ipv6
from netfabric.state import RealServer, Sysctl, Timeouts, VirtualService
from netfabric.view import Balancer

SYSCTLS = (
    Sysctl("net.ipv4.vs.conntrack", "1", optional=True),
    Sysctl("net.ipv4.vs.conn_reuse_mode", "0", optional=True),
    Sysctl("net.ipv4.vs.expire_nodest_conn", "1", optional=True),
    Sysctl("net.ipv4.vs.expire_quiescent_template", "1", optional=True),
)


TIMEOUTS = Timeouts(tcp_s=7200, tcp_fin_s=120, udp_s=300)
"""The kernel's 900 s for TCP break idle connections that keep-alives of two hours would hold (moby#31208); the others are its own."""


def balancer_table(balancers: Sequence[Balancer], sources: Chain, family: str = "ip") -> Table:
    """The table of a balancer's sandbox; `sources` is vips.source_chain's, `family` that of all addresses."""
    return Table(TABLE, (marking_chain(balancers), sources), family=family)


def services(balancers: Sequence[Balancer]) -> tuple[VirtualService, ...]:
    """IPv6's are services of their own, with the same marks."""
    own = (VirtualService(b.mark, "sh" if b.affinity else "rr") for b in balancers)
    return (*own, *(VirtualService(b.mark, "sh" if b.affinity else "rr", ipv6=True) for b in on_ipv6(balancers)))


def servers(balancers: Sequence[Balancer]) -> frozenset[RealServer]:
    return frozenset(RealServer(b.mark, s.address, s.weight) for b in (*balancers, *on_ipv6(balancers)) for s in b.backends)
