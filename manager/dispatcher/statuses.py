"""What agents report of their tasks: judged, gathered, proposed. All reports that are queued go into one proposal, and while the disk is busy with one the next
is on its way: who reports then does not wait for both.

`accept` is pure. A report that is not the node's to make, or that the state machine does not allow, is passed over:
it came late, and the agent's next assignment says how things are. Reports are acknowledged once they are durable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
import trio

from cluster.metrics import Histogram
from cluster.model.changes import Change, Kind, status_of
from cluster.model.errors import ClusterError
from cluster.model.ids import NodeId
from cluster.model.objects import Task, TaskStatus
from cluster.model.task_state import AGENT, TaskState, is_final
from manager.store import Batch, Store

QUEUED_REPORTS: Final = 4096  # requests waiting; further ones wait at their connection
REPORTS_PER_PROPOSAL: Final = 512  # changes in one log entry
GATHERED_UNDER_WAY_MAX: Final = 2  # what one write of the log carries, and what waits for the next
TEXT_LIMIT: Final = 4096  # characters of a status's message or error

Updates = tuple[tuple[str, TaskStatus], ...]
NOTHING_PROPOSED: Final[Mapping[str, TaskState]] = MappingProxyType({})


def accept(store: Store, reports: Iterable[tuple[NodeId, Updates]], proposed: Mapping[str, TaskState] = NOTHING_PROPOSED) -> tuple[Change, ...]:
    """The changes that these reports make, in order. `proposed`: the states of tasks that are on their way into the store."""
    changes: list[Change] = []
    reached = dict(proposed)
    for node_id, updates in reports:
        for task_id, status in updates:
            task = store.get(Kind.TASK, task_id)
            if task is None or task.node_id != node_id:
                continue
            known = reached.get(task_id, task.status.state)
            if _allowed(known, status.state):
                reached[task_id] = status.state
                changes.append(status_of(task_id, _bounded(status)))
    return tuple(changes)


def _allowed(known: TaskState, reported: TaskState) -> bool:
    if reported is known:
        return known in AGENT and not is_final(known)
    return reported in AGENT.get(known, ())


def _bounded(status: TaskStatus) -> TaskStatus:
    if len(status.message) <= TEXT_LIMIT and len(status.err) <= TEXT_LIMIT:
        return status
    return msgspec.structs.replace(status, message=status.message[:TEXT_LIMIT], err=status.err[:TEXT_LIMIT])


def delays_s(batch: Batch, now_ns: int) -> Iterator[float]:
    """How long ago each task was created that began to run with this commit. Pure."""
    for event in batch.events:
        before, after = event.before, event.after
        if isinstance(before, Task) and isinstance(after, Task) and before.status.state < after.status.state is TaskState.RUNNING:
            yield max(now_ns - after.meta.created_at_ns, 0) / 1e9  # another manager's clock may have been ahead


class _Report:
    __slots__ = ("done", "failure", "node_id", "updates")

    def __init__(self, node_id: NodeId, updates: Updates) -> None:
        self.node_id = node_id
        self.updates = updates
        self.done = trio.Event()
        self.failure: ClusterError | None = None


class Reports:
    """The queue between sessions and the log. `propose` is the Raft driver's; `scheduling_delays` gets what `delays_s` finds."""

    def __init__(
        self, store: Store, propose: Callable[[tuple[Change, ...]], Awaitable[Batch]], wall_ns: Callable[[], int], scheduling_delays: Histogram
    ) -> None:
        self._store = store
        self._propose = propose
        self._wall_ns = wall_ns
        self._scheduling_delays = scheduling_delays
        self._send, self._receive = trio.open_memory_channel[_Report](QUEUED_REPORTS)
        self._proposed: dict[str, TaskState] = {}  # of what is under way
        self._slots = trio.Semaphore(GATHERED_UNDER_WAY_MAX)

    async def submit(self, node_id: NodeId, updates: Updates) -> None:
        """Return when the reports are durable. Raises what the proposal raised; the agent then reports again.

        When cancelled, the reports are made nevertheless.
        """
        report = _Report(node_id, updates)
        await self._send.send(report)
        await report.done.wait()
        if report.failure is not None:
            raise report.failure

    async def run(self) -> None:
        """Propose what is queued, for ever."""
        gathered: list[_Report] = []
        async with trio.open_nursery() as nursery:
            while True:
                await self._slots.acquire()
                reports = [await self._receive.receive()]
                while len(reports) < QUEUED_REPORTS:
                    try:
                        reports.append(self._receive.receive_nowait())
                    except trio.WouldBlock:
                        break
                changes = accept(self._store, ((r.node_id, r.updates) for r in reports), self._proposed)
                states = {change.id: change.after.state for change in changes if isinstance(change.after, TaskStatus)}
                self._proposed |= states
                before, gathered = gathered, reports
                nursery.start_soon(self._make, reports, before, changes, states)

    async def _make(self, reports: list[_Report], before: list[_Report], changes: tuple[Change, ...], states: Mapping[str, TaskState]) -> None:
        """`before`: what was gathered before, against which these were judged. `states`: what the changes bring their tasks to."""
        failure: ClusterError | None = None
        try:
            for start in range(0, len(changes), REPORTS_PER_PROPOSAL):
                batch = await self._propose(changes[start : start + REPORTS_PER_PROPOSAL])
                for delay_s in delays_s(batch, self._wall_ns()):
                    self._scheduling_delays.observe(delay_s)
        except ClusterError as error:
            failure = error
        finally:
            for task_id, state in states.items():
                if self._proposed.get(task_id) is state:  # nothing later is under way
                    del self._proposed[task_id]
            self._slots.release()
        for judged in before:
            await judged.done.wait()
            failure = failure or judged.failure
        for report in reports:
            report.failure = failure
            report.done.set()
