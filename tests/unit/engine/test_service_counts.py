"""What `service ls` says of how far a service is."""

from __future__ import annotations

from agent.engine.convert_services import Counts
from agent.engine.services import count
from cluster.model.ids import NodeId, ServiceId, TaskId
from cluster.model.objects import Service, Task, TaskStatus
from cluster.model.specs import ContainerSpec, ServiceMode, ServiceModeKind, ServiceSpec, TaskSpec
from cluster.model.task_state import TaskState

SPEC = TaskSpec(ContainerSpec("busybox"))


def task(id: str, state: TaskState, *, slot: int = 0, node: str = "n", run: int = 2) -> Task:
    return Task(TaskId(id), ServiceId("j"), SPEC, slot=slot, node_id=NodeId(node), status=TaskStatus(state), job_iteration=run)


def job(kind: ServiceModeKind) -> Service:
    return Service(ServiceId("j"), ServiceSpec("j", SPEC, mode=ServiceMode(kind, 3, 2)), job_iteration=2)


def test_a_slot_whose_work_was_done_twice_has_completed_once() -> None:
    done, goes_on = TaskState.COMPLETE, TaskState.RUNNING
    tasks = (task("a", done, slot=1, node="n1"), task("b", done, slot=1, node="n2"), task("c", goes_on, slot=2), task("d", done, slot=3, run=1))
    assert count(job(ServiceModeKind.REPLICATED_JOB), tasks) == Counts(running=1, desired=2, completed=1)


def test_a_global_job_has_completed_once_on_each_node() -> None:
    tasks = tuple(task(node, TaskState.COMPLETE, node=node) for node in ("n1", "n2"))
    assert count(job(ServiceModeKind.GLOBAL_JOB), tasks).completed == 2
