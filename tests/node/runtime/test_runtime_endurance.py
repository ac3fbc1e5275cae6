"""Many containers at once and many one after the other: nothing is left of any, and the last cost what the first did.

FESTOON_CYCLES: how many lives the second test has (10,000 unless set).
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from runtime import logs
from runtime.client import Supervisor
from runtime.supervisor.reserve import RESERVE_MAX

pytestmark = pytest.mark.slow

AT_ONCE = 500
CYCLES = int(os.environ.get("FESTOON_CYCLES", "10000"))
MINUTES = 60.0
LINE = "x" * 99
FLOOD_BYTES = 100 * 1_000_000
MEMORY_PER_CYCLE_BYTES = 512
"""Allowed growth: an allocator's noise over 1,000 cycles, far below any record of a container."""
COST_GROWTH = 2.5
"""The last quarter's median against the first's: the machine is noisy."""


def traces(machine: Any) -> dict[str, int]:
    """What a container could leave behind, counted for stem and supervisor and on the host."""
    daemons = machine.daemons()
    return {
        "descriptors": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in daemons),
        "processes": len(daemons),
        "mounts": Path(f"/proc/{daemons[0]}/mountinfo").read_text().count(str(machine.base)),
        "cgroups": len(machine.cgroup_folders()),
        "state": len(os.listdir(machine.places.state)),
        "exits": len(os.listdir(machine.places.exits)),
        "run": len(os.listdir(machine.places.folder)),
        "namespaces": len(own_namespaces(machine)),
    }


def own_namespaces(machine: Any) -> set[str]:
    """Of stem, supervisor and whoever descends from them; those in reserve are bounded and left out."""
    found = set()
    for pid in machine.daemons():
        for name in os.listdir(f"/proc/{pid}/ns"):
            found.add(os.readlink(f"/proc/{pid}/ns/{name}"))
    return found


def resident_bytes(machine: Any) -> int:
    """Private memory of stem and supervisor."""
    total = 0
    for pid in machine.daemons():
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Dirty:", "Private_Clean:")):
                total += int(line.split()[1]) * 1024
    return total


def run(body: Any, machine: Any) -> None:
    async def main() -> None:
        from runtime.client import open_supervisor

        with trio.fail_after(MINUTES * 60):
            async with open_supervisor(machine.places.run, machine.places.state) as supervisor:
                await body(supervisor)

    trio.run(main)


def assert_flat(costs: list[float]) -> None:
    quarter = len(costs) // 4
    first, last = statistics.median(costs[:quarter]), statistics.median(costs[-quarter:])
    assert last < first * COST_GROWTH, f"{first * 1000:.1f} ms at first, {last * 1000:.1f} ms at last"


def test_five_hundred_at_once(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        for _ in range(RESERVE_MAX + 1):
            await machine.ran(supervisor, machine.spec("true"))
            await supervisor.remove(machine.specs[-1].id)
        before = traces(machine)
        starts: list[float] = []
        stops: list[float] = []
        specs = [machine.spec("sleep", "100000") for _ in range(AT_ONCE)]
        for spec in specs:
            began = time.perf_counter()
            await machine.started(supervisor, spec)
            starts.append(time.perf_counter() - began)
        listed = await supervisor.list()
        assert sum(state.phase == "running" for state in listed) == AT_ONCE
        assert len({state.pid for state in listed}) >= AT_ONCE
        for spec in specs:
            began = time.perf_counter()
            await supervisor.signal(spec.id, 9)
            assert (await supervisor.wait(spec.id)).status == 137
            await supervisor.remove(spec.id)
            stops.append(time.perf_counter() - began)
        assert traces(machine) == before
        assert_flat(starts)
        assert_flat(stops)

    run(body, machine)


def test_cycles_leave_nothing(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        async def cycle() -> None:
            spec = machine.spec("true")
            await machine.ran(supervisor, spec)
            await supervisor.remove(spec.id)
            machine.specs.clear()
            shutil.rmtree(machine.base / "containers" / spec.id)

        for _ in range(50):
            await cycle()
        before, memory = traces(machine), resident_bytes(machine)
        costs: list[float] = []
        for _ in range(CYCLES):
            began = time.perf_counter()
            await cycle()
            costs.append(time.perf_counter() - began)
        assert traces(machine) == before
        assert resident_bytes(machine) - memory < MEMORY_PER_CYCLE_BYTES * max(CYCLES, 1000)
        assert_flat(costs)

    run(body, machine)


@pytest.mark.parametrize("driver", ["local", "json-file"])
def test_a_flood_of_output_costs_no_memory_and_stays_within_its_files(machine: Any, driver: str) -> None:
    async def body(supervisor: Supervisor) -> None:
        await machine.ran(supervisor, machine.spec("true"))
        before = resident_bytes(machine)
        spec = machine.spec("sh", "-c", f"yes {LINE} | head -c {FLOOD_BYTES}", log_driver=driver, log_max_bytes=1 << 20, log_max_files=3)
        await machine.ran(supervisor, spec)
        assert resident_bytes(machine) - before < 8 * 1024 * 1024
        folder = Path(spec.log_path).parent
        sizes = [path.stat().st_size for path in folder.glob("log*")]
        assert len(sizes) == 3
        assert max(sizes) <= 1 << 20
        assert next(iter(logs.read(spec.log_path, tail=2))).data == f"{LINE}\n".encode()

    run(body, machine)
