"""The IPv6 subnet of an overlay that wants one. Pure; reads the draft, writes nothing.

What the user gave is honoured or refused with a reason; else it is a /64 of the cluster's own prefix, which follows from the cluster's id, so that two
clusters hardly ever share one. Source: RFC 4193 (unique local addresses).
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Final

from cluster.model.objects import Network
from cluster.model.twins import has_room
from manager.draft import Draft

UNIQUE_LOCAL: Final = 0xFD
CLUSTER_PREFIX: Final = 48  # fd, and 40 bits that are the cluster's
NETWORK_PREFIX: Final = 64
NO_POOL: Final = "could not find an available, non-overlapping IPv6 address pool among the defaults to assign to the network"
OVERLAP: Final = "invalid pool request: Pool overlaps with other one on this address space"


def cluster_prefix(cluster_id: str) -> IPv6Network:
    digest = hashlib.sha256(b"festoon/" + cluster_id.encode()).digest()
    return IPv6Network((int.from_bytes(bytes([UNIQUE_LOCAL]) + digest[:5], "big") << 80, CLUSTER_PREFIX))


def choose(draft: Draft, network: Network, subnet: IPv4Network) -> tuple[str, str] | str:
    """The subnet and gateway, both empty for a network without IPv6; or the reason why it gets none."""
    if not network.spec.ipv6:
        return "", ""
    taken = [IPv6Network(n.subnet6) for n in draft.index.networks.values() if n.subnet6]
    given = next((c for c in network.spec.ipam if ":" in c.subnet), None)
    try:
        if given is None:
            chosen = _free(draft, taken)
            if chosen is None:
                return NO_POOL
        else:
            chosen = IPv6Network(given.subnet, strict=False)
            if any(chosen.overlaps(other) for other in taken):
                return f"{OVERLAP}: {chosen}"
        if not has_room(str(subnet), str(chosen)):
            return f"invalid pool request: subnet {chosen} has fewer addresses than {subnet}"
        gateway = IPv6Address(given.gateway) if given is not None and given.gateway else chosen[1]
    except ValueError as error:
        return f"invalid network configuration: {error}"
    if gateway not in chosen:
        return f"gateway {gateway} is not in subnet {chosen}"
    return str(chosen), str(gateway)


def _free(draft: Draft, taken: list[IPv6Network]) -> IPv6Network | None:
    """The cluster's lowest /64 that overlaps with none."""
    whole = cluster_prefix(next(iter(draft.index.clusters), ""))
    return next((one for one in whole.subnets(new_prefix=NETWORK_PREFIX) if not any(one.overlaps(other) for other in taken)), None)
