"""How an overlay's remote endpoints are reached: for each a neighbour that answers for its address, and the forwarding entries that lead to its node. Pure.

Where a few of a thousand come or go, only theirs are looked for and made; the sets of all are then what they were, less and more a few.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from netfabric.alike import alike
from netfabric.links.veth import mac_of
from netfabric.state import Forwarding, Neighbour
from netfabric.view import Remote

OVERLAY_TUNNEL = "vxlan0"
Entry = TypeVar("Entry", Neighbour, Forwarding)


@dataclass(frozen=True, slots=True)
class Reach:
    """Remote endpoints and the entries by which they are reached, which follow from them."""

    remotes: tuple[Remote, ...]
    neighbours: frozenset[Neighbour] = field(compare=False, repr=False)
    forwarding: frozenset[Forwarding] = field(compare=False, repr=False)


def reached(remotes: tuple[Remote, ...], before: Reach | None) -> Reach:
    """How these are reached; `before` says how those of the plan before were."""
    if before is None or len(before.forwarding) != 2 * len(before.remotes):  # two have had the same address: which entries went with whom is not known
        return Reach(remotes, *_entries(remotes))
    if before.remotes == remotes:
        return before
    first, last = alike(before.remotes, remotes)
    gone, come = _entries(before.remotes[first : len(before.remotes) - last]), _entries(remotes[first : len(remotes) - last])
    return Reach(remotes, _changed(before.neighbours, gone[0], come[0]), _changed(before.forwarding, gone[1], come[1]))


def _changed(before: frozenset[Entry], gone: frozenset[Entry], come: frozenset[Entry]) -> frozenset[Entry]:
    """No more copies of all than it takes."""
    left = before - gone if gone else before
    return left | come if come else left


def _entries(remotes: tuple[Remote, ...]) -> tuple[frozenset[Neighbour], frozenset[Forwarding]]:
    known = ((address, mac_of(r.address)) for r in remotes for address in (r.address, r.address6) if address)
    forwarding = ((mac_of(r.address), vtep) for r in remotes for vtep in (r.vtep, ""))
    return (
        frozenset(Neighbour(OVERLAY_TUNNEL, address, there) for address, there in known),
        frozenset(Forwarding(OVERLAY_TUNNEL, there, vtep) for there, vtep in forwarding),
    )
