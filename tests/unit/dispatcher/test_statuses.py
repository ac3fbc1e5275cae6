"""Which reports count, and that everything queued goes into one proposal."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from cluster.metrics import Histogram
from cluster.model.changes import Change, Kind, created
from cluster.model.errors import Unavailable
from cluster.model.ids import NodeId, ServiceId, TaskId
from cluster.model.objects import Meta, Task, TaskStatus
from cluster.model.specs import ContainerSpec, TaskSpec
from cluster.model.task_state import AGENT, TaskState
from manager.dispatcher import statuses
from manager.store import Batch, Store

ONE, TWO = NodeId("one"), NodeId("two")
S = TaskState
SPEC = TaskSpec(ContainerSpec("busybox"))


def store_of(state: TaskState, count: int = 1) -> Store:
    store = Store()
    tasks = (Task(TaskId(f"t{i}"), ServiceId("s"), SPEC, node_id=ONE, status=TaskStatus(state)) for i in range(count))
    store.apply(1, tuple(created(t) for t in tasks))
    return store


@pytest.mark.parametrize("known", list(TaskState))
@pytest.mark.parametrize("reported", list(TaskState))
def test_only_the_agents_transitions_count(known: TaskState, reported: TaskState) -> None:
    changes = statuses.accept(store_of(known), [(ONE, (("t0", TaskStatus(reported)),))])
    assert bool(changes) == (reported in AGENT.get(known, ()) or (reported is known and known in AGENT))


def test_a_node_reports_only_its_own_tasks() -> None:
    store = store_of(TaskState.ASSIGNED)
    assert statuses.accept(store, [(TWO, (("t0", TaskStatus(TaskState.RUNNING)),))]) == ()
    assert statuses.accept(store, [(ONE, (("gone", TaskStatus(TaskState.RUNNING)),))]) == ()


def test_reports_of_one_batch_build_on_each_other() -> None:
    steps = (TaskState.PREPARING, TaskState.RUNNING, TaskState.STARTING, TaskState.FAILED, TaskState.RUNNING)
    changes = statuses.accept(store_of(TaskState.ASSIGNED), [(ONE, tuple(("t0", TaskStatus(s)) for s in steps))])
    states = [c.after.state for c in changes if isinstance(c.after, TaskStatus)]
    assert states == [TaskState.PREPARING, TaskState.RUNNING, TaskState.FAILED]


def test_long_texts_are_cut() -> None:
    status = TaskStatus(TaskState.FAILED, err="x" * 100_000)
    (change,) = statuses.accept(store_of(TaskState.RUNNING), [(ONE, (("t0", status),))])
    assert isinstance(change.after, TaskStatus)
    assert len(change.after.err) == statuses.TEXT_LIMIT


def test_what_is_queued_goes_into_one_proposal() -> None:
    store = store_of(TaskState.ASSIGNED, count=10)
    proposals: list[int] = []

    async def propose(changes: tuple[Change, ...]) -> Batch:
        proposals.append(len(changes))
        await trio.testing.wait_all_tasks_blocked()
        return store.apply(store.index + 1, changes)

    async def main() -> None:
        reports = statuses.Reports(store, propose, lambda: 0, Histogram())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reports.run)
            async with trio.open_nursery() as submitting:
                for i in range(10):
                    submitting.start_soon(reports.submit, ONE, ((f"t{i}", TaskStatus(TaskState.RUNNING)),))
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert sum(proposals) == 10
    assert len(proposals) <= 2
    assert {t.status.state for t in store.all(Kind.TASK)} == {TaskState.RUNNING}


def test_a_report_does_not_wait_for_the_disk_to_be_done_with_the_one_before() -> None:
    store, disk = store_of(TaskState.STARTING, count=3), trio.Event()
    proposals: list[list[tuple[str, TaskState]]] = []

    async def propose(changes: tuple[Change, ...]) -> Batch:
        proposals.append([(change.id, change.after.state) for change in changes if isinstance(change.after, TaskStatus)])
        await disk.wait()
        return store.apply(store.index + 1, changes)

    async def main() -> None:
        reports = statuses.Reports(store, propose, lambda: 0, Histogram())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reports.run)
            async with trio.open_nursery() as submitting:
                for task, state in (("t0", S.FAILED), ("t1", S.RUNNING), ("t1", S.FAILED), ("t0", S.RUNNING), ("t2", S.RUNNING)):
                    submitting.start_soon(reports.submit, ONE, ((task, TaskStatus(state)),))
                    await trio.testing.wait_all_tasks_blocked()
                assert proposals == [[("t0", S.FAILED)], [("t1", S.RUNNING)]]  # one that is written, one that is next
                disk.set()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert proposals[2:] == [[("t1", S.FAILED), ("t2", S.RUNNING)]]
    assert [task.status.state for task in sorted(store.all(Kind.TASK), key=lambda task: task.id)] == [S.FAILED, S.FAILED, S.RUNNING]


def test_a_report_that_says_nothing_new_fails_with_the_one_that_it_repeats() -> None:
    disk = trio.Event()

    async def propose(changes: tuple[Change, ...]) -> Batch:
        await disk.wait()
        raise Unavailable("the log is full")

    async def main() -> None:
        reports = statuses.Reports(store_of(TaskState.RUNNING), propose, lambda: 0, Histogram())
        failed: list[str] = []

        async def submit() -> None:
            with pytest.raises(Unavailable):
                await reports.submit(ONE, (("t0", TaskStatus(S.FAILED)),))
            failed.append("t0")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reports.run)
            async with trio.open_nursery() as submitting:
                for _ in range(2):
                    submitting.start_soon(submit)
                    await trio.testing.wait_all_tasks_blocked()
                assert not failed
                disk.set()
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_refused_proposal_reaches_every_reporter() -> None:
    async def propose(changes: tuple[Change, ...]) -> Batch:
        raise Unavailable("the log is full")

    async def main() -> None:
        reports = statuses.Reports(store_of(TaskState.ASSIGNED), propose, lambda: 0, Histogram())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reports.run)
            for _ in range(2):
                with pytest.raises(Unavailable, match="the log is full"):
                    await reports.submit(ONE, (("t0", TaskStatus(TaskState.RUNNING)),))
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_the_delay_of_a_task_is_that_from_its_making_to_its_running_once() -> None:
    store = Store()
    made_ns = 5_000_000_000
    store.apply(1, (created(Task(TaskId("t0"), ServiceId("s"), SPEC, node_id=ONE, status=TaskStatus(TaskState.ASSIGNED), meta=Meta(0, made_ns, made_ns))),))
    steps = (TaskState.STARTING, TaskState.RUNNING, TaskState.RUNNING, TaskState.FAILED)
    reports = [statuses.accept(store, [(ONE, (("t0", TaskStatus(step)),))]) for step in steps]
    found = [list(statuses.delays_s(store.apply(store.index + 1, changes), made_ns + 1_500_000_000)) for changes in reports]
    assert found == [[], [1.5], [], []]


def test_a_clock_that_is_behind_makes_no_delay_negative() -> None:
    store = Store()
    store.apply(1, (created(Task(TaskId("t0"), ServiceId("s"), SPEC, node_id=ONE, status=TaskStatus(TaskState.ASSIGNED), meta=Meta(0, 2_000, 2_000))),))
    batch = store.apply(2, statuses.accept(store, [(ONE, (("t0", TaskStatus(TaskState.RUNNING)),))]))
    assert list(statuses.delays_s(batch, 1_000)) == [0.0]
