"""What the steps of the cluster's objects are to readers of events."""

from __future__ import annotations

import msgspec

from agent.engine.cluster_events import Known
from cluster.model.changes import Kind
from cluster.model.ids import NetworkId, NodeId, ServiceId
from cluster.model.objects import Meta, Node, NodeAttachment, NodeDescription, NodeState, NodeStatus, Service, UpdateState, UpdateStatus
from cluster.model.specs import Availability, ContainerSpec, NodeSpec, ServiceMode, ServiceModeKind, ServiceSpec, TaskSpec

replace = msgspec.structs.replace
NODE = Node(NodeId("n"), NodeSpec(), Meta(1, 10, 10), NodeDescription("host"), NodeStatus(NodeState.READY))
SERVICE = Service(
    ServiceId("s"), ServiceSpec("web", TaskSpec(ContainerSpec("busybox:1")), mode=ServiceMode(ServiceModeKind.REPLICATED, 2)), Meta(1, 10, 10)
)


def step(known: Known, obj: Node | Service) -> list[tuple[str, dict[str, str], int]]:
    kind = Kind.NODE if isinstance(obj, Node) else Kind.SERVICE
    return [(event.action, dict(event.attributes), event.time_ns) for event in known.change(kind, obj.id, obj)]


def test_what_was_there_at_first_is_no_news_and_what_came_or_went_unseen_is() -> None:
    known = Known()
    assert known.everything([NODE, SERVICE]) == []
    other = replace(SERVICE, id=ServiceId("t"), spec=replace(SERVICE.spec, name="db"))
    told = known.everything([NODE, other])
    assert [(event.type, event.action, event.actor_id, event.scope) for event in told] == [
        ("service", "remove", "s", "swarm"),
        ("service", "create", "t", "swarm"),
    ]
    assert dict(told[0].attributes) == {"name": "web"}


def test_an_update_says_what_is_old_and_new() -> None:
    known = Known()
    assert step(known, SERVICE) == [("create", {"name": "web"}, 10)]
    spec = replace(SERVICE.spec, task=TaskSpec(ContainerSpec("busybox:2")), mode=ServiceMode(ServiceModeKind.REPLICATED, 3))
    begun = replace(SERVICE, spec=spec, meta=Meta(2, 10, 20), update_status=UpdateStatus(UpdateState.UPDATING))
    said = {"name": "web", "image.old": "busybox:1", "image.new": "busybox:2", "replicas.old": "2", "replicas.new": "3", "updatestate.new": "updating"}
    assert step(known, begun) == [("update", said, 20)]
    over = replace(begun, meta=Meta(3, 10, 30), update_status=UpdateStatus(UpdateState.COMPLETED))
    assert step(known, over) == [("update", {"name": "web", "updatestate.old": "updating", "updatestate.new": "completed"}, 30)]
    assert step(known, replace(over, meta=Meta(4, 10, 40), update_status=None)) == [("update", {"name": "web"}, 40)]


def test_a_step_that_nobody_sees_is_no_event_but_for_the_addresses_of_a_node() -> None:
    known = Known()
    known.everything([NODE])
    assert step(known, replace(NODE, meta=Meta(2, 10, 20))) == []
    attached = replace(NODE, meta=Meta(3, 10, 30), attachments=(NodeAttachment(NetworkId("w"), "10.0.0.2/24"),))
    assert step(known, attached) == [("update", {"name": "host"}, 30)]
    drained = replace(attached, meta=Meta(4, 10, 40), spec=NodeSpec(availability=Availability.DRAIN))
    assert step(known, drained) == [("update", {"name": "host", "availability.old": "active", "availability.new": "drain"}, 40)]


def test_who_was_never_told_of_is_not_removed() -> None:
    assert Known().change(Kind.SECRET, "x", None) == []
