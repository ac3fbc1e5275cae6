"""Services that wait for others: until when, what is said meanwhile, and that they wait but once."""

from __future__ import annotations

import pytest

from cluster.model import depends_on
from cluster.model.errors import InvalidArgument
from cluster.model.specs import ContainerSpec, HealthCheck, RestartCondition, RestartPolicy, ServiceSpec, TaskSpec
from cluster.model.task_state import TaskState
from manager.control import validate
from manager.explain import why
from tests.unit.planner.world import World


def waiting_for(*texts: str) -> tuple[tuple[str, str], ...]:
    return ((depends_on.LABEL, ",".join(texts)),)


def summary(world: World, service: str) -> str:
    return why(world.store, world.reasons, service).tasks[0].summary


def test_a_service_starts_when_what_it_waits_for_runs() -> None:
    world = World(nodes=2)
    world.service("web", replicas=2, labels=waiting_for("db=started"))
    world.settle()
    assert [task.status.state for task in world.tasks("web")] == [TaskState.PENDING] * 2
    assert summary(world, "web") == "waits for service db, which does not exist"
    world.service("db", replicas=2)
    world.settle()
    assert summary(world, "web") == "waits for service db to be running (0 of 2 tasks)"
    assert world.tasks("web")[0].status.err == "waits for service db to be running (0 of 2 tasks)"
    world.run()
    assert len(world.running("db")) == 2
    assert len(world.running("web")) == 2


def test_each_task_of_the_other_service_counts() -> None:
    world = World(nodes=2)
    world.service("db", replicas=2)
    world.service("web", labels=waiting_for("db=started"))
    world.settle()
    one, _ = world.tasks("db")
    for state in (TaskState.ACCEPTED, TaskState.STARTING, TaskState.RUNNING):
        world.report(one, state)
    world.settle()
    assert summary(world, "web") == "waits for service db to be running (1 of 2 tasks)"


def test_healthy_and_started_differ_where_there_is_a_health_check() -> None:
    world = World(nodes=1)
    world.service("db", container=ContainerSpec("x", health=HealthCheck(test=("CMD", "true"))))
    world.service("eager", labels=waiting_for("db=started"))
    world.service("careful", labels=waiting_for("db=healthy"))
    world.settle()
    (db,) = world.tasks("db")
    world.report(db, TaskState.STARTING)
    world.settle()
    assert world.tasks("eager")[0].status.state is TaskState.ASSIGNED
    assert summary(world, "careful") == "waits for service db to be healthy (0 of 1 tasks)"
    world.report(db, TaskState.RUNNING)
    world.settle()
    assert world.tasks("careful")[0].status.state is TaskState.ASSIGNED


def test_a_completed_task_opens_the_way_and_a_failed_one_does_not() -> None:
    world = World(nodes=1)
    world.service("migrate", restart=RestartPolicy(RestartCondition.ON_FAILURE))
    world.service("web", labels=waiting_for("migrate=completed_successfully"))
    world.settle()
    world.fail(world.tasks("migrate")[0])
    world.settle()
    assert summary(world, "web") == "waits for service migrate to complete (0 of 1 tasks)"
    world.advance(10)
    world.settle()
    (again,) = world.live("migrate")
    world.report(again, TaskState.COMPLETE)
    world.run()
    assert len(world.running("web")) == 1


def test_a_service_that_has_begun_waits_no_more() -> None:
    world = World(nodes=1)
    world.service("db")
    world.service("web", labels=waiting_for("db=healthy"))
    world.run()
    world.scale("db", 0)
    world.remove("db")
    world.run()
    world.fail(world.running("web")[0])
    world.settle()
    world.advance(10)
    world.run()
    assert len(world.running("web")) == 1
    world.scale("web", 3)
    world.run()
    assert len(world.running("web")) == 3


def test_a_chain_starts_from_its_end() -> None:
    world = World(nodes=3)
    for name, needed in (("a", "b=started"), ("b", "c=started,d=healthy")):
        world.service(name, labels=waiting_for(*needed.split(",")))
    world.settle()
    assert summary(world, "b") == "waits for service c, which does not exist; waits for service d, which does not exist"
    world.service("c")
    world.service("d", global_=True)
    world.run()
    assert [len(world.running(name)) for name in "abcd"] == [1, 1, 1, 3]


@pytest.mark.parametrize("value", ["db=nosuch", "=healthy", "web=started"])
def test_a_label_that_can_not_be_honoured_is_refused(value: str) -> None:
    spec = ServiceSpec("web", TaskSpec(ContainerSpec("busybox")), labels=waiting_for(value))
    with pytest.raises(InvalidArgument, match=r"invalid label festoon\.depends-on"):
        validate.service_spec(spec)
