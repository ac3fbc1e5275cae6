"""What the leader does next about the group of managers, step by step."""

from __future__ import annotations

import msgspec

from cluster.model.ids import NodeId
from cluster.model.objects import ManagerStatus, Node, NodeState, NodeStatus
from cluster.model.specs import NodeSpec, Role
from manager import roles
from manager.raft.membership import Member, Membership

ME = Member(1, "one", "192.0.2.1:2377")
TWO = Member(2, "two", "192.0.2.2:2377")
NOW = 1_700_000_000_000_000_000


def node(name: str, wish: Role, role: Role | None = None, member: Member | None = None) -> Node:
    seat = ManagerStatus(member.raft_id, member.address) if member else None
    return Node(NodeId(name), NodeSpec(role=wish), role=role or wish, manager=seat)


LEADER = node("one", Role.MANAGER, member=ME)


def step(*nodes: Node, members: tuple[Member, ...] = (ME,), caught_up: tuple[int, ...] = ()) -> roles.Step | None:
    return roles.next_step(nodes, Membership(members, 9), ME, caught_up, NOW)


def written(made: roles.Step | None) -> list[Node]:
    assert isinstance(made, roles.Write)
    return [change.after for change in made.changes if isinstance(change.after, Node)]


def test_nothing_is_to_be_done_where_all_is_as_it_should_be() -> None:
    assert step(LEADER, node("worker", Role.WORKER)) is None


def test_a_founder_says_first_who_and_where_it_is() -> None:
    assert step(LEADER, members=(Member(1),)) == roles.Place()


def test_a_promoted_node_gets_its_role_then_joins_then_votes() -> None:
    (after,) = written(step(LEADER, node("two", Role.MANAGER, Role.WORKER)))
    assert (after.role, after.manager) == (Role.MANAGER, None)
    learner = msgspec.structs.replace(TWO, learner=True)
    assert step(LEADER, after, members=(ME, learner)) is None
    assert step(LEADER, after, members=(ME, learner), caught_up=(2,)) == roles.Vote(2)
    (seated,) = written(step(LEADER, after, members=(ME, TWO)))
    assert seated.manager == ManagerStatus(2, "192.0.2.2:2377")


def test_a_demoted_node_leaves_the_group_before_its_role_goes() -> None:
    demoted = node("two", Role.WORKER, Role.MANAGER, TWO)
    assert step(LEADER, demoted, members=(ME, TWO)) == roles.Expel(2)
    (after,) = written(step(LEADER, demoted))
    assert (after.role, after.manager) == (Role.WORKER, None)


def test_a_member_without_a_node_is_expelled() -> None:
    assert step(LEADER, members=(ME, TWO)) == roles.Expel(2)


def test_a_leader_that_is_demoted_lets_another_one_lead_first() -> None:
    demoted = node("one", Role.WORKER, Role.MANAGER, ME)
    assert step(demoted, node("two", Role.MANAGER, member=TWO), members=(ME, TWO)) == roles.Abdicate()


def test_the_only_voter_stays() -> None:
    assert step(node("one", Role.WORKER, Role.MANAGER, ME)) is None


def test_only_a_node_that_comes_or_goes_or_has_another_role_wish_or_seat_is_looked_at() -> None:
    worker = node("w", Role.WORKER)
    assert not roles.may_matter(worker, msgspec.structs.replace(worker, status=NodeStatus(NodeState.READY)))
    for before, after in (
        (None, worker),
        (worker, None),
        (worker, node("w", Role.MANAGER, Role.WORKER)),
        (worker, node("w", Role.WORKER, Role.MANAGER)),
        (worker, node("w", Role.WORKER, member=TWO)),
    ):
        assert roles.may_matter(before, after)
