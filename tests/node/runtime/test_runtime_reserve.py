"""Children in reserve: bounded, used, like any other child, and gone with their supervisor, however that ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from runtime.client import Supervisor
from runtime.errors import RuntimeFault
from runtime.supervisor.reserve import RESERVE_MAX


def waiting(machine: Any) -> list[int]:
    """Children that have no container yet."""
    daemons = set(machine.daemons())
    return [pid for pid in machine.processes() if pid not in daemons]


async def until(condition: Callable[[], bool]) -> None:
    """Within the machine's own time limit."""
    while not condition():
        await trio.lowlevel.checkpoint()


def test_the_reserve_is_bounded_and_used(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        for _ in range(RESERVE_MAX + 2):
            await machine.ran(supervisor, machine.spec("true"))
        await until(lambda: len(waiting(machine)) == RESERVE_MAX)
        ready = set(waiting(machine))
        spec = machine.spec("sleep", "1000")
        pid = await machine.started(supervisor, spec)
        assert pid in ready
        await until(lambda: len(waiting(machine)) == RESERVE_MAX)

    machine.run(body)


def test_a_child_in_reserve_holds_nothing_of_the_supervisor(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        await machine.ran(supervisor, machine.spec("true"))
        await until(lambda: len(waiting(machine)) >= 2)
        for pid in waiting(machine):
            await until(lambda pid=pid: len(os.listdir(f"/proc/{pid}/fd")) == 4)  # type: ignore[misc]
            assert os.readlink(f"/proc/{pid}/fd/3").startswith("socket:")

    machine.run(body)


def test_nothing_of_the_reserve_survives_its_supervisor(machine: Any, killed: Callable[[int], None]) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sleep", "1000")
        await machine.started(supervisor, spec)
        await until(lambda: len(waiting(machine)) >= 2)
        old, groups = set(waiting(machine)), set(machine.cgroup_folders())
        killed(machine.pid_of("runtime.supervisor"))
        await until(lambda: not old & set(waiting(machine)))
        assert [state.phase for state in await supervisor.list()] == ["running"]
        await machine.ran(supervisor, machine.spec("true"))
        await until(lambda: not os.listdir(machine.places.exits))
        kept = {path for path in groups & set(machine.cgroup_folders()) if not Path(path, "cgroup.procs").read_text()}
        assert kept == set(), "groups of the old reserve are left"
        await supervisor.signal(spec.id, 9)
        assert (await supervisor.wait(spec.id)).status == 137

    machine.run(body)


def test_a_list_too_large_for_the_reserve_starts_all_the_same(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        env = ("PATH=/bin", *(f"LONG{number}={'x' * 100_000}" for number in range(5)))
        spec = machine.spec("sh", "-c", "env | wc -c", env=env)
        assert (await machine.ran(supervisor, spec)).status == 0
        assert int(machine.output(spec)) > 500_000

    machine.run(body)


def test_a_killed_nursery_is_replaced_and_nobody_notices(machine: Any, killed: Callable[[int], None]) -> None:
    async def body(supervisor: Supervisor) -> None:
        running = machine.spec("sleep", "1000")
        await machine.started(supervisor, running)
        for _ in range(3):
            killed(machine.pid_of("runtime.supervisor.nursery"))
            async with trio.open_nursery() as together:
                for _ in range(RESERVE_MAX + 2):
                    together.start_soon(machine.ran, supervisor, machine.spec("true"))
                together.start_soon(supervisor.exec, machine.exec_spec(running, "true"))
        await supervisor.signal(running.id, 9)
        assert (await supervisor.wait(running.id)).status == 137

    machine.run(body)


def test_a_container_that_is_removed_while_its_child_is_born_leaves_nothing(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        specs = [machine.spec("sleep", "1000") for _ in range(2 * RESERVE_MAX)]
        for spec in specs:
            await supervisor.create(spec)

        async def start(spec: Any) -> None:
            with contextlib.suppress(RuntimeFault):
                await supervisor.start(spec.id)

        async with trio.open_nursery() as together:
            for spec in specs:
                together.start_soon(start, spec)
                together.start_soon(supervisor.remove, spec.id)
        assert await supervisor.list() == ()

    machine.run(body)
