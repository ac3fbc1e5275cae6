"""The node's share of the cluster: one trio task per assigned task, and the networks' tables. Follows the managers' stream; decides nothing.

A message's networks, secrets and configs are applied before its tasks start, so that a task finds what it needs; the names that it takes away go as soon as it
is heard. A task that has left the set loses its container.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import trio

from agent.dependencies import Dependencies
from agent.executor import Executor
from cluster.model.assignments import Assignments, Item, TaskItem
from cluster.model.objects import NodeDescription, Task

if TYPE_CHECKING:
    from agent.containers import Containers
    from agent.networks import Networks
    from agent.pulls import Pulls
    from agent.reporter import Reporter

log = logging.getLogger("festoon.worker")
Argument = TypeVar("Argument")


class Worker:
    """State: an executor and its cancel scope per assigned task."""

    def __init__(self, containers: Containers, networks: Networks, pulls: Pulls, reporter: Reporter, node: NodeDescription, node_id: str) -> None:
        self._containers, self._networks, self._pulls, self._reporter = containers, networks, pulls, reporter
        self._node, self._node_id = node, node_id
        self._dependencies = Dependencies()
        self._executors: dict[str, Executor] = {}
        self._scopes: dict[str, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the tasks' own trio tasks. Cancelled, it leaves every container as it is."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def hear(self, message: Assignments) -> None:
        """Take in what one message says of networks; `apply` of it follows, after those of the messages before."""
        self._networks.hear(_no_tasks(message), message.removals, complete=message.complete, begins=message.begins)

    async def apply(self, message: Assignments) -> None:
        """Take over one message that was heard: what tasks need first, then tasks."""
        tasks = {item.task.id: item.task for item in message.upserts if isinstance(item, TaskItem)}
        self._dependencies.assign(_no_tasks(message), message.removals, complete=message.complete)
        await self._networks.apply()
        if message.complete:
            gone = [task_id for task_id in self._executors if task_id not in tasks]
            known = {r.task_id for r in self._containers.records() if r.task_id}
            for task_id in sorted(known - set(tasks) - set(self._executors)):
                self._start_soon(self._drop_container, task_id)
        else:
            gone = [key.removeprefix("task/") for key in message.removals if key.startswith("task/")]
        for task_id in gone:
            self._start_soon(self._discard, task_id)
        for task in tasks.values():
            self._take(task)

    def tasks(self) -> tuple[Task, ...]:
        return tuple(e.task for e in self._executors.values())

    async def abandon(self) -> None:
        """Leave the swarm: every task's container is removed."""
        async with trio.open_nursery() as nursery:
            for task_id in tuple(self._executors):
                nursery.start_soon(self._discard, task_id)
        async with trio.open_nursery() as nursery:
            for record in self._containers.records():
                if record.task_id:
                    nursery.start_soon(self._drop_container, record.task_id)

    def _take(self, task: Task) -> None:
        executor = self._executors.get(task.id)
        if executor is not None:
            executor.update(task)
            if task.status.state < executor.status.state:
                self._reporter.report(task.id, executor.status)  # the managers missed it
            return
        executor = self._executors[task.id] = Executor(
            task, self._node, self._node_id, self._containers, self._networks, self._pulls, self._reporter, self._dependencies,
        )  # fmt: skip
        self._start_soon(self._run, executor)

    async def _run(self, executor: Executor) -> None:
        with trio.CancelScope() as scope:
            self._scopes[executor.task.id] = scope
            try:
                await executor.run()
            except Exception as error:  # noqa: BLE001  the boundary: our own bug with one task must not end the node
                log.exception("a task's executor failed by a bug", extra={"fields": {"task": executor.task.id}})
                executor.give_up(f"internal error: {type(error).__name__}")

    async def _discard(self, task_id: str) -> None:
        executor = self._executors.pop(task_id, None)
        self._reporter.forget(task_id)
        if scope := self._scopes.pop(task_id, None):
            scope.cancel()
        if executor is not None:
            await executor.discard()

    async def _drop_container(self, task_id: str) -> None:
        if record := self._containers.by_task(task_id):
            await self._containers.remove(record.id, force=True)

    def _start_soon(self, function: Callable[[Argument], Awaitable[None]], argument: Argument) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(function, argument)


def _no_tasks(message: Assignments) -> tuple[Item, ...]:
    return tuple(item for item in message.upserts if not isinstance(item, TaskItem))
