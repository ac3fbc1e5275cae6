"""Balancing by IPVS: a virtual service per firewall mark, a real server per task, masquerading; nftables only marks
and translates the source. Pure.

The kernel's messages are in netlink/ipvs.py. Sources: ipvsadm(8), kernel Documentation/networking/ipvs-sysctl.
"""

from __future__ import annotations

from collections.abc import Sequence

from netfabric.firewall.nftables import Table
from netfabric.firewall.rules import TABLE
from netfabric.ingress.vips import marking_chain, source_chain
from netfabric.state import RealServer, Sysctl, VirtualService
from netfabric.view import Balancer

SYSCTLS = (
    Sysctl("net.ipv4.vs.conntrack", "1", optional=True),
    Sysctl("net.ipv4.vs.conn_reuse_mode", "0", optional=True),
    Sysctl("net.ipv4.vs.expire_nodest_conn", "1", optional=True),
    Sysctl("net.ipv4.vs.expire_quiescent_template", "1", optional=True),
)


def balancer_table(balancers: Sequence[Balancer], subnet: str, own_address: str) -> Table:
    """The table of a balancer's sandbox. `subnet` in CIDR form, `own_address` plain."""
    return Table(TABLE, (marking_chain(balancers), source_chain(subnet, own_address)))


def services(balancers: Sequence[Balancer]) -> tuple[VirtualService, ...]:
    return tuple(VirtualService(b.mark) for b in balancers)


def servers(balancers: Sequence[Balancer]) -> frozenset[RealServer]:
    return frozenset(RealServer(b.mark, s.address, s.weight) for b in balancers for s in b.backends)
