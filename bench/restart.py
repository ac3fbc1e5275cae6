"""A manager with a large store: from the start of its process to serving, its memory, and what each task takes. BENCH_TASKS says how many (100,000).

The store is filled by the real driver, in entries of a thousand tasks, running on a hundred nodes for a hundred services; then the real manager starts on it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import trio

from bench.managers import End, address_of_loopback, memory_bytes, started
from bench.report import Report
from cluster.model.changes import Change, created
from cluster.model.ids import NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import Meta, Node, NodeDescription, NodeState, NodeStatus, Service, Task, TaskNetwork, TaskStatus
from cluster.model.specs import ContainerSpec, NodeSpec, Platform, Resources, ServiceMode, ServiceModeKind, ServiceSpec, TaskSpec
from cluster.model.task_state import TaskState
from manager.raft.driver import open_driver
from manager.store import Store

TASKS = int(os.environ.get("BENCH_TASKS", "100000"))
NODES = SERVICES = 100
TASKS_PER_ENTRY = 1000
SETTLE_S = 1.0
NOW_NS = 1_700_000_000_000_000_000


def measure(report: Report, runs: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-restart-", dir=Path.home()))
    try:
        address = address_of_loopback()
        with End(started(folder, address, bootstrap=True)) as manager:
            empty = memory_bytes(manager.pid)
            manager.terminate()
            manager.wait()
        trio.run(_fill, folder / "raft")
        (folder / "raft").rename(folder / "filled")
        for _ in range(runs):
            shutil.rmtree(folder / "raft", ignore_errors=True)
            shutil.copytree(folder / "filled", folder / "raft", ignore=shutil.ignore_patterns("*.sock"))
            began = time.perf_counter()
            with End(started(folder, address)) as manager:
                report.add(f"start to serving, {TASKS} tasks (s)", "festoon", time.perf_counter() - began)
                report.add("memory per task (bytes)", "festoon", (_settled(manager) - empty) / TASKS)
            if "node is down" in (folder / "log").read_text():
                raise RuntimeError("too slow: the nodes' grace was over before memory was looked at, and there are more tasks by now")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _settled(manager: subprocess.Popen[bytes]) -> int:
    """The manager's memory after its first plans, and before the nodes, of which none is there, count as down."""
    time.sleep(SETTLE_S)
    return memory_bytes(manager.pid)


async def _fill(raft: Path) -> None:
    async with open_driver(raft, Store()) as driver:
        await driver.wait_leader()
        made = await driver.propose(tuple(_nodes_and_services()))
        for start in range(0, TASKS, TASKS_PER_ENTRY):
            await driver.propose(tuple(created(_task(number, made.index)) for number in range(start, min(start + TASKS_PER_ENTRY, TASKS))))


def _meta() -> Meta:
    return Meta(created_at_ns=NOW_NS, updated_at_ns=NOW_NS)


def _spec(service: int) -> TaskSpec:
    return TaskSpec(ContainerSpec(f"registry/image{service}:latest", args=("sleep", "1000"), env=("A=1", "B=2")))


def _id(letter: str, number: int) -> str:
    return f"{letter}{number:024d}"


def _nodes_and_services() -> Iterator[Change]:
    for number in range(NODES):
        description = NodeDescription(f"node{number}", Platform("x86_64", "linux"), Resources(64_000_000_000, 256 << 30))
        node = Node(NodeId(_id("n", number)), meta=_meta(), description=description, status=NodeStatus(NodeState.READY, address="10.0.0.1"), spec=NodeSpec())
        yield created(node)
    for number in range(SERVICES):
        mode = ServiceMode(ServiceModeKind.REPLICATED, TASKS // SERVICES)
        yield created(Service(ServiceId(_id("s", number)), ServiceSpec(f"service{number}", _spec(number), mode=mode), _meta()))


def _task(number: int, spec_version: int) -> Task:
    service = number % SERVICES
    status = TaskStatus(TaskState.RUNNING, NOW_NS, "started", container_id=f"{number:064x}", pid=number)
    network = TaskNetwork(NetworkId(_id("w", 0)), f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/8")
    return Task(
        TaskId(_id("t", number)), ServiceId(_id("s", service)), _spec(service), _meta(), service_name=f"service{service}", spec_version=spec_version,
        slot=number // SERVICES + 1, node_id=NodeId(_id("n", number // 7 % NODES)), status=status, desired_state=TaskState.RUNNING, cause="service created",
        networks=(network,), history=(msgspec.structs.replace(status, state=TaskState.STARTING),),
    )  # fmt: skip
