"""A balancer's sandbox some of whose services have got other servers, made from what it was: the other services are not looked at. Pure.

What comes out is what netfabric/plan.py makes from nothing (tests/property/test_netfabric_convergence.py holds the one against the other).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from netfabric.firewall.nftables import Table
from netfabric.ingress import ipvs, nft
from netfabric.ingress.vips import on_ipv6, targets
from netfabric.parts import PartedSet
from netfabric.state import Namespace
from netfabric.view import Balancer

Pairs = Sequence[tuple[Balancer, Balancer]]
"""Services as they were and as they are."""


def rebalanced(namespace: Namespace, before: Sequence[Balancer], now: Sequence[Balancer], *, by_ipvs: bool) -> Namespace | None:
    """The sandbox of `now`, from that of `before`; None where more than servers has changed, or a service gets its first or loses its last."""
    if len(before) != len(now):
        return None
    pairs = [(old, new) for old, new in zip(before, now, strict=True) if old is not new and old != new]
    if any(dataclasses.replace(old, backends=new.backends) != new for old, new in pairs):
        return None
    tables: list[Table] = []
    for table in namespace.tables if not by_ipvs else ():
        some = pairs if table.family == "ip" else list(zip(on_ipv6(old for old, _ in pairs), on_ipv6(new for _, new in pairs), strict=True))
        changed = _with_other_picks(table, some)
        if changed is None:
            return None
        tables.append(changed)
    assert isinstance(namespace.targets, PartedSet)
    assert isinstance(namespace.servers, PartedSet)
    gone, come = [old for old, _ in pairs], [new for _, new in pairs]
    servers = namespace.servers.changed(ipvs.servers(gone), ipvs.servers(come)) if by_ipvs else namespace.servers
    return dataclasses.replace(
        namespace, tables=namespace.tables if by_ipvs else tuple(tables), targets=namespace.targets.changed(targets(gone), targets(come)), servers=servers
    )


def _with_other_picks(table: Table, pairs: Pairs) -> Table | None:
    """None where a service gets its first server or loses its last: then more than its own chain changes."""
    chains = list(table.chains)
    for old, new in pairs:
        was, becomes = nft.served(old), nft.served(new)
        if (was is None) is not (becomes is None):
            return None
        if was is not None and becomes is not None:
            chains[next(number for number, chain in enumerate(chains) if chain.name == was[0].name)] = becomes[0]
    return dataclasses.replace(table, chains=tuple(chains))
