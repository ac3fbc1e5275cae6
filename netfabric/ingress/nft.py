"""Balancing by nftables alone, for kernels without IPVS: strict round robin over connections, by weight. Pure.

A map from mark to the service's chain; a chain per service that counts up and translates to the server whose turn it
is. So a change of one service touches its own chain, and there are few: the kernel looks through all chains of a table
whenever a rule of it changes, and libnftables lists them before. A draining server (weight 0) is not picked; its
connections live on in conntrack. Where clients stay with their server their address is hashed instead of counted.

A first packet that is in the middle of a chain while the chain is replaced finds nothing: it reads the old rule, whose
map is empty from the moment of the commit. So it is led there once more, from a chain of its own, which reads the new
rule; whose first packet has found a server never comes there.
Sources: nft(8) numgen, jhash, maps; nft_table_validate in the kernel's nf_tables_api.c, nft_map_deactivate there, nft_do_chain, nf_nat_inet_fn.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import lru_cache

from netfabric.firewall.nftables import Chain, Map, Pick, Table
from netfabric.firewall.rules import PREROUTING, TABLE
from netfabric.ingress.vips import SERVICES_KEPT, family_of, marking_chain
from netfabric.view import Backend, Balancer

SERVICES = "services"
ONLY_BALANCED = "type filter hook forward priority filter; policy drop;"
"""A balancer's sandbox is no router between the networks that it stands on."""
AFTER_PREROUTING = "type nat hook prerouting priority dstnat + 1; policy accept;"
AFFINITY_SLOTS = 256
"""Into how many groups clients are hashed where they stay with their server."""
HASH_SEED = 0x46535459
"""The same on every node, so that a client meets the same server through each of them."""
WEIGHT_SLOTS = 1024
"""Most entries of a service's wheel; heavier weights are scaled down to it."""


def balancer_table(balancers: Sequence[Balancer], sources: Chain, family: str = "ip") -> Table:
    """The table of a balancer's sandbox; `sources` is vips.source_chain's, `family` that of all addresses."""
    there = [one for one in map(served, balancers) if one is not None]
    marking = marking_chain(balancers, first=("ct state established,related accept",))
    dispatch = Chain("PREROUTING", (f"meta mark vmap @{SERVICES}",), PREROUTING)
    once_more = Chain("ONCE-MORE", dispatch.rules, AFTER_PREROUTING)
    forward = Chain("FORWARD", ("ct state established,related accept", "meta mark != 0 accept"), ONLY_BALANCED)
    services = Map(SERVICES, "type mark : verdict;", frozenset(element for _, element in there))
    return Table(TABLE, (*(chain for chain, _ in there), marking, dispatch, once_more, sources, forward), (services,), family)


@lru_cache(maxsize=SERVICES_KEPT)
def served(balancer: Balancer) -> tuple[Chain, tuple[str, str]] | None:
    """A service's own chain, and the map's element that leads there; None when there is no server to pick."""
    picked = ring(balancer.backends) if balancer.affinity else wheel(balancer.backends)
    if not picked:
        return None
    name, pick = service_chain(balancer.mark), Pick(picked, HASH_SEED if balancer.affinity else None)
    return Chain(name, (_rule(pick),), pick=pick), (f"{balancer.mark:#x}", f"goto {name}")


def service_chain(mark: int) -> str:
    return f"FWM-{mark}"


def _rule(pick: Pick) -> str:
    count = len(pick.addresses)
    chosen = f"numgen inc mod {count}" if pick.seed is None else f"jhash {family_of(pick.addresses[0])} saddr mod {count} seed {pick.seed:#x}"
    servers = ", ".join(f"{slot} : {address}" for slot, address in enumerate(pick.addresses))
    return f"counter dnat to {chosen} map {{ {servers} }}"


def ring(backends: Sequence[Backend]) -> tuple[str, ...]:
    """Which address each hash of a client leads to: the same on every node, and when a backend goes only its own
    clients move (rendezvous hashing over a fixed number of slots). Weights count as there or not.
    """
    live = sorted(b.address for b in backends if b.weight > 0)
    if not live:
        return ()
    return tuple(max(live, key=lambda address: zlib.crc32(f"{slot}/{address}".encode())) for slot in range(AFFINITY_SLOTS))


def wheel(backends: Sequence[Backend]) -> tuple[str, ...]:
    """The addresses in the order in which they are picked: each as often as its weight says, as evenly spread as it
    goes (smooth weighted round robin).
    """
    live = [b for b in backends if b.weight > 0]
    if not live:
        return ()
    divisor = math.gcd(*(b.weight for b in live))
    weights = {b.address: b.weight // divisor for b in live}
    total = sum(weights.values())
    if total > max(WEIGHT_SLOTS, len(weights)):
        weights = {address: max(1, weight * WEIGHT_SLOTS // total) for address, weight in weights.items()}
        total = sum(weights.values())
    if total == len(weights):
        return tuple(weights)
    credit = dict.fromkeys(weights, 0)
    order = []
    for _ in range(total):
        for address, weight in weights.items():
            credit[address] += weight
        best = max(credit, key=lambda address: credit[address])
        credit[best] -= total
        order.append(best)
    return tuple(order)
