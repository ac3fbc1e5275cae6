"""The product's parts that a world is made of. A mutant (mutants.py) puts another in the place of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from manager.raft.core import Raft
from manager.raft.member import RaftMember
from manager.store import Store


@dataclass(frozen=True)
class Parts:
    raft: type[Raft] = Raft
    member: type[RaftMember] = RaftMember
    store: Callable[[], Store] = Store
    keeps_id: bool = False  # a manager that lost its state comes back under its old id: never in the product
