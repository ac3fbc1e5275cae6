"""Statuses are batched, never lost, never sent backwards; what others wait for is not kept back."""

import pytest
import trio
import trio.testing

from agent.reporter import BATCHES_UNDER_WAY_MAX, Reporter
from cluster.model.errors import Unavailable
from cluster.model.objects import TaskStatus
from cluster.model.task_state import TaskState
from cluster.wire.calls import UpdateStatuses

S = TaskState


def test_what_is_queued_goes_as_one_batch_with_the_latest_state() -> None:
    sent: list[dict[str, TaskStatus]] = []

    async def main() -> None:
        reporter = Reporter()
        reporter.report("a", TaskStatus(S.ACCEPTED))
        reporter.report("a", TaskStatus(S.RUNNING))
        reporter.report("a", TaskStatus(S.STARTING))
        reporter.report("b", TaskStatus(S.FAILED))
        with trio.CancelScope() as scope:

            async def send(batch: UpdateStatuses) -> None:
                sent.append(dict(batch.updates))
                scope.cancel()

            await reporter.run(send)

    trio.run(main)
    assert sent == [{"a": TaskStatus(S.RUNNING), "b": TaskStatus(S.FAILED)}]


def test_a_failed_batch_waits_for_the_next_session() -> None:
    sent: list[dict[str, TaskStatus]] = []

    async def main() -> None:
        reporter = Reporter()
        reporter.report("a", TaskStatus(S.STARTING))

        async def broken(_batch: UpdateStatuses) -> None:
            reporter.report("a", TaskStatus(S.RUNNING))
            raise Unavailable("the connection is lost")

        with pytest.raises(Unavailable):
            await reporter.run(broken)
        with trio.CancelScope() as scope:

            async def send(batch: UpdateStatuses) -> None:
                sent.append(dict(batch.updates))
                scope.cancel()

            await reporter.run(send)

    trio.run(main)
    assert sent == [{"a": TaskStatus(S.RUNNING)}]


def test_a_task_that_runs_or_has_ended_is_told_of_while_other_batches_are_under_way() -> None:
    sent: list[dict[str, S]] = []

    async def main() -> None:
        reporter = Reporter()

        async def unanswered(batch: UpdateStatuses) -> None:
            sent.append({task: status.state for task, status in batch.updates})
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reporter.run, unanswered)
            for task, state in zip("abcdefg", (S.STARTING, S.PREPARING, S.RUNNING, S.STARTING, S.FAILED, S.RUNNING, S.RUNNING), strict=True):
                reporter.report(task, TaskStatus(state))
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert sent == [{"a": S.STARTING}, {"b": S.PREPARING, "c": S.RUNNING}, {"d": S.STARTING, "e": S.FAILED}, {"f": S.RUNNING}]
    assert len(sent) == BATCHES_UNDER_WAY_MAX  # the last waits for an answer


def test_all_that_was_under_way_waits_for_the_next_session() -> None:
    sent: list[dict[str, S]] = []

    async def main() -> None:
        reporter = Reporter()

        async def broken(batch: UpdateStatuses) -> None:
            if "b" in dict(batch.updates):
                await trio.sleep_forever()
            reporter.report("b", TaskStatus(S.FAILED))
            await trio.testing.wait_all_tasks_blocked()
            raise Unavailable("the connection is lost")

        reporter.report("a", TaskStatus(S.RUNNING))
        with pytest.raises(Unavailable):
            await reporter.run(broken)
        with trio.CancelScope() as scope:

            async def send(batch: UpdateStatuses) -> None:
                sent.append({task: status.state for task, status in batch.updates})
                scope.cancel()

            await reporter.run(send)

    trio.run(main)
    assert sent == [{"a": S.RUNNING, "b": S.FAILED}]
