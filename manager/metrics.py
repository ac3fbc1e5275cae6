"""What a manager measures of itself, under SwarmKit's names. Owns the names and what is counted from the store when asked; each manager answers for itself,
whoever leads.

Names and help texts: SwarmKit's manager/metrics, manager/state/raft, manager/state/store and manager/dispatcher. How a value becomes text is
cluster/metrics.py's.
"""

from __future__ import annotations

from collections import Counter
from time import perf_counter

from cluster.metrics import NO_LABELS, Histogram, gauge, histogram
from cluster.model.changes import Change, Kind
from cluster.model.objects import NodeState
from cluster.model.task_state import TaskState, title
from manager.raft.driver import Driver
from manager.store import Batch, Store


class MeasuredStore(Store):
    """The store of a manager process: times its writes, refused ones too."""

    def __init__(self) -> None:
        super().__init__()
        self.write_times = Histogram()

    def apply(self, index: int, changes: tuple[Change, ...]) -> Batch:
        began_s = perf_counter()
        try:
            return super().apply(index, changes)
        finally:
            self.write_times.observe(perf_counter() - began_s)


def exposition(store: MeasuredStore, driver: Driver, scheduling_delays: Histogram) -> str:
    """As this manager knows it now."""
    return "".join((
        histogram(
            "swarm_dispatcher_scheduling_delay_seconds", "Scheduling delay is the time a task takes to go from NEW to RUNNING state.", scheduling_delays
        ),
        counted(store, leads=driver.leader),
        histogram("swarm_raft_snapshot_latency_seconds", "Raft snapshot create latency.", driver.snapshot_times),
        histogram("swarm_raft_transaction_latency_seconds", "Raft transaction latency.", driver.transaction_times),
        histogram("swarm_store_write_tx_latency_seconds", "Raft store write tx latency.", store.write_times),
    ))  # fmt: skip


def counted(store: Store, *, leads: bool) -> str:
    """The objects of the cluster, by kind and state. Pure."""
    nodes = Counter(node.status.state for node in store.all(Kind.NODE))
    tasks = Counter(task.status.state for task in store.all(Kind.TASK))
    return "".join((
        _objects("configs", len(store.all(Kind.CONFIG))),
        gauge("swarm_manager_leader", "Indicates if this manager node is a leader", [(NO_LABELS, int(leads))]),
        _objects("networks", len(store.all(Kind.NETWORK))),
        gauge("swarm_manager_nodes", "The number of nodes", [({"state": state.value}, nodes[state]) for state in sorted(NodeState)]),
        _objects("secrets", len(store.all(Kind.SECRET))),
        _objects("services", len(store.all(Kind.SERVICE))),
        gauge(
            "swarm_manager_tasks_total", "The number of tasks in the cluster object store",
            [({"state": title(state)}, tasks[state]) for state in sorted(TaskState, key=title)],
        ),
    ))  # fmt: skip


def _objects(kind: str, number: int) -> str:
    return gauge(f"swarm_manager_{kind}_total", f"The number of {kind} in the cluster object store", [(NO_LABELS, number)])
