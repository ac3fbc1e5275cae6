"""Where tasks go, and what is said when they can go nowhere."""

from __future__ import annotations

from collections import Counter

from cluster.model.objects import NodeDescription, NodeState
from cluster.model.specs import Availability, GenericResource, Placement, Platform, PublishMode, Resources, RestartPolicy
from cluster.model.task_state import TaskState
from tests.unit.planner.world import World, port

GIB = 1 << 30


def test_tasks_are_created_assigned_and_spread_evenly() -> None:
    world = World(nodes=3)
    world.service("web", replicas=7)
    world.settle()
    assert {t.status.state for t in world.tasks()} == {TaskState.ASSIGNED}
    assert sorted(Counter(t.node_id for t in world.tasks()).values()) == [2, 2, 3]
    assert all(t.cause == "service created" for t in world.tasks())
    assert world.plans == 1 + 2, "after the set-up's one, one plan makes the tasks and one finds nothing left"


def test_a_second_service_goes_where_there_is_less() -> None:
    world = World(nodes=3)
    world.service("one")
    world.settle()
    world.service("two", replicas=2)
    world.settle()
    assert {t.node_id for t in world.tasks()} == {"n1", "n2", "n3"}


def test_constraints_hold_back_and_the_reason_names_them_node_by_node() -> None:
    world = World(nodes=3)
    world.service("nowhere", placement=Placement(("node.labels.disk==ssd",)))
    world.settle()
    (task,) = world.tasks()
    assert task.status.state is TaskState.PENDING
    assert task.status.err == "no suitable node (scheduling constraints not satisfied on 3 nodes)"
    reason = world.reasons[task.id]
    assert reason.summary == task.status.err
    verdict = "constraint node.labels.disk==ssd not satisfied (node.labels.disk is not set)"
    assert reason.nodes == (("n1", verdict), ("n2", verdict), ("n3", verdict))
    world.label("n2", disk="ssd")
    world.settle()
    assert [(t.id, t.node_id, t.status.err) for t in world.tasks()] == [(task.id, "n2", "")]


def test_the_summary_counts_the_first_filter_and_the_verdict_names_all() -> None:
    world = World(nodes=0)
    for i in range(4):
        resources = Resources(1_000_000_000, GIB if i else 100 * GIB)
        world.node(f"m{i}", description=NodeDescription(f"m{i}", Platform("x86_64", "linux"), resources))
    world.set_availability("m3", Availability.DRAIN)
    world.service("big", reservations=Resources(0, 2 * GIB), placement=Placement(("node.hostname!=m0", "node.id!=m1")))
    world.settle()
    (task,) = world.tasks()
    assert task.status.err == (
        "no suitable node (insufficient resources on 2 nodes; 1 node not available for new tasks; "
        "scheduling constraints not satisfied on 1 node)"
    )
    words = dict(world.reasons[task.id].nodes)
    assert words["m1"].startswith("insufficient resources (memory: 2GiB asked, 1GiB of 1GiB free); constraint")
    assert words["m3"] == "node is drained; insufficient resources (memory: 2GiB asked, 1GiB of 1GiB free)"


def test_no_node_at_all() -> None:
    world = World(nodes=0)
    world.service("a")
    world.settle()
    assert world.tasks()[0].status.err == "no suitable node"
    assert world.last.changes == ()


def test_reservations_are_summed_and_freed_room_is_used() -> None:
    world = World(nodes=1)
    world.service("a", replicas=3, reservations=Resources(0, 3 * GIB))
    world.run()
    assert len(world.running()) == 2
    (waiting,) = [t for t in world.live() if t.status.state is TaskState.PENDING]
    assert waiting.status.err == "no suitable node (insufficient resources on 1 node)"
    world.service("b", reservations=Resources(0, GIB))
    world.run()
    assert len(world.running("b")) == 1
    world.node("bigger")
    world.run()
    assert len(world.running("a")) == 3


def test_generic_resources_are_summed_and_names_are_given_once() -> None:
    world = World(nodes=1)
    world.service("a", replicas=3, reservations=Resources(generic=(GenericResource("gpu"), GenericResource("card"))))
    world.run()
    assert sorted(one.name for t in world.running() for one in t.generic if one.kind == "card") == ["a", "b"]
    (waiting,) = [t for t in world.live() if t.status.state is TaskState.PENDING]
    assert waiting.status.err == "no suitable node (insufficient resources on 1 node)"
    assert world.reasons[waiting.id].nodes == (("n1", "insufficient resources (gpu: 1 asked, 0 of 2 free)"),)
    world.service("b", reservations=Resources(generic=(GenericResource("card"), GenericResource("card"))))
    world.settle()
    assert [t.status.err for t in world.live("b")] == ["no suitable node (insufficient resources on 1 node)"], "two entries are two"
    world.remove("a")
    world.run()
    (task,) = world.running("b")
    assert [one.name for one in task.generic] == ["a", "b"]


def test_room_counts_as_free_once_its_holder_has_stopped() -> None:
    world = World(nodes=1)
    world.service("a", reservations=Resources(0, 5 * GIB))
    world.run()
    world.service("b", reservations=Resources(0, 5 * GIB))
    world.remove("a")
    world.settle()
    assert [t.status.state for t in world.tasks("b")] == [TaskState.PENDING]
    world.report(world.tasks("a")[0], TaskState.SHUTDOWN)
    world.settle()
    assert [t.status.state for t in world.tasks("b")] == [TaskState.ASSIGNED]


def test_host_ports_are_one_per_node() -> None:
    world = World(nodes=2)
    world.service("a", replicas=3, ports=[port(80, 8000, publish_mode=PublishMode.HOST)])
    world.run()
    assert sorted(t.node_id for t in world.running()) == ["n1", "n2"]
    (waiting,) = [t for t in world.live() if t.status.state is TaskState.PENDING]
    assert waiting.status.err == "no suitable node (host-mode port already in use on 2 nodes)"
    assert world.reasons[waiting.id].nodes[0] == ("n1", "host-mode port 8000/tcp already in use")


def test_max_replicas_per_node() -> None:
    world = World(nodes=2)
    world.service("a", replicas=5, placement=Placement(max_replicas=2))
    world.run()
    assert sorted(Counter(t.node_id for t in world.running()).values()) == [2, 2]
    (waiting,) = [t for t in world.live() if t.status.state is TaskState.PENDING]
    assert waiting.status.err == "no suitable node (max replicas per node limit exceed)"


def test_platforms_are_compared_by_machine() -> None:
    world = World(nodes=1)
    world.node("arm", description=NodeDescription("arm", Platform("aarch64", "linux"), Resources(1, 1)))
    world.service("a", placement=Placement(platforms=(Platform("arm64", "linux"),)))
    world.service("b", placement=Placement(platforms=(Platform("amd64", "linux"),)))
    world.service("c", placement=Placement(platforms=(Platform("s390x", "linux"),)))
    world.settle()
    assert [t.node_id for t in world.tasks()] == ["arm", "n1", ""]
    assert world.tasks("c")[0].status.err == "no suitable node (unsupported platform on 2 nodes)"


def test_nodes_on_which_it_failed_five_times_come_last() -> None:
    world = World(nodes=2)
    world.service("a", restart=RestartPolicy(delay_ns=0))
    world.run()
    for _ in range(5):
        (task,) = world.live("a")
        assert task.node_id == "n1"
        world.fail(task)
        world.run()
    (task,) = world.live("a")
    assert task.node_id == "n2"
    assert dict(world.reasons[task.id].nodes)["n1"].endswith("failed there 5 times lately")
    world.advance(301)
    world.fail(task)
    world.run()
    assert world.live("a")[0].node_id == "n1", "after five minutes it is forgiven"


def test_spread_preferences_fill_branches_evenly() -> None:
    world = World(nodes=5)
    for name, zone in (("n1", "east"), ("n2", "east"), ("n3", "east"), ("n4", "west")):
        world.label(name, zone=zone)
    world.service("a", replicas=9, placement=Placement(spread=("node.labels.zone",)))
    world.settle()
    count = Counter(t.node_id for t in world.tasks())
    assert (count["n1"], count["n2"], count["n3"], count["n4"], count["n5"]) == (1, 1, 1, 3, 3)


def test_paused_and_unknown_nodes_get_nothing_new() -> None:
    world = World(nodes=3)
    world.set_availability("n1", Availability.PAUSE)
    world.set_state("n2", NodeState.UNKNOWN)
    world.service("a", replicas=2)
    world.settle()
    assert [t.node_id for t in world.tasks()] == ["n3", "n3"]


def test_a_placed_tasks_reason_has_the_nodes_and_their_ranks() -> None:
    world = World(nodes=2)
    world.service("a")
    world.settle()
    world.service("b")
    world.settle()
    reason = world.reasons[world.tasks("b")[0].id]
    assert reason.summary == "placed on n2: 0 tasks of this service, 0 in total before it"
    assert reason.nodes == (
        ("n2", "0 tasks of this service, 0 in total"),
        ("n1", "0 tasks of this service, 1 in total"),
    )


def test_a_pending_tasks_status_is_written_only_when_it_says_something_new() -> None:
    world = World(nodes=1)
    world.service("a", placement=Placement(("node.labels.x==y",)))
    world.settle()
    version = world.store.index
    world.label("n1", other="label")
    world.settle()
    assert world.store.index == version + 1


def test_a_bad_constraint_that_got_in_is_a_reason_not_a_crash() -> None:
    world = World(nodes=1)
    world.service("a", placement=Placement(("node.labels.x=y",)))
    world.settle()
    assert world.tasks()[0].status.err == "constraint expected one operator from ==, !="
