"""Statuses are batched, never lost, never sent backwards."""

import trio

from agent.reporter import Reporter
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
            raise ConnectionError

        try:
            await reporter.run(broken)
        except ConnectionError:
            pass
        with trio.CancelScope() as scope:

            async def send(batch: UpdateStatuses) -> None:
                sent.append(dict(batch.updates))
                scope.cancel()

            await reporter.run(send)

    trio.run(main)
    assert sent == [{"a": TaskStatus(S.RUNNING)}]
