"""Who belongs to the group of managers, as a value, and which value holds at each index of a log.

Owns the arithmetic of membership: one change at a time, learners before voters, and ids that are never used again, so
that "was removed" needs no list. Decides no election (core.py) and opens no connection. Source: Ongaro's thesis,
chapter 4 (single-server changes; a configuration holds as soon as it is in the log), and his correction of 2015: a
leader changes the membership only after an entry of its own term is committed.
"""

from __future__ import annotations

from typing import NewType

import msgspec

from cluster.model.errors import FailedPrecondition, NotFound

RaftId = NewType("RaftId", int)


class Member(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One manager. `address` is host:port of its one mTLS port. A learner has the log and no vote."""

    raft_id: int
    node_id: str = ""
    address: str = ""
    learner: bool = False


class Membership(msgspec.Struct, array_like=True, frozen=True):
    """All members, in the order in which they came. `last_id` is the highest id that was ever given out."""

    members: tuple[Member, ...] = ()
    last_id: int = 0

    @property
    def voters(self) -> tuple[int, ...]:
        return tuple([member.raft_id for member in self.members if not member.learner])

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple([member.raft_id for member in self.members])

    def find(self, raft_id: int) -> Member:
        """Raises NotFound."""
        for member in self.members:
            if member.raft_id == raft_id:
                return member
        raise NotFound(f"there is no manager with the Raft id {raft_id}")

    def of_node(self, node_id: str) -> Member | None:
        return next((member for member in self.members if member.node_id == node_id), None)

    def was_removed(self, raft_id: int) -> bool:
        """Whether the id was a member's once and is no more, for ever."""
        for member in self.members:  # asked of every message
            if member.raft_id == raft_id:
                return False
        return raft_id <= self.last_id

    # -- changes, one at a time

    def with_learner(self, node_id: str, address: str) -> Membership:
        """The new member has the id `last_id` of the result. Raises FailedPrecondition when the node is one already."""
        if self.of_node(node_id) is not None:
            raise FailedPrecondition(f"node {node_id} is a manager of this cluster already")
        new = Member(self.last_id + 1, node_id, address, learner=True)
        return Membership((*self.members, new), new.raft_id)

    def promoted(self, raft_id: int) -> Membership:
        voter = msgspec.structs.replace(self.find(raft_id), learner=False)
        return Membership(tuple(voter if old.raft_id == raft_id else old for old in self.members), self.last_id)

    def placed(self, raft_id: int, node_id: str, address: str) -> Membership:
        """The member is this node and found there; its vote stays as it is."""
        there = msgspec.structs.replace(self.find(raft_id), node_id=node_id, address=address)
        return Membership(tuple(there if old.raft_id == raft_id else old for old in self.members), self.last_id)

    def without(self, raft_id: int) -> Membership:
        self.find(raft_id)
        return Membership(tuple(member for member in self.members if member.raft_id != raft_id), self.last_id)


def of_voters(*ids: int) -> Membership:
    """A group that is there from the beginning."""
    return Membership(tuple(Member(raft_id) for raft_id in ids), max(ids, default=0))


def is_single_change(old: Membership, new: Membership) -> bool:
    """Whether at most one vote was given or taken: then any majority of the one and of the other share a member."""
    return len(set(old.voters) ^ set(new.voters)) <= 1


def encode(membership: Membership) -> bytes:
    return msgspec.msgpack.encode(membership)


def decode(data: bytes) -> Membership:
    """Raises msgspec.ValidationError or DecodeError."""
    return msgspec.msgpack.decode(data, type=Membership)


class History:
    """Which membership holds from which index of a log on. Only manager/raft/log.py changes it."""

    def __init__(self, base: Membership, index: int = 0) -> None:
        self._steps: list[tuple[int, Membership]] = [(index, base)]

    @property
    def latest(self) -> Membership:
        return self._steps[-1][1]

    @property
    def changed_at(self) -> int:
        """The index of the entry that made the latest membership."""
        return self._steps[-1][0]

    def at(self, index: int) -> Membership:
        """The membership that the log up to `index` makes."""
        for start, membership in reversed(self._steps):
            if start <= index:
                return membership
        return self._steps[0][1]

    def after(self, index: int) -> int:
        """How many changes the entries behind `index` make."""
        return sum(start > index for start, _ in self._steps)

    def put(self, index: int, membership: Membership) -> None:
        assert index > self.changed_at, "a later entry"
        self._steps.append((index, membership))

    def cut(self, index: int) -> None:
        """The entries from `index` on are gone."""
        while len(self._steps) > 1 and self._steps[-1][0] >= index:
            self._steps.pop()

    def compact(self, index: int) -> None:
        """The entries up to `index` are in a snapshot."""
        while len(self._steps) > 1 and self._steps[1][0] <= index:
            del self._steps[0]
