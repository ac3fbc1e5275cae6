"""What a manager is told that wants to leave, in Docker's words."""

from __future__ import annotations

import pytest

from agent.leaving import LAST, MANAGER, NO_LEADER, RESTORE, refusal
from cluster.model.ids import NodeId
from cluster.model.objects import ManagerStatus, Node
from cluster.model.specs import NodeSpec


def nodes(*reachable: bool) -> list[Node]:
    managers = [Node(NodeId(f"m{n}"), NodeSpec(), manager=ManagerStatus(n, reachable=here)) for n, here in enumerate(reachable)]
    return [*managers, Node(NodeId("worker"), NodeSpec())]


@pytest.mark.parametrize(
    ("reachable", "sentence"),
    [
        ((True,), MANAGER + LAST),
        ((True, True, True), MANAGER + RESTORE),
        ((True, True), MANAGER + "Removing this node leaves 1 managers out of 2. Without a Raft quorum your swarm will be inaccessible. " + RESTORE),
        ((False, True, True), MANAGER + RESTORE),
        ((True, True, False), MANAGER + "Removing this node leaves 1 managers out of 3. Without a Raft quorum your swarm will be inaccessible. " + RESTORE),
    ],
)
def test_the_sentence_says_what_would_be_lost(reachable: tuple[bool, ...], sentence: str) -> None:
    assert refusal(nodes(*reachable), NodeId("m0")) == sentence


def test_without_a_leader_nobody_knows() -> None:
    assert refusal(None, NodeId("m0")) == MANAGER + NO_LEADER + RESTORE
