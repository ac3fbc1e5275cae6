"""How an overlay's remote endpoints are reached: for each a neighbour that answers for its address, and the forwarding entries that lead to its node. Pure.

Where a few of a thousand come or go, only theirs are looked for and made; the sets of all are then what they were, less and more a few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from netfabric.links.veth import mac_of
from netfabric.parts import PartedSet
from netfabric.state import Forwarding, Neighbour
from netfabric.view import Remote

OVERLAY_TUNNEL = "vxlan0"


@dataclass(frozen=True, slots=True)
class Reach:
    """Remote endpoints and the entries by which they are reached, which follow from them. `balancers`: the addresses of other nodes' balancers among them;
    `vteps`: how many are behind each."""

    remotes: PartedSet[Remote]
    neighbours: PartedSet[Neighbour] = field(compare=False, repr=False)
    forwarding: PartedSet[Forwarding] = field(compare=False, repr=False)
    balancers: frozenset[str] = field(compare=False, repr=False)
    vteps: Mapping[str, int] = field(compare=False, repr=False)


def reached(remotes: Collection[Remote], before: Reach | None) -> Reach:
    """How these are reached; `before` says how those of the plan before were."""
    now = remotes if isinstance(remotes, PartedSet) else PartedSet(remotes)
    if before is None or len(before.forwarding) != 2 * len(before.remotes):  # two have had the same address: which entries went with whom is not known
        return Reach(now, PartedSet(_neighbours(now)), PartedSet(_forwarding(now)), _balancers(now), _counted({}, (), now))
    gone, come = before.remotes - now, now - before.remotes
    if not gone and not come:
        return before
    return Reach(
        now,
        before.neighbours.changed(_neighbours(gone), _neighbours(come)),
        before.forwarding.changed(_forwarding(gone), _forwarding(come)),
        before.balancers - _balancers(gone) | _balancers(come),
        _counted(before.vteps, gone, come),
    )


def _neighbours(remotes: Iterable[Remote]) -> Iterable[Neighbour]:
    return (Neighbour(OVERLAY_TUNNEL, address, mac_of(r.address)) for r in remotes for address in (r.address, r.address6) if address)


def _forwarding(remotes: Iterable[Remote]) -> Iterable[Forwarding]:
    return (Forwarding(OVERLAY_TUNNEL, mac_of(r.address), vtep) for r in remotes for vtep in (r.vtep, ""))


def _balancers(remotes: Iterable[Remote]) -> frozenset[str]:
    return frozenset(remote.address for remote in remotes if remote.balancer)


def _counted(before: Mapping[str, int], gone: Iterable[Remote], come: Iterable[Remote]) -> Mapping[str, int]:
    found = dict(before)
    for some, more in ((gone, -1), (come, 1)):
        for remote in some:
            found[remote.vtep] = found.get(remote.vtep, 0) + more
    return {vtep: count for vtep, count in found.items() if count}
