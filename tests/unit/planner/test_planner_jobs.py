"""Jobs: how many tasks run, which nodes take part, what an update, a failure, a drain and a schedule do."""

from __future__ import annotations

import pytest

from cluster.model.objects import NodeState
from cluster.model.schedule import LABEL
from cluster.model.specs import Availability, Placement, RestartCondition, RestartPolicy, ServiceMode, ServiceModeKind
from cluster.model.task_state import TaskState, is_final
from tests.unit.planner.world import SECOND_NS, World

EVERY_FIVE = ((LABEL, "*/5 * * * *"),)
FIRST_DUE_S = 100  # after World's start, which is 22:13:20


@pytest.fixture
def world() -> World:
    return World(nodes=3)


def job(total: int, concurrent: int) -> ServiceMode:
    return ServiceMode(ServiceModeKind.REPLICATED_JOB, total, concurrent)


GLOBAL = ServiceMode(ServiceModeKind.GLOBAL_JOB)
AT_ONCE = RestartPolicy(delay_ns=0)


def states(world: World, name: str = "a") -> list[tuple[int | str, str, str]]:
    return [(t.slot or t.node_id, t.desired_state.name, t.status.state.name) for t in world.tasks(name)]


def completed(world: World, name: str = "a") -> set[int | str]:
    return {t.slot or t.node_id for t in world.tasks(name) if t.status.state is TaskState.COMPLETE}


def test_a_job_starts_as_many_as_may_run_at_once_and_then_the_rest(world: World) -> None:
    world.service("a", mode=job(3, 2))
    world.settle()
    assert states(world) == [(1, "COMPLETE", "ASSIGNED"), (2, "COMPLETE", "ASSIGNED")]
    world.report(world.tasks("a")[0], TaskState.COMPLETE)
    world.settle()
    assert states(world) == [(1, "COMPLETE", "COMPLETE"), (2, "COMPLETE", "ASSIGNED"), (3, "COMPLETE", "ASSIGNED")]
    world.run()
    assert completed(world) == {1, 2, 3}
    world.advance(1000)
    assert len(world.tasks("a")) == 3


def test_at_no_time_more_run_than_may(world: World) -> None:
    world.service("a", mode=job(20, 3))
    world.settle()
    while world.step_agents():
        world.settle()
        assert sum(not is_final(t.status.state) for t in world.tasks("a")) <= 3
    assert completed(world) == set(range(1, 21))


def test_a_job_without_numbers_is_one_task(world: World) -> None:
    world.service("a", mode=ServiceMode(ServiceModeKind.REPLICATED_JOB))
    world.run()
    assert completed(world) == {1}


def test_a_task_that_fails_is_tried_again_in_its_slot(world: World) -> None:
    world.service("a", mode=job(2, 1), restart=AT_ONCE)
    world.settle()
    world.fail(world.tasks("a")[0])
    world.settle()
    assert states(world) == [(1, "SHUTDOWN", "FAILED"), (1, "COMPLETE", "ASSIGNED")]
    world.run()
    assert completed(world) == {1, 2}


def test_it_is_tried_again_after_its_delay(world: World) -> None:
    world.service("a", mode=job(1, 1))
    world.settle()
    world.fail(world.tasks("a")[0])
    world.settle()
    assert states(world) == [(1, "SHUTDOWN", "FAILED"), (1, "READY", "ASSIGNED")]
    world.advance(5)
    assert states(world)[1] == (1, "COMPLETE", "ASSIGNED")


@pytest.mark.parametrize("condition", [RestartCondition.ANY, RestartCondition.ON_FAILURE])
def test_a_slot_that_failed_too_often_stays_failed_and_the_others_go_on(world: World, condition: RestartCondition) -> None:
    world.service("a", mode=job(3, 1), restart=RestartPolicy(condition, 0, max_attempts=2))
    world.settle()
    for _ in range(3):
        world.fail(next(t for t in world.live("a") if t.slot == 1))
        world.settle()
    world.run()
    world.advance(1000)
    assert completed(world) == {2, 3}
    assert [t.status.state for t in world.tasks("a") if t.slot == 1] == [TaskState.FAILED] * 3


def test_a_job_that_shall_not_restart_fails_once(world: World) -> None:
    world.service("a", mode=job(1, 1), restart=RestartPolicy(RestartCondition.NONE))
    world.settle()
    world.fail(world.tasks("a")[0])
    world.advance(1000)
    assert states(world) == [(1, "SHUTDOWN", "FAILED")]


def test_an_update_runs_it_again_and_leaves_the_run_before_as_history(world: World) -> None:
    world.service("a", mode=job(2, 2))
    world.run()
    world.update("a", mode=job(2, 2))
    world.settle()
    assert [(t.slot, t.job_iteration, t.desired_state.name, t.status.state.name) for t in world.tasks("a")] == [
        (1, 1, "COMPLETE", "COMPLETE"), (1, 2, "COMPLETE", "ASSIGNED"), (2, 1, "COMPLETE", "COMPLETE"), (2, 2, "COMPLETE", "ASSIGNED"),
    ]  # fmt: skip


def test_the_history_of_earlier_runs_is_bounded(world: World) -> None:
    world.service("a", mode=job(1, 1))
    for _ in range(9):
        world.run()
        world.update("a", mode=job(1, 1))
    world.run()
    assert [t.job_iteration for t in world.tasks("a")] == [5, 6, 7, 8, 9, 10]


def test_a_slot_of_the_run_before_has_to_stop_before_its_next_task_starts(world: World) -> None:
    world.service("a", mode=job(1, 1))
    for _ in range(6):
        world.step_agents()
        world.settle()
    old = world.tasks("a")[0]
    assert old.status.state is TaskState.RUNNING
    world.update("a", mode=job(1, 1), image="two")
    world.settle()
    assert states(world) == [(1, "REMOVE", "RUNNING"), (1, "READY", "ASSIGNED")]
    world.report(world.get_task(old.id), TaskState.SHUTDOWN)
    world.settle()
    assert states(world) == [(1, "COMPLETE", "ASSIGNED")]


@pytest.mark.parametrize("how", ["drained", "down", "removed", "relabelled"])
def test_a_job_leaves_a_node_that_goes(world: World, how: str) -> None:
    placement = Placement(("node.labels.off!=true",))
    world.service("a", mode=job(1, 1), placement=placement)
    world.settle()
    task = world.tasks("a")[0]
    match how:
        case "drained":
            world.set_availability(task.node_id, Availability.DRAIN)
        case "down":
            world.set_state(task.node_id, NodeState.DOWN)
        case "removed":
            world.remove_node(task.node_id)
        case "relabelled":
            world.label(task.node_id, off="true")
    world.run()
    world.advance(61)
    world.run()
    done = [t for t in world.tasks("a") if t.status.state is TaskState.COMPLETE]
    assert [t.node_id != task.node_id for t in done] == [True]


def test_what_has_completed_on_a_node_that_goes_is_not_done_again(world: World) -> None:
    world.service("a", mode=job(3, 3))
    world.run()
    world.set_availability("n1", Availability.DRAIN)
    world.set_state("n2", NodeState.DOWN)
    world.remove_node("n3")
    world.advance(1000)
    assert len(world.tasks("a")) == 3


def test_a_task_that_was_given_up_and_completes_at_last_counts(world: World) -> None:
    world.service("a", mode=job(1, 1))
    world.settle()
    task = world.tasks("a")[0]
    world.set_state(task.node_id, NodeState.DOWN)
    world.settle()
    world.set_state(task.node_id, NodeState.READY)
    world.report(world.get_task(task.id), TaskState.COMPLETE)
    world.run()
    world.advance(100)
    assert [t.status.state for t in world.tasks("a")] == [TaskState.COMPLETE, TaskState.SHUTDOWN]


def test_a_global_job_runs_once_on_each_node_that_was_there(world: World) -> None:
    world.service("a", mode=GLOBAL)
    world.run()
    assert completed(world) == {"n1", "n2", "n3"}
    world.node("n4")
    world.run()
    world.advance(1000)
    assert completed(world) == {"n1", "n2", "n3"}
    world.update("a", mode=GLOBAL)
    world.run()
    assert completed(world) == {"n1", "n2", "n3", "n4"}


def test_a_global_job_runs_again_where_it_has_completed(world: World) -> None:
    world.service("a", mode=GLOBAL)
    world.run()
    world.update("a", mode=GLOBAL)
    world.run()
    runs = [(task.node_id, task.job_iteration) for task in world.tasks("a") if task.status.state is TaskState.COMPLETE]
    assert sorted(runs) == [(f"n{number}", iteration) for number in (1, 2, 3) for iteration in (1, 2)]


def test_a_global_job_that_begins_after_its_leaders_clock_was_set_back_runs_on_every_node(world: World) -> None:
    world.now_ns -= 3600 * 1_000_000_000
    world.service("a", mode=GLOBAL)
    world.run()
    assert completed(world) == {"n1", "n2", "n3"}


def test_a_global_job_runs_on_a_paused_or_drained_node_when_that_is_active_again(world: World) -> None:
    world.set_availability("n1", Availability.DRAIN)
    world.set_availability("n2", Availability.PAUSE)
    world.service("a", mode=GLOBAL)
    world.run()
    assert completed(world) == {"n3"}
    world.set_availability("n1", Availability.ACTIVE)
    world.set_availability("n2", Availability.ACTIVE)
    world.run()
    assert completed(world) == {"n1", "n2", "n3"}


def test_a_global_job_interrupted_by_its_node_runs_there_again(world: World) -> None:
    world.service("a", mode=GLOBAL)
    world.settle()
    world.set_state("n1", NodeState.DOWN)
    world.settle()
    assert [t.desired_state for t in world.tasks("a") if t.node_id == "n1"] == [TaskState.SHUTDOWN]
    world.run()
    world.set_state("n1", NodeState.READY)
    world.run()
    world.advance(61)
    world.run()
    assert completed(world) == {"n1", "n2", "n3"}


def test_a_global_job_gives_up_after_its_attempts(world: World) -> None:
    world.service("a", mode=GLOBAL, restart=RestartPolicy(delay_ns=0, max_attempts=1))
    world.settle()
    for _ in range(2):
        world.fail(next(t for t in world.live("a") if t.node_id == "n1"))
        world.settle()
    world.run()
    world.advance(1000)
    assert completed(world) == {"n2", "n3"}


# -- schedules ---------------------------------------------------------------------------------------------------------


def test_a_scheduled_job_runs_at_its_times_only(world: World) -> None:
    world.service("a", mode=job(1, 1), labels=EVERY_FIVE)
    world.advance(FIRST_DUE_S - 1)
    assert world.tasks("a") == []
    world.advance(1)
    world.run()
    assert world.get_service("a").job_iteration == 1
    assert completed(world) == {1}
    world.advance(299)
    assert world.get_service("a").job_iteration == 1
    world.advance(1)
    assert world.get_service("a").job_iteration == 2


def test_runs_that_were_missed_are_made_up_for_by_one(world: World) -> None:
    world.service("a", mode=GLOBAL, labels=EVERY_FIVE)
    world.settle()
    world.now_ns += 3600 * SECOND_NS  # nobody planned for an hour
    world.run()
    assert world.get_service("a").job_iteration == 1
    assert completed(world) == {"n1", "n2", "n3"}
    world.advance(300)
    assert world.get_service("a").job_iteration == 2


def test_a_run_waits_for_the_one_before(world: World) -> None:
    world.service("a", mode=job(2, 1), labels=EVERY_FIVE)
    world.advance(FIRST_DUE_S + 1000)
    assert world.get_service("a").job_iteration == 1
    world.run()
    assert world.get_service("a").job_iteration == 2, "the runs that came due meanwhile are one"


def test_a_run_that_failed_for_good_does_not_keep_the_next_from_coming(world: World) -> None:
    world.service("a", mode=job(1, 1), labels=EVERY_FIVE, restart=RestartPolicy(RestartCondition.NONE))
    world.advance(FIRST_DUE_S)
    world.fail(world.tasks("a")[0])
    world.advance(300)
    assert world.get_service("a").job_iteration == 2
    assert [t.status.state for t in world.tasks("a")] == [TaskState.FAILED, TaskState.ASSIGNED]
