"""Rolling updates: pace, order, watching, and what happens when the new tasks fail."""

from __future__ import annotations

import pytest

from cluster.model.objects import NodeState, UpdateState
from cluster.model.specs import (
    FailureAction,
    Placement,
    PublishMode,
    RestartPolicy,
    ServiceMode,
    ServiceModeKind,
    UpdateConfig,
    UpdateOrder,
)
from cluster.model.task_state import TaskState
from manager.index import Index
from tests.unit.planner.world import SECOND_NS, World, port, service_spec

ON_ERROR = "due to failure or early termination of task"


def started(replicas: int = 3, nodes: int = 3, **fields: object) -> World:
    world = World(nodes=nodes)
    world.service("a", replicas=replicas, image="old", **fields)
    world.run()
    world.advance(10)
    return world


def images(world: World) -> list[str]:
    return [t.spec.container.image for t in world.running()]


def state(world: World) -> tuple[UpdateState, str] | None:
    status = world.get_service("a").update_status
    return None if status is None else (status.state, status.message)


def update(world: World, config: UpdateConfig | None = None, *, image: str = "new", **fields: object) -> None:
    world.update("a", replicas=3, image=image, update=config, **fields)


def test_one_at_a_time_stop_first_and_completed_after_the_monitoring_time() -> None:
    world = started()
    update(world)
    world.settle()
    assert state(world) == (UpdateState.UPDATING, "update in progress")
    for _ in range(40):
        assert len(world.running()) >= 2, "stop-first: at most one slot is below what is wished"
        world.step_agents()
        world.settle()
    assert images(world) == ["new"] * 3
    assert state(world) == (UpdateState.UPDATING, "update in progress")
    world.advance(5)
    assert state(world) == (UpdateState.COMPLETED, "update completed")
    status = world.get_service("a").update_status
    assert status is not None
    assert status.completed_at_ns == world.now_ns


def test_the_old_task_has_stopped_before_the_new_one_starts() -> None:
    world = started(replicas=1)
    update(world)
    world.settle()
    (new,) = [t for t in world.live() if t.desired_state is TaskState.READY]
    for _ in range(10):
        world.step_agents([new.node_id] if new.node_id != world.tasks()[0].node_id else [])
    assert world.get_task(new.id).status.state <= TaskState.READY


def test_parallelism_zero_does_all_at_once() -> None:
    world = started()
    update(world, UpdateConfig(parallelism=0))
    world.settle()
    assert len([t for t in world.live() if t.spec.container.image == "new"]) == 3


def test_the_delay_lies_between_two_steps() -> None:
    world = started()
    update(world, UpdateConfig(delay_ns=30 * SECOND_NS))
    world.run()
    assert images(world).count("new") == 1
    world.advance(29)
    world.run()
    assert images(world).count("new") == 1
    world.advance(1)
    world.run()
    assert images(world).count("new") == 2


def test_start_first_never_runs_fewer() -> None:
    world = started()
    update(world, UpdateConfig(order=UpdateOrder.START_FIRST))
    world.settle()
    assert len(world.live()) == 4
    for _ in range(60):
        assert len(world.running()) >= 3
        world.step_agents()
        world.settle()
    assert images(world) == ["new"] * 3
    assert len(world.live()) == 3


def test_an_old_task_that_ends_while_its_successor_starts_is_not_replaced() -> None:
    world = started(replicas=1)
    update(world, UpdateConfig(order=UpdateOrder.START_FIRST))
    world.scale("a", 1)
    world.settle()
    (old,) = world.running()
    world.fail(old)
    world.settle()
    assert [t.spec.container.image for t in world.live() if t.slot == old.slot] == ["new"]


def test_a_successor_that_runs_ends_its_predecessor_also_while_the_next_update_is_paused() -> None:
    """Else both ran for ever: one replica too many (found by the planner's property)."""
    world = started(replicas=1)
    world.update("a", replicas=3, image="second", update=UpdateConfig(order=UpdateOrder.START_FIRST))
    world.settle()
    world.update("a", replicas=3, image="third", update=UpdateConfig(failure_action=FailureAction.PAUSE))
    world.settle()
    third = [t for t in world.live() if t.spec.container.image == "third"]
    assert {t.slot for t in third}.isdisjoint({1}), "slots where nothing runs come first"
    world.fail(third[0])
    world.settle()
    assert state(world) == (UpdateState.PAUSED, f"update paused {ON_ERROR} {third[0].id}")
    world.run()
    world.advance(10)
    world.run()
    assert sorted(t.slot for t in world.running()) == [1, 2, 3]
    (old,) = (t for t in world.tasks() if t.spec.container.image == "old")
    assert old.stop_cause == "replaced by an update"


def test_an_update_is_not_complete_while_a_successor_that_failed_is_being_replaced() -> None:
    """Else nobody ended the old task any more (found by the simulated world)."""
    world = started(replicas=1)
    config = UpdateConfig(order=UpdateOrder.START_FIRST, monitor_ns=SECOND_NS, failure_action=FailureAction.CONTINUE)
    world.update("a", replicas=1, image="new", update=config)
    world.settle()
    (new,) = (t for t in world.live() if t.spec.container.image == "new")
    world.fail(new)
    world.advance(30)
    assert images(world) == ["old"], "its replacement is not there yet"
    assert state(world) == (UpdateState.UPDATING, "update in progress")
    world.run()
    world.advance(30)
    world.run()
    assert images(world) == ["new"]
    assert state(world) == (UpdateState.COMPLETED, "update completed")


def test_an_update_does_not_wait_for_the_time_of_a_node_whose_clock_runs_ahead() -> None:
    """Found by the simulated world."""
    world = started(replicas=1)
    world.update("a", replicas=1, image="new", update=UpdateConfig(monitor_ns=SECOND_NS, delay_ns=SECOND_NS))
    world.settle()
    for _ in range(12):
        world.step_agents()
        for task in world.live():
            if task.status.state is TaskState.STARTING:
                world.now_ns += 3600 * SECOND_NS
                world.report(task, TaskState.RUNNING)
                world.now_ns -= 3600 * SECOND_NS
        world.settle()
    world.advance(10)
    assert images(world) == ["new"]
    assert state(world) == (UpdateState.COMPLETED, "update completed")


def test_the_newest_task_of_a_slot_is_the_one_that_the_log_has_last_whatever_the_clocks_said() -> None:
    """A leader whose clock is slow makes successors that look older than what they replace (found by the simulated world)."""
    world = started(replicas=1)
    (old,) = world.running()
    world.now_ns -= 40 * SECOND_NS
    world.update("a", replicas=1, image="new", update=UpdateConfig(order=UpdateOrder.START_FIRST, monitor_ns=SECOND_NS))
    world.settle()
    world.fail(old)
    world.settle()
    assert [t.spec.container.image for t in world.live()] == ["new"], "what ended has a successor already"
    world.run()
    assert [t.spec.container.image for t in world.running()] == ["new"]


def test_a_service_that_is_scaled_in_the_middle_of_a_start_first_update_keeps_no_old_task() -> None:
    """Scaling ends the update's status, not the update (found by the simulated world)."""
    world = started(replicas=1)
    world.update("a", replicas=1, image="new", update=UpdateConfig(order=UpdateOrder.START_FIRST, monitor_ns=SECOND_NS))
    world.settle()
    assert len(world.live()) == 2
    world.scale("a", 2)
    world.run()
    world.advance(10)
    world.run()
    assert images(world) == ["new", "new"]
    assert state(world) == (UpdateState.COMPLETED, "update completed")


def test_a_failing_update_pauses_and_names_the_task() -> None:
    world = started()
    update(world, UpdateConfig(delay_ns=30 * SECOND_NS))
    first = fail_first_new(world)
    assert state(world) == (UpdateState.PAUSED, f"update paused {ON_ERROR} {first}")
    world.run()
    world.advance(60)
    world.run()
    assert sorted(images(world)) == ["new", "old", "old"], "what was updated is kept up, the rest stays"


def fail_first_new(world: World) -> str:
    """Fail the first new task as soon as it runs."""
    for _ in range(20):
        for task in world.live():
            if task.spec.container.image == "new" and task.status.state is TaskState.RUNNING:
                world.fail(task)
                world.settle()
                return task.id
        world.settle()
        world.step_agents()
        world.settle()
    raise AssertionError("no new task came to run")


def test_a_task_that_fails_after_the_monitoring_time_does_not_count() -> None:
    world = started()
    update(world, UpdateConfig(delay_ns=60 * SECOND_NS, monitor_ns=2 * SECOND_NS))
    world.run()
    world.advance(3)
    world.fail(next(t for t in world.running() if t.spec.container.image == "new"))
    world.run()
    assert state(world) == (UpdateState.UPDATING, "update in progress")


def test_failures_up_to_the_ratio_are_borne_and_continue_goes_on() -> None:
    for config in (
        UpdateConfig(max_failure_ratio=0.4),
        UpdateConfig(failure_action=FailureAction.CONTINUE),
    ):
        world = started()
        update(world, config)
        world.settle()
        fail_first_new(world)
        assert state(world) == (UpdateState.UPDATING, "update in progress")
        for _ in range(6):
            world.run()
            world.advance(6)
        world.run()
        assert images(world) == ["new"] * 3
        world.advance(6)
        assert state(world) == (UpdateState.COMPLETED, "update completed")


def test_a_failing_update_rolls_back_and_only_what_had_changed_is_changed_back() -> None:
    world = started()
    before = {t.id for t in world.running()}
    update(world, UpdateConfig(delay_ns=30 * SECOND_NS, failure_action=FailureAction.ROLLBACK))
    first = fail_first_new(world)
    assert state(world) == (UpdateState.ROLLBACK_STARTED, f"update rolled back {ON_ERROR} {first}")
    assert world.get_service("a").spec.task.container.image == "old"
    assert world.get_service("a").previous_spec is None
    for _ in range(3):
        world.run()
        world.advance(6)
    assert state(world) == (UpdateState.ROLLBACK_COMPLETED, "rollback completed")
    assert images(world) == ["old"] * 3
    assert len({t.id for t in world.running()} & before) == 2


def test_a_failing_rollback_pauses_and_never_rolls_back_again() -> None:
    world = started(rollback=UpdateConfig(failure_action=FailureAction.ROLLBACK))
    service = world.get_service("a")
    config = UpdateConfig(parallelism=0, failure_action=FailureAction.ROLLBACK)
    spec = service_spec("a", replicas=3, image="new", update=config, rollback=service.spec.rollback)
    world.change(service, spec=spec, previous_spec=service.spec, update_status=None)
    fail_first_new(world)
    world.run()
    victim = next(t for t in world.live() if t.spec.container.image == "old" and t.cause == "service updated")
    world.fail(victim)
    world.settle()
    assert state(world) == (UpdateState.ROLLBACK_PAUSED, f"rollback paused {ON_ERROR} {victim.id}")


def test_scale_alone_is_no_update() -> None:
    world = started()
    before = {t.id for t in world.running()}
    world.scale("a", 4)
    world.run()
    assert state(world) is None
    assert before < {t.id for t in world.running()}


def test_scale_alone_leaves_waiting_tasks_as_they_are() -> None:
    world = World(nodes=1)
    world.service("a", replicas=2, placement=Placement(("node.labels.disk==ssd",)))
    world.settle()
    before = {t.id for t in world.live()}
    world.scale("a", 3)
    world.settle()
    assert before < {t.id for t in world.live()}
    assert state(world) is None


def test_a_changed_constraint_replaces_only_tasks_whose_node_no_longer_fits() -> None:
    world = started()
    before = {t.id: t.node_id for t in world.running()}
    update(world, image="old", placement=Placement(("node.hostname!=n1",)))
    for _ in range(3):
        world.run()
        world.advance(6)
    after = {t.id: t.node_id for t in world.running()}
    assert {id_ for id_, node in before.items() if node != "n1"} < set(after)
    assert "n1" not in after.values()


def test_a_new_leader_continues_an_update() -> None:
    world = started()
    update(world, UpdateConfig(delay_ns=10 * SECOND_NS))
    world.run()
    world.index = Index.build(world.objects())
    for _ in range(4):
        world.run()
        world.advance(10)
    assert images(world) == ["new"] * 3
    assert state(world) == (UpdateState.COMPLETED, "update completed")


def test_a_global_service_is_updated_node_by_node_and_waits_for_those_that_are_away() -> None:
    world = World(nodes=3)
    world.service("a", global_=True, image="old")
    world.run()
    world.advance(10)
    world.set_state("n3", NodeState.UNKNOWN)
    spec = service_spec("a", global_=True, image="new")
    world.change(world.get_service("a"), spec=spec, previous_spec=world.get_service("a").spec)
    for _ in range(3):
        world.run()
        world.advance(6)
    assert images(world) == ["new", "new", "old"]
    world.set_state("n3", NodeState.READY)
    world.change(world.get_service("a"), update_status=None)
    for _ in range(3):
        world.run()
        world.advance(6)
    assert images(world) == ["new"] * 3


def test_a_slot_that_finds_no_node_does_not_hold_up_the_update() -> None:
    world = started()
    placement = Placement(max_replicas=1)
    spec = service_spec("a", image="new", replicas=5, placement=placement, restart=RestartPolicy(delay_ns=0))
    world.change(world.get_service("a"), spec=spec, previous_spec=world.get_service("a").spec)
    for _ in range(3):
        world.run()
        world.advance(6)
    assert images(world) == ["new"] * 3
    assert len([t for t in world.live() if t.status.state is TaskState.PENDING]) == 2
    assert spec.mode == ServiceMode(ServiceModeKind.REPLICATED, 5)


@pytest.mark.parametrize("where", [{"replicas": 2}, {"global_": True}])
def test_start_first_with_a_port_of_the_nodes_frees_the_port_where_no_node_has_it_free(where: dict[str, object]) -> None:
    world = World(nodes=2)
    ports = [port(80, 8000, publish_mode=PublishMode.HOST)]
    world.service("a", image="old", ports=ports, **where)
    world.run()
    config = UpdateConfig(parallelism=1, order=UpdateOrder.START_FIRST)
    world.update("a", image="new", ports=ports, update=config, **where)
    for _ in range(4):
        world.run()
        assert len(world.running("a")) >= 1
        world.advance(6)
    assert images(world) == ["new", "new"]
    assert state(world) == (UpdateState.COMPLETED, "update completed")


def test_start_first_with_a_port_of_the_nodes_starts_first_where_a_node_has_it_free() -> None:
    world = World(nodes=3)
    ports = [port(80, 8000, publish_mode=PublishMode.HOST)]
    world.service("a", image="old", replicas=2, ports=ports)
    world.run()
    world.update("a", image="new", replicas=2, ports=ports, update=UpdateConfig(parallelism=1, order=UpdateOrder.START_FIRST))
    for _ in range(4):
        world.settle()
        while world.step_agents():
            world.settle()
            assert len(world.running("a")) >= 2
        world.advance(6)
    assert images(world) == ["new", "new"]


def test_a_successor_without_a_place_is_not_released_with_the_end_of_what_runs_for_it() -> None:
    """Found by the planner's property: both stood in one plan."""
    world, first = World(nodes=3), UpdateConfig(order=UpdateOrder.START_FIRST, parallelism=0)
    network, ports = world.network("net1"), [port(80, 8000, publish_mode=PublishMode.HOST)]
    world.service("a", global_=True)
    world.settle()
    world.step_agents()
    world.service("holder", ports=ports)
    for _ in range(4):
        world.settle()
        world.step_agents()
    world.update("a", global_=True, networks=[network], update=first)
    world.settle()
    world.update("a", global_=True, networks=[network], ports=ports, update=first)
    world.run()
    (waiting,) = [t for t in world.live("a") if t.status.state is TaskState.PENDING]
    assert "host-mode port already in use" in waiting.status.err
