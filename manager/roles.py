"""What has to happen next so that the group of managers is the one that users asked for. Pure.

A node's `spec.role` is the wish, `role` what its certificate may say, `manager` whether it has a vote; the membership is
the group's own. A node becomes a manager by its role first: its agent gets the certificate, starts its manager process,
and that joins as a learner, which gets its vote when it has caught up. It becomes a worker the other way round: out of
the group first, and then its role. Source: SwarmKit manager/role_manager.go.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from cluster.model.changes import Change, Object, updated
from cluster.model.objects import ManagerStatus, Node
from cluster.model.specs import Role
from manager.raft.membership import Member, Membership


@dataclass(frozen=True, slots=True)
class Place:
    """This member's own entry in the membership does not say who and where it is."""


@dataclass(frozen=True, slots=True)
class Write:
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Vote:
    """The learner has caught up."""

    raft_id: int


@dataclass(frozen=True, slots=True)
class Expel:
    """The member is to be a manager no longer."""

    raft_id: int


@dataclass(frozen=True, slots=True)
class Abdicate:
    """This member itself is to go: another one has to lead first."""


Step = Place | Write | Vote | Expel | Abdicate


def next_step(nodes: Sequence[Node], membership: Membership, me: Member, caught_up: Collection[int], now_ns: int) -> Step | None:
    """The next thing to do, None when all is as it should be. `me` is this member as it knows itself; `caught_up` are the
    learners that may vote."""
    own = membership.find(me.raft_id)
    if (own.node_id, own.address) != (me.node_id, me.address):
        return Place()
    voters = {member.node_id: member for member in membership.members if not member.learner}
    members = {member.node_id for member in membership.members}
    changes = tuple(updated(after) for node in nodes if (after := _reconciled(node, voters, members, now_ns)) != node)
    if changes:
        return Write(changes)
    wanted = {node.id for node in nodes if node.spec.role is Role.MANAGER}
    for member in membership.members:
        if member.learner and member.node_id in wanted and member.raft_id in caught_up:
            return Vote(member.raft_id)
    going = [member for member in membership.members if member.node_id not in wanted]
    for member in going:
        if member.raft_id != me.raft_id:
            return Expel(member.raft_id)
    return Abdicate() if going and len(voters) > 1 else None


def may_matter(before: Object | None, after: Object | None) -> bool:
    """Whether a step may follow from a change of a node. Most nodes' changes are of no interest: sessions begin and end, and each would have all nodes
    looked at."""
    if not isinstance(before, Node) or not isinstance(after, Node):
        return True  # it came or went
    return (before.spec.role, before.role, before.manager) != (after.spec.role, after.role, after.manager)


def _reconciled(node: Node, voters: dict[str, Member], members: Collection[str], now_ns: int) -> Node:
    """The node with the role and the seat that it has in the membership."""
    member = voters.get(node.id)
    seat = ManagerStatus(member.raft_id, member.address) if member is not None else None
    role = node.role
    if node.spec.role is Role.MANAGER:
        role = Role.MANAGER
    elif node.id not in members:
        role = Role.WORKER
    if (role, seat) == (node.role, node.manager):
        return node
    return msgspec.structs.replace(node, role=role, manager=seat, meta=msgspec.structs.replace(node.meta, updated_at_ns=now_ns))
