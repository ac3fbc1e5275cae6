"""SwarmKit's own scheduler workloads: N ready nodes, T tasks, of one service or one-off (each of a service of its own), plain or with a constraint that half
of the nodes satisfy.

*whole path*: from the commit that creates the tasks, as PENDING, to every placement committed in the store and its watch events seen; no Raft, no
network. *wish*: the same from the commit of the service, so that the planner makes the tasks too. *decide*: the choice of the nodes alone. By processor time,
which others on the machine disturb less. SCHEDULER_LARGE=1 adds 100k nodes and a million tasks, with the memory that they take.
"""

from __future__ import annotations

import gc
import os
import resource
import time
from random import Random

from bench.planned import Planned, node, service, task
from bench.report import Report
from cluster.model.changes import Kind, created
from cluster.model.objects import Task
from cluster.model.specs import Placement
from manager import collector
from manager.draft import Draft
from manager.scheduler.place import place

COMMIT: int = 1000
"""Objects that one commit creates."""

HALF = Placement(("node.labels.half==0",))
SIZES = ((1000, 10_000), (1000, 100_000))
LARGE = (100_000, 1_000_000)


def measure(report: Report, runs: int) -> None:
    for _ in range(runs):
        for nodes, tasks in SIZES:
            where = f"{nodes // 1000}k nodes, {tasks // 1000}k tasks"
            for what, services, placement in (
                ("one service", 1, None), ("one-off", tasks, None), ("one service, constraint", 1, HALF), ("one-off, constraint", tasks, HALF),
            ):  # fmt: skip
                spent_s = whole_path(nodes, tasks, services=services, placement=placement)
                report.add(f"whole path, {where}, {what} (k tasks/s)", "festoon", tasks / spent_s / 1000)
            report.add(f"wish, {where}, one service (k tasks/s)", "festoon", tasks / wish(nodes, tasks) / 1000)
            report.add(f"decide, {where}, one service (k tasks/s)", "festoon", tasks / decide(nodes, tasks) / 1000)
    if os.environ.get("SCHEDULER_LARGE"):
        nodes, tasks = LARGE
        report.add("whole path, 100k nodes, 1M tasks, one service (s)", "festoon", whole_path(nodes, tasks, services=1))
        report.add("100k nodes, 1M tasks: memory (GiB)", "festoon", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20))


def whole_path(nodes: int, tasks: int, *, services: int, placement: Placement | None = None) -> float:
    """Seconds for tasks that are in the store, to be given a node."""
    world, waiting = _prepared(nodes, tasks, services, placement)
    began_s = _quiet()
    for start in range(0, tasks, COMMIT):
        world.commit(*(created(t) for t in waiting[start : start + COMMIT]))
    world.settle()
    return _done(world, tasks, began_s)


def wish(nodes: int, tasks: int) -> float:
    """Seconds from the commit of a service to all of its tasks having their nodes."""
    world = Planned(created(node(i)) for i in range(nodes))
    began_s = _quiet()
    world.commit(created(service(0, tasks)))
    world.settle()
    return _done(world, tasks, began_s)


def decide(nodes: int, tasks: int) -> float:
    """Seconds to choose a node for each task, in an index that has them all; nothing is committed."""
    world, waiting = _prepared(nodes, tasks, 1, None)
    for item in waiting:
        world.index.put(item)
    world.index.agenda.retry_pending = True
    began_s = _quiet()
    world.index.begin()
    draft = Draft(world.index, world.now_ns, Random(1))
    draft.limit_bytes = 1 << 62
    place(draft)
    spent_s = time.process_time() - began_s
    assert not world.index.pending
    return spent_s


def _prepared(nodes: int, tasks: int, services: int, placement: Placement | None) -> tuple[Planned, list[Task]]:
    """A cluster that knows its nodes and services, and the tasks that it is to be given."""
    world = Planned(created(node(i)) for i in range(nodes))
    for start in range(0, services, COMMIT):
        world.commit(*(created(service(i, tasks // services, placement)) for i in range(start, min(start + COMMIT, services))))
    known = world.store.all(Kind.SERVICE)
    world.look_anew()
    return world, [task(known[i % services], i, slot=i // services + 1) for i in range(tasks)]


def _quiet() -> float:
    """Processor time now, with garbage looked for as managers' processes do."""
    collector.calm()
    return time.process_time()


def _done(world: Planned, tasks: int, began_s: float) -> float:
    spent_s = time.process_time() - began_s
    assert world.placed == tasks, f"{world.placed} of {tasks} were placed"
    gc.unfreeze()
    return spent_s


