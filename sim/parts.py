"""The product's parts that a world is made of. A mutant (mutants.py) puts another in the place of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from cluster.model.changes import Change
from cluster.model.ids import NodeId
from manager.dispatcher.statuses import Updates, accept
from manager.raft.core import Raft
from manager.raft.member import RaftMember
from manager.store import Store
from sim.policy import Policy

OWN: Final = Policy()
"""The product's own placement."""


@dataclass(frozen=True)
class Parts:
    raft: type[Raft] = Raft
    member: type[RaftMember] = RaftMember
    store: Callable[[], Store] = Store
    accept: Callable[[Store, Iterable[tuple[NodeId, Updates]]], tuple[Change, ...]] = accept
    policy: Policy = OWN
    keeps_id: bool = False  # a manager that lost its state comes back under its old id: never in the product
