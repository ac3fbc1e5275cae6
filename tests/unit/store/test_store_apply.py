"""What one log entry may do to the store, and what it leaves behind when it may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cluster.model.changes import Change, Kind, Op, created, deleted, status_of, updated
from cluster.model.errors import ClusterError, Conflict, InvalidArgument, NotFound, OutOfSequence
from cluster.model.ids import NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import (
    TASK_HISTORY_STATUSES,
    Meta,
    Network,
    Node,
    NodeDescription,
    NodeState,
    NodeStatus,
    Service,
    Task,
    TaskStatus,
)
from cluster.model.specs import Availability, ContainerSpec, NetworkSpec, NodeSpec, ServiceMode, ServiceSpec, TaskSpec
from cluster.model.task_state import TaskState
from manager.store import Store

replace = msgspec.structs.replace


def service(id: str, name: str = "", image: str = "busybox") -> Service:
    return Service(ServiceId(id), ServiceSpec(name or id, TaskSpec(ContainerSpec(image))))


def task(id: str, service_id: str = "s1", node_id: str = "", slot: int = 1, **fields: Any) -> Task:
    spec = TaskSpec(ContainerSpec("busybox"))
    made = Task(TaskId(id), ServiceId(service_id), spec, service_name="web", slot=slot, node_id=NodeId(node_id))
    return replace(made, **fields)


def network(id: str, name: str) -> Network:
    return Network(NetworkId(id), NetworkSpec(name))


def stored(store: Store, id: str) -> Task:
    found = store.get(Kind.TASK, id)
    assert found is not None
    return found


def test_an_entry_sets_the_version_of_what_it_wrote_and_says_what_it_did() -> None:
    store = Store()
    batch = store.apply(7, (created(service("s1")), created(network("n1", "net"))))
    assert batch.index == store.index == 7
    assert [(event.kind, event.id, event.before) for event in batch.events] == [
        (Kind.SERVICE, "s1", None), (Kind.NETWORK, "n1", None),
    ]  # fmt: skip
    assert batch.events[0].after is store.get(Kind.SERVICE, "s1")
    assert store.all(Kind.SERVICE)[0].meta.version == 7


def test_an_object_keeps_the_entry_that_made_it() -> None:
    store = Store()
    store.apply(7, (created(service("s1")),))
    store.apply(9, (updated(replace(store.all(Kind.SERVICE)[0], pending_delete=True)),))
    assert (store.all(Kind.SERVICE)[0].meta.created, store.all(Kind.SERVICE)[0].meta.version) == (7, 9)


@pytest.mark.parametrize(
    ("refused", "error", "sentence"),
    [
        (lambda s: created(service("s1", "other")), Conflict, "service s1 already exists"),
        (
            lambda s: created(service("s2", "WEB")),
            Conflict,
            "name conflicts with an existing object: service WEB already exists",
        ),
        (lambda s: created(network("n2", "net")), Conflict, "network with name net already exists"),
        (
            lambda s: updated(replace(service("s6", "web"), meta=Meta(version=1))),
            Conflict,
            "name conflicts with an existing object: service web already exists",
        ),
        (lambda s: updated(replace(s, meta=Meta(version=9))), OutOfSequence, "update out of sequence"),
        (lambda s: updated(service("s9", "nine")), NotFound, "service s9 not found"),
        (lambda s: deleted(service("s9")), NotFound, "service s9 not found"),
        (lambda s: Change(Op.CREATE, Kind.TASK, "x", s), InvalidArgument, "malformed change: create of task x"),
        (lambda s: Change(Op.UPDATE, Kind.SERVICE, "x", s), InvalidArgument, "malformed change: update of service x"),
        (lambda s: Change(Op.STATUS, Kind.TASK, "x", None), InvalidArgument, "malformed change: status of task x"),
    ],
)
def test_a_refused_change_takes_the_whole_entry_with_it(
    refused: Callable[[Service], Change], error: type[ClusterError], sentence: str
) -> None:
    store = Store()
    store.apply(1, (created(service("s1", "web")), created(service("s6", "six")), created(network("n1", "net"))))
    before = store.digest()
    with pytest.raises(error) as raised:
        store.apply(2, (created(service("s5")), refused(store.all(Kind.SERVICE)[0])))
    assert raised.value.message == sentence
    assert store.digest() == before
    assert store.by_name(Kind.SERVICE, "s5") is None
    store.apply(2, (created(service("s5")),))


@pytest.mark.parametrize(("availability", "state"), [
    (Availability.DRAIN, NodeState.READY), (Availability.PAUSE, NodeState.READY), (Availability.ACTIVE, NodeState.DOWN),
    (Availability.ACTIVE, NodeState.DISCONNECTED),
])  # fmt: skip
def test_a_node_that_was_drained_or_paused_or_went_down_after_a_plan_takes_no_new_task(availability: Availability, state: NodeState) -> None:
    store = Store()
    waiting = task("t1", node_id="n1", status=TaskStatus(TaskState.PENDING))
    running = task("t2", node_id="n1", slot=2, status=TaskStatus(TaskState.ASSIGNED))
    store.apply(1, (created(Node(NodeId("n1"), NodeSpec(), status=NodeStatus(NodeState.READY))), created(waiting), created(running)))
    node = store.get(Kind.NODE, "n1")
    assert node is not None
    store.apply(2, (updated(msgspec.structs.replace(node, spec=NodeSpec(availability=availability), status=NodeStatus(state))),))
    for change in (
        created(task("t3", node_id="n1", slot=3, status=TaskStatus(TaskState.ASSIGNED))),
        updated(msgspec.structs.replace(stored(store, "t1"), status=TaskStatus(TaskState.ASSIGNED))),
    ):
        with pytest.raises(OutOfSequence):
            store.apply(3, (change,))
    store.apply(4, (updated(msgspec.structs.replace(stored(store, "t2"), desired_state=TaskState.SHUTDOWN)),))


def test_names_are_judged_as_the_changes_before_leave_them() -> None:
    store = Store()
    store.apply(1, (created(service("s1", "web")),))
    store.apply(2, (deleted(store.all(Kind.SERVICE)[0]), created(service("s2", "web"))))
    assert [found.id for found in store.all(Kind.SERVICE)] == ["s2"]
    with pytest.raises(Conflict):
        store.apply(3, (created(service("s3", "db")), created(service("s4", "db"))))
    renamed = replace(store.all(Kind.SERVICE)[0], spec=service("x", "api").spec)
    store.apply(4, (updated(renamed), created(service("s5", "web"))))
    assert store.find(Kind.SERVICE, "web").id == "s5"


def test_nodes_may_share_a_hostname() -> None:
    store = Store()
    nodes = [Node(NodeId(key), NodeSpec(), description=NodeDescription(hostname="host")) for key in ("a1", "b1")]
    store.apply(1, tuple(created(node) for node in nodes))
    with pytest.raises(InvalidArgument, match=r"^node host is ambiguous \(2 matches found\)$"):
        store.find(Kind.NODE, "host")


def test_a_spec_version_moves_with_the_spec_and_with_nothing_else() -> None:
    store = Store()
    store.apply(3, (created(service("s1")),))
    first = store.all(Kind.SERVICE)[0]
    store.apply(5, (updated(replace(first, pending_delete=True, spec_version=99)),))
    second = store.all(Kind.SERVICE)[0]
    assert (second.spec_version, second.meta.version) == (3, 5)
    store.apply(8, (updated(replace(second, spec=replace(second.spec, mode=ServiceMode(replicas=4)))),))
    assert store.all(Kind.SERVICE)[0].spec_version == 8


def test_an_object_changed_twice_has_two_steps() -> None:
    store = Store()
    first = task("t1")
    batch = store.apply(1, (created(first), status_of("t1", TaskStatus(TaskState.RUNNING, 5)), deleted(first)))
    created_event, reported, gone = batch.events
    assert created_event.after is reported.before
    assert reported.after is gone.before
    assert gone.after is None
    assert store.all(Kind.TASK) == ()


def test_a_report_moves_a_task_on_and_keeps_what_was_before() -> None:
    store = Store()
    store.apply(1, (created(task("t1", status=TaskStatus(TaskState.ASSIGNED, 1))),))
    store.apply(2, (status_of("t1", TaskStatus(TaskState.RUNNING, 2, container_id="c")),))
    found = stored(store, "t1")
    assert found.status == TaskStatus(TaskState.RUNNING, 2, container_id="c")
    assert found.history == (TaskStatus(TaskState.ASSIGNED, 1),)
    assert found.meta.updated_at_ns == 2


@pytest.mark.parametrize(
    ("known", "report", "taken"),
    [
        (TaskStatus(TaskState.RUNNING, 5), TaskStatus(TaskState.STARTING, 9), False),
        (TaskStatus(TaskState.RUNNING, 5), TaskStatus(TaskState.RUNNING, 4, "late"), False),
        (TaskStatus(TaskState.RUNNING, 5), TaskStatus(TaskState.RUNNING, 5, "healthy"), True),
        (TaskStatus(TaskState.RUNNING, 5), TaskStatus(TaskState.FAILED, 1), True),
        (TaskStatus(TaskState.COMPLETE, 5), TaskStatus(TaskState.FAILED, 9), False),
        (TaskStatus(TaskState.COMPLETE, 5), TaskStatus(TaskState.ORPHANED, 9), False),
        (TaskStatus(TaskState.COMPLETE, 5), TaskStatus(TaskState.COMPLETE, 6, exit_code=3), True),
    ],
)
@pytest.mark.parametrize("by_plan", [False, True])
def test_a_task_never_goes_back(known: TaskStatus, report: TaskStatus, taken: bool, by_plan: bool) -> None:
    store = Store()
    store.apply(1, (created(task("t1", status=known)),))
    found = stored(store, "t1")
    store.apply(2, (updated(replace(found, status=report)) if by_plan else status_of("t1", report),))
    assert stored(store, "t1").status == (report if taken else known)


def test_history_is_bounded_and_keeps_the_latest() -> None:
    store = Store()
    old = tuple(TaskStatus(TaskState.NEW, number) for number in range(TASK_HISTORY_STATUSES))
    store.apply(1, (created(task("t1", history=old, status=TaskStatus(TaskState.ASSIGNED, 50))),))
    store.apply(2, (status_of("t1", TaskStatus(TaskState.RUNNING, 60)),))
    assert stored(store, "t1").history == (*old[1:], TaskStatus(TaskState.ASSIGNED, 50))


def test_a_late_report_for_a_task_that_is_gone_is_passed_over() -> None:
    store = Store()
    assert store.apply(1, (status_of("t9", TaskStatus(TaskState.RUNNING)),)).events == ()


def test_reports_and_plans_never_refuse_each_other() -> None:
    """A plan that was made before a report arrived is still taken, and takes nothing back that was reported."""
    store = Store()
    store.apply(1, (created(task("t1", status=TaskStatus(TaskState.ASSIGNED, 1))),))
    seen = stored(store, "t1")
    store.apply(2, (status_of("t1", TaskStatus(TaskState.RUNNING, 2)),))
    store.apply(3, (updated(replace(seen, desired_state=TaskState.SHUTDOWN)),))
    found = stored(store, "t1")
    assert (found.desired_state, found.status.state, found.meta.version) == (TaskState.SHUTDOWN, TaskState.RUNNING, 3)
    assert found.history == (TaskStatus(TaskState.ASSIGNED, 1),)
    with pytest.raises(OutOfSequence):
        store.apply(4, (updated(replace(seen, desired_state=TaskState.RUNNING)),))


def test_tasks_are_found_by_service_and_node_wherever_they_move() -> None:
    store = Store()
    store.apply(1, tuple(created(task(f"t{number}", node_id="" if number % 2 else "n1")) for number in range(20)))
    assert len(store.tasks_of_service("s1")) == 20
    assert [found.id for found in store.tasks_of_node("n1")] == [f"t{number}" for number in range(0, 20, 2)]
    assert store.tasks_of_node("") == ()
    store.apply(2, (updated(replace(stored(store, "t1"), node_id=NodeId("n2"))), deleted(task("t0"))))
    assert [found.id for found in store.tasks_of_node("n2")] == ["t1"]
    assert "t0" not in {found.id for found in store.tasks_of_node("n1")}


def test_replicas_share_their_services_spec() -> None:
    store = Store()
    store.apply(1, (created(service("s1", "web")),))
    store.apply(2, (created(task("t1")), created(task("t2"))))
    assert stored(store, "t1").spec is stored(store, "t2").spec is store.all(Kind.SERVICE)[0].spec.task
    again = Store()
    again.restore(store.save())
    assert stored(again, "t1").spec is stored(again, "t2").spec


def test_services_that_come_one_after_the_other_share_what_their_tasks_run() -> None:
    store = Store()
    store.apply(1, (created(service("s1")), created(service("s2"))))
    store.apply(2, (created(service("s3")),))
    store.apply(3, (created(service("s4", image="other")),))
    one, two, three, four = (found.spec.task for found in store.all(Kind.SERVICE))
    assert one is two is three
    assert four.container.image == "other"
