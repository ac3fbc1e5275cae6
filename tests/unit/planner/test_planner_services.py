"""What services become: scale, restarts, nodes that go, removal, history; and that work is proportional."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from cluster.model.changes import Kind
from cluster.model.ids import ClusterId
from cluster.model.objects import Cluster, NodeState
from cluster.model.specs import Availability, ClusterSpec, Placement, RestartCondition, RestartPolicy
from cluster.model.task_state import TaskState
from manager.index import Index
from manager.planner import dry_run, plan
from sim.checks.soundness import check_index, shape
from tests.unit.planner.world import SECOND_NS, World, service_spec


def test_scaling_up_takes_the_lowest_free_slots() -> None:
    world = World(nodes=2)
    world.service("a", replicas=2)
    world.run()
    world.scale("a", 4)
    world.run()
    assert [t.slot for t in world.running()] == [1, 2, 3, 4]
    assert world.tasks()[3].cause == "scaled up to 4"


def test_scaling_down_removes_what_does_not_run_then_from_the_fullest_node() -> None:
    world = World(nodes=2)
    world.service("a", replicas=5)
    world.run()
    assert Counter(t.node_id for t in world.running()) == {"n1": 3, "n2": 2}
    idle = world.running()[0]
    world.fail(idle)
    world.settle()
    world.scale("a", 3)
    world.run()
    assert idle.slot not in {t.slot for t in world.live()}
    assert sorted(Counter(t.node_id for t in world.running()).values()) == [1, 2]
    assert {t.id for t in world.tasks()} == {t.id for t in world.running()}, "removed tasks are forgotten"


def test_scaling_to_nothing_and_back() -> None:
    world = World(nodes=2)
    world.service("a", replicas=3)
    world.run()
    world.scale("a", 0)
    world.run()
    assert world.tasks() == []
    world.scale("a", 1)
    world.run()
    assert [t.slot for t in world.running()] == [1]


def test_a_task_that_ran_longer_than_its_delay_is_replaced_at_once() -> None:
    world = World(nodes=1)
    world.service("a")
    world.run()
    world.advance(5)
    (old,) = world.running()
    world.fail(old)
    world.settle()
    (new,) = world.live()
    assert (new.desired_state, new.released_at_ns, new.slot) == (TaskState.RUNNING, 0, 1)
    assert new.cause == f"replaces a.1 ({old.id}): failed: task: non-zero exit (1)"
    assert world.get_task(old.id).desired_state is TaskState.SHUTDOWN


def test_one_that_failed_sooner_waits_the_delay() -> None:
    world = World(nodes=1)
    world.service("a", restart=RestartPolicy(delay_ns=3 * SECOND_NS))
    world.run()
    world.advance(2.9)
    world.fail(world.running()[0])
    world.run()
    (new,) = world.live()
    assert (new.desired_state, new.status.state) == (TaskState.READY, TaskState.READY), "prepared, not started"
    assert world.last.deadline_ns == new.released_at_ns == world.now_ns + 3 * SECOND_NS
    world.advance(2.9)
    assert world.live()[0].desired_state is TaskState.READY
    world.advance(0.1)
    world.run()
    assert [t.id for t in world.running()] == [new.id]


def test_one_that_ends_while_it_waits_is_not_replaced_before_its_own_delay_has_passed() -> None:
    world = World(nodes=1)
    world.service("a")
    world.run()
    world.fail(world.running()[0])
    world.settle()
    (waiting,) = world.live()
    world.report(waiting, TaskState.REJECTED)  # such as: its image is missing
    world.settle()
    assert [t.id for t in world.live()] == [waiting.id], "otherwise a missing image turns as fast as the cluster can"
    assert world.last.deadline_ns == waiting.released_at_ns
    world.advance(5)
    (new,) = world.live()
    assert (new.id != waiting.id, new.released_at_ns) == (True, world.now_ns + 5 * SECOND_NS)


def test_nobody_waits_for_the_time_of_a_leader_whose_clock_ran_ahead() -> None:
    """Found by the simulated world."""
    world = World(nodes=1)
    world.now_ns += 3600 * SECOND_NS
    world.service("a", replicas=1, restart=RestartPolicy(delay_ns=SECOND_NS))
    world.run()
    world.fail(world.running()[0])
    world.settle()
    assert [t.desired_state for t in world.live()] == [TaskState.READY]
    world.now_ns -= 3600 * SECOND_NS
    world.index = Index.build(world.objects())
    world.advance(1)
    world.run()
    assert len(world.running()) == 1


def test_the_default_delay_is_five_seconds() -> None:
    world = World(nodes=1)
    world.service("a")
    world.run()
    world.fail(world.running()[0])
    world.run()
    assert world.live()[0].released_at_ns == world.now_ns + 5 * SECOND_NS


def test_on_failure_does_not_replace_what_completed_nor_fills_its_slot() -> None:
    world = World(nodes=1)
    world.service("a", replicas=2, restart=RestartPolicy(RestartCondition.ON_FAILURE))
    world.run()
    done, other = world.running()
    world.report(done, TaskState.COMPLETE)
    world.advance(60)
    world.run()
    assert [t.id for t in world.live()] == [other.id]
    world.scale("a", 3)
    world.run()
    assert [t.slot for t in world.running()] == [2, 3], "the completed slot stays occupied"


def test_restart_none_replaces_nothing() -> None:
    world = World(nodes=1)
    world.service("a", restart=RestartPolicy(RestartCondition.NONE))
    world.run()
    world.fail(world.running()[0])
    world.advance(60)
    assert world.live() == []


def test_attempts_are_counted_per_slot_and_start_anew_with_a_new_spec() -> None:
    world = World(nodes=1)
    policy = RestartPolicy(delay_ns=0, max_attempts=7)
    world.service("a", restart=policy)
    world.run()
    failures = 0
    while world.running() and failures < 20:
        world.fail(world.running()[0])
        world.run()
        failures += 1
    assert failures == 1 + 7
    world.update("a", restart=policy, image="new")
    world.run()
    assert len(world.running()) == 1


def test_attempts_outside_the_window_are_forgiven() -> None:
    world = World(nodes=1)
    world.service("a", restart=RestartPolicy(delay_ns=0, max_attempts=2, window_ns=10 * SECOND_NS))
    world.run()
    for _ in range(6):
        world.advance(6)
        world.fail(world.running()[0])
        world.run()
    assert len(world.running()) == 1
    for _ in range(3):
        world.fail(world.running()[0])
        world.run()
        if not world.running():
            break
    assert world.running() == []


def test_a_dead_nodes_tasks_move_and_the_old_ones_are_to_shut_down() -> None:
    world = World(nodes=3)
    world.service("a", replicas=3)
    world.run()
    world.advance(10)
    world.set_state("n2", NodeState.DOWN)
    world.run()
    assert len(world.running()) == 3
    assert {t.node_id for t in world.running()} == {"n1", "n3"}
    (old,) = [t for t in world.tasks() if t.node_id == "n2"]
    assert (old.desired_state, old.stop_cause) == (TaskState.SHUTDOWN, "node n2 is down")
    world.set_state("n2", NodeState.READY)
    world.run()
    assert world.get_task(old.id).status.state is TaskState.SHUTDOWN


def test_a_drained_nodes_tasks_move_without_delay_once_they_have_stopped() -> None:
    world = World(nodes=2)
    world.service("a", replicas=2)
    world.run()
    world.set_availability("n1", Availability.DRAIN)
    world.settle()
    (waiting,) = [t for t in world.live() if t.desired_state is TaskState.READY]
    assert (waiting.node_id, waiting.released_at_ns) == ("n2", world.now_ns)
    world.step_agents(["n1"])
    world.settle()
    assert world.get_task(waiting.id).desired_state is TaskState.RUNNING


def test_a_task_that_does_not_stop_is_waited_for_sixty_seconds() -> None:
    world = World(nodes=2)
    world.service("a")
    world.run()
    (old,) = world.running()
    world.set_availability(old.node_id, Availability.DRAIN)
    world.settle()
    world.advance(59)
    assert world.live()[0].desired_state is TaskState.READY
    world.advance(1)
    assert world.live()[0].desired_state is TaskState.RUNNING


def test_a_removed_nodes_tasks_are_orphaned_and_replaced() -> None:
    world = World(nodes=2)
    world.service("a", replicas=2)
    world.run()
    world.advance(10)
    world.remove_node("n1")
    world.run()
    assert [t.node_id for t in world.running()] == ["n2", "n2"]
    (old,) = [t for t in world.tasks() if t.node_id == "n1"]
    assert (old.status.state, old.desired_state) == (TaskState.ORPHANED, TaskState.SHUTDOWN)


def test_a_paused_node_keeps_its_tasks() -> None:
    world = World(nodes=1)
    world.service("a")
    world.run()
    world.set_availability("n1", Availability.PAUSE)
    world.run()
    assert len(world.running()) == 1


def test_tasks_leave_a_node_that_no_longer_satisfies_their_constraints() -> None:
    world = World(nodes=2)
    world.label("n1", disk="ssd")
    world.service("a", replicas=3, placement=Placement(("node.labels.disk==ssd",)))
    world.run()
    world.label("n2", disk="ssd")
    world.label("n1", disk="hdd")
    world.run()
    assert [t.node_id for t in world.running()] == ["n2", "n2", "n2"]


def test_removal_ends_and_forgets_every_task_but_not_before_it_has_stopped() -> None:
    world = World(nodes=2)
    world.service("a", replicas=2)
    world.run()
    world.remove("a")
    world.settle()
    assert {t.desired_state for t in world.tasks()} == {TaskState.REMOVE}
    world.step_agents(["n1"])
    world.settle()
    assert [t.node_id for t in world.tasks()] == ["n2"]
    world.set_state("n2", NodeState.DOWN)
    world.settle()
    assert len(world.tasks()) == 1
    world.remove_node("n2")
    world.settle()
    assert world.tasks() == []


def test_at_most_five_finished_tasks_are_kept_per_slot() -> None:
    world = World(nodes=1)
    world.service("a", replicas=2)
    world.run()
    for _ in range(8):
        world.advance(6)
        world.fail(next(t for t in world.running() if t.slot == 1))
        world.run()
    kept = [t for t in world.tasks() if t.slot == 1 and t.status.state is TaskState.FAILED]
    assert len(kept) == 5
    newest = max(t.meta.created_at_ns for t in kept)
    assert newest > world.now_ns - 15 * SECOND_NS, "the newest are kept"


def test_a_smaller_history_limit_takes_effect_at_once() -> None:
    world = World(nodes=1)
    world.service("a", restart=RestartPolicy(delay_ns=0))
    world.run()
    for _ in range(4):
        world.fail(world.running()[0])
        world.run()
    world.change(world.store.all(Kind.CLUSTER)[0], spec=ClusterSpec(task_history_limit=1))
    world.settle()
    assert len(world.tasks()) == 2


def test_a_global_service_runs_once_on_each_suitable_node() -> None:
    world = World(nodes=3)
    world.label("n1", disk="ssd")
    world.label("n2", disk="ssd")
    world.service("a", global_=True, placement=Placement(("node.labels.disk==ssd",)))
    world.run()
    assert [(t.node_id, t.slot) for t in world.running()] == [("n1", 0), ("n2", 0)]
    world.node("n4")
    world.label("n4", disk="ssd")
    world.set_availability("n1", Availability.DRAIN)
    world.run()
    assert [t.node_id for t in world.running()] == ["n2", "n4"]
    world.set_availability("n1", Availability.ACTIVE)
    world.run()
    assert [t.node_id for t in world.running()] == ["n1", "n2", "n4"]
    world.remove_node("n4")
    world.run()
    assert [t.node_id for t in world.tasks() if t.node_id == "n4"] == []


def test_a_global_task_is_restarted_on_its_node_and_a_paused_node_gets_none() -> None:
    world = World(nodes=2)
    world.set_availability("n2", Availability.PAUSE)
    world.service("a", global_=True)
    world.run()
    (old,) = world.running()
    world.advance(6)
    world.fail(old)
    world.run()
    assert [t.node_id for t in world.running()] == ["n1"]
    assert world.running()[0].id != old.id


def drained_for_a_while(world: World) -> None:
    for availability in (Availability.DRAIN, Availability.ACTIVE):
        world.set_availability("n1", availability)
        world.settle()
    world.run()


def test_a_global_task_that_ended_while_it_waited_is_replaced_when_its_drained_node_is_back() -> None:
    world = World(nodes=1)
    world.service("a", global_=True)
    world.run()
    world.fail(world.running()[0])
    world.settle()
    (waiting,) = [t for t in world.tasks() if t.desired_state is TaskState.READY]
    world.report(waiting, TaskState.REJECTED, err="No such image: a")
    world.settle()
    drained_for_a_while(world)
    assert [t.node_id for t in world.running()] == ["n1"]


def test_a_global_task_that_is_not_to_be_restarted_stays_ended_when_its_drained_node_is_back() -> None:
    world = World(nodes=1)
    world.service("a", global_=True, restart=RestartPolicy(condition=RestartCondition.NONE))
    world.run()
    world.fail(world.running()[0])
    world.settle()
    drained_for_a_while(world)
    assert world.running() == []


def test_a_refused_plan_is_made_again() -> None:
    world = World(nodes=1)
    world.service("a", replicas=2)
    lost = world.plan()
    assert len(lost.changes) == 2
    assert len(world.plan().changes) == 2
    world.settle()
    assert len(world.tasks()) == 2


def test_a_dry_run_says_the_same_and_leaves_no_trace() -> None:
    world = World(nodes=2, ingress=True)
    world.network("net")
    world.settle()
    since = len(world._events)
    world.service("a", replicas=3, networks=["net"], restart=RestartPolicy(delay_ns=0))
    events = tuple(world._events[since:])
    before, marks = shape(world.index), dict(world.index.agenda.services)
    said = dry_run(world.index, events, world.now_ns, random.Random(5))
    assert (shape(world.index), world.index.agenda.services) == (before, marks)
    done = plan(world.index, events, world.now_ns, random.Random(5))
    assert said == done


def test_what_a_plan_intends_stays_in_the_index_until_its_events_confirm_it_and_no_longer() -> None:
    world = World(nodes=2)
    world.checks = False  # which make every plan twice
    world.service("web", replicas=3)
    intended = world.plan()
    assert len(intended.changes) == len(world.index.held()) == 3, "tasks alone wait for their events"
    world.commit_plan(intended)
    world.plan()
    assert world.index.held() == (), "confirmed, and nothing new is intended"
    check_index(world.store, world.index)
    world.scale("web", 5)
    refused = world.plan()
    assert len(world.index.held()) == 2
    world.set_availability("n1", Availability.DRAIN)  # which the plan knew nothing of
    again = world.plan()
    assert not {change.id for change in refused.changes} & world.index.tasks.keys(), "what was refused is out again"
    check_index(world.store, world.index)
    world.commit_plan(again)
    world.settle()
    assert {task.node_id for task in world.live("web")} == {"n2"}


def test_a_new_leader_goes_on_from_the_store_alone() -> None:
    world = World(nodes=2)
    world.service("a", replicas=2, restart=RestartPolicy(delay_ns=4 * SECOND_NS))
    world.run()
    world.fail(world.running()[0])
    world.run()
    world.index = Index.build(world.objects())
    world.settle()
    assert world.last.deadline_ns == world.now_ns + 4 * SECOND_NS
    world.advance(4)
    world.run()
    assert len(world.running()) == 2


class Counting(dict[Any, Any]):
    """A table that counts the objects that are looked at."""

    looked = 0

    def __getitem__(self, key: Any) -> Any:
        Counting.looked += 1
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        Counting.looked += 1
        return super().get(key, default)

    def values(self) -> Any:
        Counting.looked += len(self)
        return super().values()

    def items(self) -> Any:
        Counting.looked += len(self)
        return super().items()

    def __iter__(self) -> Any:
        Counting.looked += len(self)
        return super().__iter__()


def test_the_work_for_one_failure_does_not_grow_with_the_cluster() -> None:
    looked = []
    for size in (10, 200):
        world = World(nodes=size)
        world.checks = False
        for i in range(size):
            world.service(f"s{i}", replicas=3)
        world.run()
        world.advance(10)
        world.fail(world.running("s5")[0])
        index = world.index
        for table in ("tasks", "services", "networks"):
            setattr(index, table, Counting(getattr(index, table)))
        nodes = Counting(index.nodes)
        index.nodes = nodes
        index.classes._nodes = nodes
        Counting.looked = 0
        made = world.plan()
        assert len(made.changes) == 2
        looked.append(Counting.looked)
    assert looked[1] <= looked[0] + 20, looked
    assert looked[1] < 150, looked


def test_a_large_service_is_planned_in_bounded_steps() -> None:
    world = World(nodes=3)
    world.checks = False
    world.service("a", replicas=5000)
    first = world.plan()
    assert 500 < len(first.changes) < 5000
    assert first.deadline_ns == world.now_ns, "there is more to plan at once"
    world.commit_plan(first)
    world.settle()
    assert len(world.tasks()) == 5000
    assert {t.status.state for t in world.tasks()} == {TaskState.ASSIGNED}
    world.remove("a")
    world.settle()
    assert {t.desired_state for t in world.tasks()} == {TaskState.REMOVE}


def test_specs_without_a_number_of_replicas_mean_one() -> None:
    world = World(nodes=1, cluster=Cluster(ClusterId("c")))
    world.service("a", replicas=None)
    world.run()
    assert len(world.running()) == 1
    assert service_spec("a", replicas=None).mode.replicas is None
