"""What users may do with networks, nodes and the cluster, and what they read."""

from __future__ import annotations

import datetime as dt
from random import Random

import pytest

from cluster.identity import certificates, tokens
from cluster.model.changes import Kind, Object, Op, created
from cluster.model.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, OutOfSequence, PermissionDenied
from cluster.model.ids import ClusterId, NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import Cluster, JoinTokens, ManagerStatus, Network, Node, NodeState, NodeStatus, Service, Task, TaskNetwork, TaskStatus
from cluster.model.specs import (
    Availability,
    ClusterSpec,
    ContainerSpec,
    EndpointSpec,
    IpamConfig,
    NetworkAttachmentConfig,
    NetworkSpec,
    NodeSpec,
    PortConfig,
    Role,
    ServiceSpec,
    TaskSpec,
)
from cluster.model.task_state import TaskState
from cluster.wire.calls import ClusterWrite, NetworkWrite, NodeWrite, Query, Remove
from manager.control import cluster, networks, nodes, query
from manager.store import Store

NOW = 1_700_000_000_000_000_000
RNG = Random(1)
TASK_SPEC = TaskSpec(ContainerSpec("busybox"))


def store_of(*objects: Object) -> Store:
    store = Store()
    store.apply(1, tuple(created(item) for item in objects))
    return store


def node(name: str, state: NodeState = NodeState.READY, *, manager: bool = False) -> Node:
    role = Role.MANAGER if manager else Role.WORKER
    status = ManagerStatus(1, "192.0.2.1:2377", leader=True) if manager else None
    return Node(NodeId(name), NodeSpec(role=role), status=NodeStatus(state), role=role, manager=status)


def test_a_network_gets_an_id_of_25_characters() -> None:
    changes, answer = networks.create(Store(), NetworkWrite(NetworkSpec("mynet")), NOW, RNG)
    assert [c.op for c in changes] == [Op.CREATE]
    assert len(answer.id) == 25


@pytest.mark.parametrize(
    ("wanted", "error", "sentence"),
    [
        (NetworkSpec("taken"), Conflict, "network with name taken already exists"),
        (NetworkSpec("host"), PermissionDenied, "operation is not permitted on predefined host network "),
        (NetworkSpec("in2", ingress=True), Conflict, "ingress network (ning) is already present"),
        (
            NetworkSpec("x", ingress=True, attachable=True),
            InvalidArgument,
            "ingress network cannot be attachable",
        ),
        (NetworkSpec("x", ipam=(IpamConfig("nonsense"),)), InvalidArgument, "ipam configuration: invalid subnet nonsense"),
        (
            NetworkSpec("x", ipam=(IpamConfig("10.9.0.0/24", gateway="10.8.0.1"),)),
            InvalidArgument,
            "ipam configuration: subnet 10.9.0.0/24 does not contain gateway 10.8.0.1",
        ),
        (
            NetworkSpec("x", ipam=(IpamConfig("10.9.0.0/24", ip_range="10.9.0.0/16"),)),
            InvalidArgument,
            "ipam configuration: subnet 10.9.0.0/24 does not contain range 10.9.0.0/16",
        ),
        (
            NetworkSpec("x", ipam=(IpamConfig("10.1.0.0/16"),)),
            InvalidArgument,
            "invalid pool request: Pool overlaps with other one on this address space: 10.1.0.0/16",
        ),
    ],
)
def test_a_bad_network_is_refused(wanted: NetworkSpec, error: type[Exception], sentence: str) -> None:
    store = store_of(
        Network(NetworkId("ntaken"), NetworkSpec("taken"), subnet="10.1.1.0/24"),
        Network(NetworkId("ning"), NetworkSpec("ingress", ingress=True), subnet="10.0.0.0/24"),
    )
    with pytest.raises(error) as refused:
        networks.create(store, NetworkWrite(wanted), NOW, RNG)
    assert str(refused.value) == sentence


def test_a_network_that_a_service_uses_stays() -> None:
    spec = ServiceSpec("web", TaskSpec(ContainerSpec("busybox"), networks=(NetworkAttachmentConfig("net"),)))
    store = store_of(Network(NetworkId("net"), NetworkSpec("mynet")), Service(ServiceId("svc"), spec))
    with pytest.raises(FailedPrecondition, match=r"^network net is in use by service svc$"):
        networks.remove(store, Remove("net"), NOW, RNG)


@pytest.mark.parametrize(
    ("state", "desired", "node_state", "stays"),
    [
        (TaskState.RUNNING, TaskState.RUNNING, NodeState.READY, True),
        (TaskState.RUNNING, TaskState.RUNNING, NodeState.DOWN, True),
        (TaskState.RUNNING, TaskState.REMOVE, NodeState.READY, False),
        (TaskState.RUNNING, TaskState.REMOVE, NodeState.DOWN, False),
        (TaskState.SHUTDOWN, TaskState.SHUTDOWN, NodeState.READY, False),
    ],
)
def test_a_network_stays_while_a_task_may_hold_it(state: TaskState, desired: TaskState, node_state: NodeState, stays: bool) -> None:
    task = Task(
        TaskId("task"),
        ServiceId("svc"),
        TASK_SPEC,
        node_id=NodeId("one"),
        status=TaskStatus(state),
        desired_state=desired,
        networks=(TaskNetwork(NetworkId("net"), "10.0.1.3/24"),),
    )
    known = (Network(NetworkId("net"), NetworkSpec("mynet")), node("one", node_state), task)
    networks.remove(store_of(*known), Remove("net"), NOW, RNG)  # its service has gone, and the planner is about to stop it
    store = store_of(*known, Service(ServiceId("svc"), ServiceSpec("web", TASK_SPEC)))
    if stays:
        with pytest.raises(FailedPrecondition, match=r"^network net is in use by task task$"):
            networks.remove(store, Remove("net"), NOW, RNG)
    else:
        networks.remove(store, Remove("net"), NOW, RNG)


def test_the_ingress_network_stays_while_a_service_publishes() -> None:
    spec = ServiceSpec("web", TASK_SPEC, endpoint=EndpointSpec(ports=(PortConfig(target_port=80),)))
    store = store_of(Network(NetworkId("ing"), NetworkSpec("ingress", ingress=True)), Service(ServiceId("svc"), spec))
    with pytest.raises(FailedPrecondition, match="ingress network cannot be removed because service svc depends on it"):
        networks.remove(store, Remove("ing"), NOW, RNG)


def test_a_node_takes_labels_and_availability() -> None:
    store = store_of(node("one"))
    wanted = NodeSpec(labels=(("disk", "ssd"),), availability=Availability.DRAIN)
    changes, _ = nodes.update(store, NodeWrite("one", 1, wanted), NOW, {})
    store.apply(2, changes)
    after = store.get(Kind.NODE, "one")
    assert after is not None
    assert after.spec == wanted
    with pytest.raises(OutOfSequence):
        nodes.update(store, NodeWrite("one", 1, wanted), NOW, {})


def test_the_last_manager_is_not_demoted() -> None:
    store = store_of(node("one", manager=True))
    with pytest.raises(FailedPrecondition, match="attempting to demote the last manager of the swarm"):
        nodes.update(store, NodeWrite("one", 1, NodeSpec(role=Role.WORKER)), NOW, {})


def test_a_demotion_that_would_lose_the_quorum_is_refused() -> None:
    store = store_of(node("one", manager=True), node("two", manager=True), node("three", manager=True))
    demotion = NodeWrite("one", 1, NodeSpec(role=Role.WORKER))

    def managers(**reachable: bool) -> dict[str, ManagerStatus]:
        return {name: ManagerStatus(1, "", reachable=here) for name, here in reachable.items()}

    with pytest.raises(FailedPrecondition, match="can't remove member from the raft: this would result in a loss of quorum"):
        nodes.update(store, demotion, NOW, managers(one=True, two=True, three=False))
    changes, _ = nodes.update(store, demotion, NOW, managers(one=False, two=True, three=True))
    assert [change.op for change in changes] == [Op.UPDATE]


@pytest.mark.parametrize(
    ("which", "force", "sentence"),
    [
        ("ready", False, "node ready is not down and can't be removed"),
        (
            "boss",
            True,
            "node boss is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal",
        ),
    ],
)
def test_a_node_in_use_is_not_removed(which: str, force: bool, sentence: str) -> None:
    store = store_of(node("ready"), node("boss", manager=True))
    with pytest.raises(FailedPrecondition) as refused:
        nodes.remove(store, Remove(which, force), NOW, RNG)
    assert refused.value.message == sentence


@pytest.mark.parametrize(("state", "force"), [(NodeState.DOWN, False), (NodeState.READY, True)])
def test_removal_orphans_what_had_not_finished(state: NodeState, force: bool) -> None:
    def task(name: str, observed: TaskState) -> Task:
        return Task(TaskId(name), ServiceId("s"), TASK_SPEC, node_id=NodeId("one"), status=TaskStatus(observed))

    store = store_of(node("one", state), task("runs", TaskState.RUNNING), task("done", TaskState.COMPLETE))
    store.apply(2, nodes.remove(store, Remove("one", force), NOW, RNG)[0])
    states = {t.id: t.status.state for t in store.all(Kind.TASK)}
    assert states == {"runs": TaskState.ORPHANED, "done": TaskState.COMPLETE}
    assert store.all(Kind.NODE) == ()


def a_cluster() -> Cluster:
    root, key = certificates.new_root(dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
    digest = certificates.root_digest(root)
    both = JoinTokens(tokens.make(digest, b"w" * 16), tokens.make(digest, b"m" * 16))
    return Cluster(ClusterId("c"), root_ca_pem=root, root_key_pem=key, join_tokens=both)


def test_rotation_changes_one_token_and_keeps_the_digest() -> None:
    before = a_cluster()
    store = store_of(before)
    store.apply(2, cluster.update(store, ClusterWrite(1, ClusterSpec(), rotate_worker_token=True), NOW, RNG)[0])
    after = store.all(Kind.CLUSTER)[0].join_tokens
    assert after.manager == before.join_tokens.manager
    assert after.worker != before.join_tokens.worker
    assert tokens.parse(after.worker).digest == tokens.parse(before.join_tokens.worker).digest


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (ClusterSpec(node_cert_expiry_ns=1_000_000_000), "minimum certificate expiry time is: 1h0m0s"),
        (ClusterSpec(name="other"), "modification of cluster name is not allowed"),
        (ClusterSpec(dispatcher_heartbeat_ns=-1), "heartbeat time period cannot be a negative duration"),
    ],
)
def test_bad_cluster_settings_are_refused(spec: ClusterSpec, sentence: str) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        cluster.update(store_of(a_cluster()), ClusterWrite(1, spec), NOW, RNG)


def test_nobody_reads_the_roots_key() -> None:
    managers = {"one": ManagerStatus(1, "192.0.2.1:2377", leader=True), "two": ManagerStatus(2, "192.0.2.2:2377")}
    answer = query.query(store_of(a_cluster()), Query(Kind.CLUSTER), managers)
    assert answer.clusters[0].root_key_pem == ""
    assert answer.clusters[0].join_tokens.worker
    assert answer.leader == "192.0.2.1:2377"


def test_queries_select() -> None:
    def task(name: str, service: str, where: str) -> Task:
        return Task(TaskId(name), ServiceId(service), TASK_SPEC, node_id=NodeId(where))

    store = store_of(node("one"), task("a", "s1", "one"), task("b", "s1", "two"), task("c", "s2", "one"))

    def ids(ids: tuple[str, ...] = (), services: tuple[str, ...] = (), nodes: tuple[str, ...] = ()) -> set[str]:
        return {t.id for t in query.query(store, Query(Kind.TASK, ids, services, nodes), {}).tasks}

    assert ids() == {"a", "b", "c"}
    assert ids(ids=("a", "nosuch")) == {"a"}
    assert ids(services=("s1",)) == {"a", "b"}
    assert ids(nodes=("one",)) == {"a", "c"}
    assert ids(services=("s1",), nodes=("one",)) == {"a"}
    with pytest.raises(NotFound, match="node nosuch not found"):
        query.query(store, Query(Kind.NODE, reference="nosuch"), {})
