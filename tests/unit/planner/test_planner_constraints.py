"""Constraints: their grammar, their words, and which node satisfies them."""

from __future__ import annotations

import pytest

from cluster.model.errors import InvalidArgument
from cluster.model.ids import NodeId
from cluster.model.objects import Node, NodeDescription, NodeStatus
from cluster.model.specs import NodeSpec, Platform, Role
from manager.orchestrator.constraints import matches, parse, parse_all, verdict

NODE = Node(
    NodeId("abc123"),
    NodeSpec(labels=(("disk", "SSD"), ("empty", ""))),
    description=NodeDescription("worker1", Platform("x86_64", "linux"), engine_labels=(("os", "debian"),)),
    status=NodeStatus(address="192.168.200.11"),
    role=Role.WORKER,
)


@pytest.mark.parametrize(
    "text",
    [
        "node.id == abc123",
        "node.hostname==WORKER1",
        "node.hostname != worker2",
        "node.ip==192.168.200.0/24",
        "node.ip==192.168.200.11",
        "node.ip!=10.0.0.0/8",
        "node.role==worker",
        "node.role!=manager",
        "node.platform.os==Linux",
        "node.platform.arch==x86_64",
        "node.platform.arch==amd64",
        "node.labels.disk==ssd",
        "node.labels.missing!=x",
        "engine.labels.os==debian",
        "Node.Labels.disk==ssd",
    ],
)
def test_satisfied(text: str) -> None:
    assert matches(parse(text), NODE)


@pytest.mark.parametrize(
    "text",
    [
        "node.id==other",
        "node.ip==192.168.201.0/24",
        "node.ip==nonsense",
        "node.labels.Disk==ssd",
        "node.labels.disk!=ssd",
        "node.platform.arch==arm64",
        "node.unknown==1",
        "node.unknown!=1",
    ],
)
def test_not_satisfied(text: str) -> None:
    assert not matches(parse(text), NODE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("node.role=worker", "constraint expected one operator from ==, !="),
        ("", "constraint expected one operator from ==, !="),
        ("1a==x", "key '1a' is invalid"),
        ("a b==x", "key 'a b' is invalid"),
        ("==x", "key '' is invalid"),
        ("node.id==", "value '' is invalid"),
        ("node.id==a,b", "value 'a,b' is invalid"),
    ],
)
def test_bad_ones_are_refused_in_swarmkits_words(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match="^" + words.replace("(", r"\(").replace("'", "'") + "$"):
        parse_all(["node.role==worker", text])


def test_a_verdict_says_what_the_node_has() -> None:
    assert verdict(parse("node.labels.disk==hdd"), NODE) == (
        "constraint node.labels.disk==hdd not satisfied (node.labels.disk is SSD)"
    )
    assert verdict(parse("node.labels.x==y"), NODE).endswith("(node.labels.x is not set)")
    assert verdict(parse("node.nothing==y"), NODE).endswith("(there is no such key)")
