"""What is told of the changes of tasks."""

from __future__ import annotations

import msgspec

from agent.engine.convert import mapping
from agent.engine.task_events import changed, concerns, remembered
from agent.events import Event
from cluster.model.ids import NodeId, ServiceId, TaskId
from cluster.model.objects import Meta, Task, TaskStatus
from cluster.model.specs import ContainerSpec, TaskSpec
from cluster.model.task_state import TaskState

NEW = Task(
    TaskId("t"), ServiceId("s"), TaskSpec(ContainerSpec("i")), Meta(created_at_ns=1, updated_at_ns=1), "web", slot=2,
    status=TaskStatus(TaskState.NEW, 1), desired_state=TaskState.READY, cause="replaces web.2 (o): node n is drained",
)  # fmt: skip


def told(events: object) -> list[tuple[str, int, str, str]]:
    found: list[tuple[str, int, str, str]] = []
    for event in events:  # type: ignore[attr-defined]
        said = mapping(event.attributes)
        found.append((event.action, event.time_ns, said.get("by", ""), said.get("cause", "")))
    return found


def with_status(task: Task, state: TaskState, at: int, **fields: object) -> Task:
    status = TaskStatus(state, at, **fields)  # type: ignore[arg-type]
    return msgspec.structs.replace(task, status=status, history=(*task.history, task.status))


ASSIGNED = with_status(msgspec.structs.replace(NEW, node_id=NodeId("n")), TaskState.ASSIGNED, 2, message="scheduler assigned task to node")


def test_a_new_task_says_why_it_was_made() -> None:
    assert told(changed(None, NEW)) == [("create", 1, "manager", NEW.cause)]
    assert [action for action, *_ in told(changed(None, ASSIGNED))] == ["create", "assigned"]


def test_each_state_is_told_once_also_those_between_two_reports() -> None:
    later = with_status(with_status(ASSIGNED, TaskState.STARTING, 3, message="starting"), TaskState.FAILED, 5, err="task: non-zero exit (3)", exit_code=3)
    events = list(changed(ASSIGNED, later))
    assert told(events) == [("starting", 3, "agent", "starting"), ("failed", 5, "agent", "task: non-zero exit (3)")]
    assert [(mapping(e.attributes)["from"], mapping(e.attributes).get("exitCode")) for e in events] == [("assigned", None), ("starting", "3")]
    assert told(changed(later, later)) == []


def test_what_is_wished_is_told_with_its_reason() -> None:
    released = msgspec.structs.replace(ASSIGNED, desired_state=TaskState.RUNNING, meta=Meta(updated_at_ns=7))
    assert told(changed(ASSIGNED, released)) == [("release", 7, "manager", "its delay is over and the task before it has stopped")]
    stopped = msgspec.structs.replace(released, desired_state=TaskState.SHUTDOWN, stop_cause="replaced by an update", meta=Meta(updated_at_ns=8))
    assert told(changed(released, stopped)) == [("stop", 8, "manager", "replaced by an update")]
    assert [action for action, *_ in told(changed(stopped, None))] == ["forget"]


def test_a_task_remembers_its_life() -> None:
    over = with_status(with_status(ASSIGNED, TaskState.RUNNING, 3), TaskState.COMPLETE, 9)
    assert [(action, at) for action, at, *_ in told(remembered(over))] == [("create", 1), ("assigned", 2), ("running", 3), ("complete", 9)]


def test_what_was_wished_before_a_task_was_to_stop_is_not_made_up() -> None:
    stopped = msgspec.structs.replace(ASSIGNED, desired_state=TaskState.SHUTDOWN, stop_cause="replaced by an update", meta=Meta(updated_at_ns=8))
    wishes = {event.action: mapping(event.attributes).get("desired") for event in remembered(with_status(stopped, TaskState.RUNNING, 3))}
    assert wishes == {"create": None, "assigned": None, "stop": "shutdown", "running": None}


def test_filters_of_task_events() -> None:
    event = Event("task", "failed", "t", (("name", "web.2"), ("service", "web"), ("serviceID", "s"), ("nodeID", "n"), ("node", "host")), "swarm")
    kind = {"type": ("task",)}
    for filters in ({"service": ("web",)}, {"service": ("other", "s")}, {"node": ("host",)}, {"task": ("web.2",)}, {"event": ("failed",)}, {}):
        assert concerns(event, {**kind, **filters})
    for filters in ({"service": ("we",)}, {"event": ("running",)}, {"scope": ("local",)}, {"container": ("t",)}):
        assert not concerns(event, {**kind, **filters})
