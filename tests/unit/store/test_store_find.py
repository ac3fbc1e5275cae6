"""What a user's word for an object means."""

from __future__ import annotations

import pytest

from cluster.model.changes import Kind, created
from cluster.model.errors import InvalidArgument, NotFound
from cluster.model.ids import NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import Meta, Network, Node, NodeDescription, Service, Task
from cluster.model.specs import ContainerSpec, NetworkSpec, NodeSpec, ServiceSpec, TaskSpec
from cluster.model.task_state import TaskState
from manager.store import Store

SPEC = TaskSpec(ContainerSpec("busybox"))


def a_task(id: str, created_at_ns: int, desired: TaskState, slot: int = 1, node_id: str = "") -> Task:
    return Task(
        TaskId(id), ServiceId("abc1"), SPEC, Meta(created_at_ns=created_at_ns), "web", slot=slot,
        node_id=NodeId(node_id), desired_state=desired,
    )  # fmt: skip


@pytest.fixture
def store() -> Store:
    made = Store()
    made.apply(
        1,
        (
            created(Service(ServiceId("abc1"), ServiceSpec("web", SPEC))),
            created(Service(ServiceId("abc2"), ServiceSpec("abc", SPEC))),
            created(Service(ServiceId("bcd3"), ServiceSpec("abc1x", SPEC))),
            created(Network(NetworkId("net1"), NetworkSpec("mynet"))),
            created(Node(NodeId("node1"), NodeSpec(), description=NodeDescription(hostname="worker1"))),
            created(a_task("old", 1, TaskState.SHUTDOWN)),
            created(a_task("new", 2, TaskState.RUNNING)),
            created(a_task("failed", 3, TaskState.SHUTDOWN)),
            created(a_task("two", 1, TaskState.SHUTDOWN, slot=2)),
            created(a_task("two2", 2, TaskState.SHUTDOWN, slot=2)),
            created(a_task("global", 2, TaskState.RUNNING, slot=0, node_id="node1")),
        ),
    )
    return made


@pytest.mark.parametrize(
    ("kind", "reference", "id"),
    [
        (Kind.SERVICE, "abc1", "abc1"),  # a full id before a longer name
        (Kind.SERVICE, "abc", "abc2"),  # a name before a prefix
        (Kind.SERVICE, "b", "bcd3"),
        (Kind.NETWORK, "mynet", "net1"),
        (Kind.NODE, "worker1", "node1"),
        (Kind.TASK, "web.1", "new"),  # the one that is meant to run
        (Kind.TASK, "web.2", "two2"),  # else the newest
        (Kind.TASK, "web.1.old", "old"),
        (Kind.TASK, "web.node1", "global"),
        (Kind.TASK, "web.node1.global", "global"),
        (Kind.TASK, "fai", "failed"),
    ],
)
def test_a_reference_is_an_id_a_name_or_the_start_of_an_id(store: Store, kind: Kind, reference: str, id: str) -> None:
    assert store.find(kind, reference).id == id


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        (Kind.SERVICE, "WEB"), (Kind.SERVICE, "web.1"), (Kind.SERVICE, ""), (Kind.NODE, "worker"), (Kind.NETWORK, "x"),
        (Kind.TASK, "web.3"), (Kind.TASK, "web.2.old"), (Kind.TASK, "web"), (Kind.CLUSTER, "default"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_in_dockers_words(store: Store, kind: Kind, reference: str) -> None:
    with pytest.raises(NotFound) as raised:
        store.find(kind, reference)
    assert raised.value.message == f"{kind.name.lower()} {reference} not found"


def test_a_prefix_of_several_is_ambiguous(store: Store) -> None:
    with pytest.raises(InvalidArgument, match=r"^service ab is ambiguous \(2 matches found\)$"):
        store.find(Kind.SERVICE, "ab")


def test_by_name_is_exact(store: Store) -> None:
    found = store.by_name(Kind.NETWORK, "mynet")
    assert found is not None
    assert found.id == "net1"
    assert store.by_name(Kind.NETWORK, "myn") is None
    assert store.by_name(Kind.NETWORK, "MYNET") is None
