"""Whom a user means by the ends of a path, and which nodes have to watch."""

from __future__ import annotations

import pytest

from cluster.model.changes import created
from cluster.model.errors import InvalidArgument, NotFound
from cluster.model.ids import NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import ContainerAttachment, Endpoint, Network, Node, NodeStatus, Service, Task, TaskNetwork, TaskStatus, VirtualIp
from cluster.model.specs import ContainerSpec, NetworkSpec, NodeSpec, PortConfig, PublishMode, ServiceSpec, TaskSpec
from cluster.model.task_state import TaskState
from manager import ways
from manager.store import Store

NET, OTHER = NetworkId("net"), NetworkId("other")


def task(number: int, node: str, state: TaskState = TaskState.RUNNING) -> Task:
    status = TaskStatus(state, container_id=f"{number}" * 64)
    networks = (TaskNetwork(NET, f"10.0.1.{number}/24"),)
    spec = TaskSpec(ContainerSpec(image="busybox"))
    return Task(TaskId(f"task{number}"), ServiceId("web-id"), spec, service_name="web", slot=number, node_id=NodeId(node), status=status,
                desired_state=TaskState.RUNNING, networks=networks)  # fmt: skip


@pytest.fixture
def store() -> Store:
    made = Store()
    held = (
        ContainerAttachment(TaskId("a1"), NET, "c" * 64, names=("mine",), address="10.0.1.40/24"),
        ContainerAttachment(TaskId("a2"), OTHER, "d" * 64, names=("away",), address="10.0.2.40/24"),
    )
    port = PortConfig("tcp", 80, 8080, PublishMode.INGRESS)
    endpoint = Endpoint((port,), (VirtualIp(NET, "10.0.1.2/24", 256),))
    service = Service(ServiceId("web-id"), ServiceSpec("web", task=TaskSpec(ContainerSpec(image="busybox"))), endpoint=endpoint)
    nodes = [Node(NodeId(name), NodeSpec(), status=NodeStatus(address=f"192.0.2.{i}")) for i, name in enumerate(("n1", "n2", "n3"), 1)]
    nodes[0] = Node(NodeId("n1"), NodeSpec(), status=nodes[0].status, containers=held)
    objects = (*nodes, service, task(3, "n2"), task(4, "n3"), task(5, "n3", TaskState.FAILED))
    made.apply(1, tuple(created(one) for one in objects))
    return made


def test_an_address_of_either_family_is_watched_where_it_is(store: Store) -> None:
    network = Network(NET, NetworkSpec("net", ipv6=True), subnet="10.0.1.0/24", subnet6="fd00:1::/64")
    store.apply(2, (created(network),))
    for address in ("10.0.1.4", "fd00:1::4"):
        assert ways.between(store, "web.3", address).nodes == (NodeId("n2"), NodeId("n3"))
    for virtual in ("10.0.1.2", "fd00:1::2"):
        assert ways.between(store, "mine", virtual).nodes == (NodeId("n1"), NodeId("n2"), NodeId("n3"))


def test_a_service_is_reached_by_its_virtual_address_and_watched_on_all_its_nodes(store: Store) -> None:
    way = ways.between(store, "mine", "web")
    assert way == ways.Way("mine to web (10.0.1.2)", NodeId("n1"), "c" * 64, "10.0.1.2", (NodeId("n1"), NodeId("n2"), NodeId("n3")))


def test_tasks_and_containers_go_by_slot_name_id_prefix_and_address(store: Store) -> None:
    assert ways.between(store, "web.3", "web.4").address == "10.0.1.4"
    assert ways.between(store, "web", "mine").container_id == "3" * 64  # a service as the source is its first task
    assert ways.between(store, "cccc", "task4").nodes == (NodeId("n1"), NodeId("n3"))
    by_address = ways.between(store, "mine", "10.0.1.4")
    assert (by_address.address, by_address.nodes) == ("10.0.1.4", (NodeId("n1"), NodeId("n3")))
    assert ways.between(store, "mine", "8.8.8.8").nodes == (NodeId("n1"),)


def test_a_published_port_is_tried_from_the_asking_node(store: Store) -> None:
    way = ways.to_port(store, 8080, NodeId("n1"))
    assert (way.container_id, way.address, way.ports, way.nodes) == ("", "192.0.2.1", (8080, 80), (NodeId("n1"), NodeId("n2"), NodeId("n3")))
    with pytest.raises(NotFound, match="no service publishes TCP port 81"):
        ways.to_port(store, 81, NodeId("n1"))


def test_what_has_no_way_is_said(store: Store) -> None:
    with pytest.raises(InvalidArgument, match="mine and away share no overlay network"):
        ways.between(store, "mine", "away")
    with pytest.raises(NotFound, match="task nosuch not found"):
        ways.between(store, "nosuch", "web")
    with pytest.raises(NotFound, match=r"nothing runs by the name web\.5"):
        ways.between(store, "web.5", "web")
