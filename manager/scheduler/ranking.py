"""The order in which suitable nodes are preferred, and its words.

Owns the rule: nodes on which this service and spec version failed often lately come last (five failures in five
minutes), then fewer tasks of this service, then less that is reserved of what this service reserves, then fewer tasks in total, then the node's id. A service
that packs (`festoon.placement-strategy`) prefers the node of which most is reserved, then the one with most tasks. Source: SwarmKit's
`manager/scheduler/scheduler.go` (nodeLess); reservations and packing are ours.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cluster.model.ids import NodeId
from manager.index import FAILURES, Index
from manager.scheduler.classes import Key, key
from manager.scheduler.filters import Ask

FAILURE_WINDOW_NS: Final = 300_000_000_000

Rank = tuple[int, int, int, int, NodeId]
"""(recent failures from five on, tasks of this service, load, tasks in total, node id): the lowest is preferred. Load is what is reserved of what this service
reserves, in thousandths. Who packs does not count tasks of the service, and prefers what is fullest: the load and the total are negative.
"""


def failures(index: Index, ask: Ask, node_id: NodeId, now_ns: int) -> int:
    """Recent failures of this service and spec version on this node; 0 below the number that counts."""
    nodes = index.failures.get((ask.service_id, ask.spec_version))
    if nodes is None or node_id not in nodes:
        return 0
    recent = sum(at > now_ns - FAILURE_WINDOW_NS for at in nodes[node_id])
    return recent if recent >= FAILURES else 0


def rank(index: Index, ask: Ask, node_id: NodeId, now_ns: int) -> Rank:
    """This node's place in the order, as things are in the index."""
    failed = failures(index, ask, node_id, now_ns) if index.failures else 0
    return failed, *key(index.nodes, index.uses, node_id, ask.service_id, ask.load, pack=ask.pack)


def rank_at(index: Index, ask: Ask, place: Key, now_ns: int) -> Rank:
    """The same, of a node whose place in an order by load is known."""
    _, load, total, node_id = place
    failed = failures(index, ask, node_id, now_ns) if index.failures else 0
    return failed, 0 if ask.pack else index.uses[node_id].by_service.get(ask.service_id, 0), load, total, node_id


class Placed(msgspec.Struct, frozen=True, gc=False):
    """Why a task is where it is: its node's rank, which is put into words when somebody asks. `nodes` as in draft.Reason."""

    hostname: str
    ranked: Rank
    nodes: tuple[tuple[str, str], ...] = ()

    @property
    def summary(self) -> str:
        return f"placed on {self.hostname}: {words(self.ranked)} before it"


def words(ranked: Rank) -> str:
    """A rank for people."""
    failed, of_service, load, total, _ = ranked
    packs = load < 0 or total < 0
    text = "" if packs else f"{_count(of_service)} of this service, "
    if load:
        text += f"{abs(load) / 10:g} % reserved, "
    text += f"{_count(-total)} in total, to be filled first" if packs else f"{total} in total"
    return f"{text}, failed there {failed} times lately" if failed else text


def _count(number: int) -> str:
    return "1 task" if number == 1 else f"{number} tasks"
