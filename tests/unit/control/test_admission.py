"""Whose certificate still counts: the store's word, and the leader's where a follower may not have heard."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from cluster.model.changes import created
from cluster.model.errors import NotLeader, PermissionDenied
from cluster.model.ids import NodeId
from cluster.model.objects import Node
from cluster.model.specs import NodeSpec, Role
from cluster.wire.calls import CALLS
from cluster.wire.peer import Caller, Peer
from manager.admission import admit
from manager.store import Store

LEADER = "192.0.2.1:2377"
MANAGER = Caller("m", Role.MANAGER, "c", "192.0.2.2", cast("Peer", None))


@pytest.fixture
def store() -> Store:
    made = Store()
    nodes = (
        Node(NodeId("m"), NodeSpec(role=Role.MANAGER), role=Role.MANAGER),
        Node(NodeId("promoted"), NodeSpec(role=Role.MANAGER), role=Role.WORKER),
        Node(NodeId("demoted"), NodeSpec(role=Role.WORKER), role=Role.WORKER),
    )
    made.apply(1, tuple(created(node) for node in nodes))
    return made


def test_known_managers_may_what_managers_may(store: Store) -> None:
    for node_id in ("m", "promoted"):
        admit(store, None, replace(MANAGER, node_id=node_id), CALLS["control.query"])


@pytest.mark.parametrize(("node_id", "call"), [("gone", "control.query"), ("gone", "agent.session"), ("demoted", "control.query")])
def test_a_removed_or_demoted_nodes_certificate_counts_no_more(store: Store, node_id: str, call: str) -> None:
    caller = replace(MANAGER, node_id=node_id)
    with pytest.raises(PermissionDenied):
        admit(store, None, caller, CALLS[call])
    for leader in (LEADER, ""):
        with pytest.raises(NotLeader) as elsewhere:
            admit(store, leader, caller, CALLS[call])
        assert elsewhere.value.message == leader


def test_a_member_that_is_behind_answers_a_leader_that_it_does_not_know_and_the_leader_knows_everybody() -> None:
    stranger = replace(MANAGER, node_id="newer")
    admit(Store(), LEADER, stranger, CALLS["raft.follow"])
    with pytest.raises(PermissionDenied):
        admit(Store(), None, stranger, CALLS["raft.follow"])


def test_anyone_may_ask_for_the_root(store: Store) -> None:
    admit(store, None, Caller("", None, "", "192.0.2.9", cast("Peer", None)), CALLS["ca.root"])


def test_a_demoted_manager_stays_an_agent(store: Store) -> None:
    admit(store, None, replace(MANAGER, node_id="demoted"), CALLS["agent.session"])
