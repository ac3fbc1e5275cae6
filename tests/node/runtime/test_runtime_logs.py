"""Containers that write more than anybody reads, or than there is room for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from runtime import logs
from runtime.client import Supervisor
from runtime.supervisor.frames import OVERHEAD_BYTES
from runtime.supervisor.logfile import LINE_REST_MAX_BYTES
from runtime.supervisor.output import BEHIND_BYTES

MIB = 1024 * 1024
FLOOD_BYTES = 200 * 1_000_000
GROWTH_MAX_BYTES = 8 * MIB
WRITTEN_BYTES = 4 * 1_000_000


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Dirty:", "Private_Clean:")))


@pytest.mark.parametrize("driver", ["local", "json-file"])
@pytest.mark.parametrize("line", ["y", "x" * 99], ids=["tiny", "usual"])
def test_a_flood_of_output_costs_no_memory(machine: Any, driver: str, line: str) -> None:
    """The supervisor's memory is looked at all the time, not only in the end."""

    async def body(supervisor: Supervisor) -> None:
        await machine.ran(supervisor, machine.spec("true"))
        pid = machine.pid_of("runtime.supervisor")
        before = most = private_bytes(pid)
        size = FLOOD_BYTES if driver == "local" else FLOOD_BYTES // 8
        spec = machine.spec("sh", "-c", f"yes {line} | head -c {size}", log_driver=driver, log_max_bytes=MIB, log_max_files=3)
        await machine.started(supervisor, spec)
        with trio.CancelScope() as looking:
            async with trio.open_nursery() as nursery:

                async def until_the_end() -> None:
                    assert (await supervisor.wait(spec.id)).status == 0
                    looking.cancel()

                nursery.start_soon(until_the_end)
                while True:
                    most = max(most, private_bytes(pid))
                    await trio.sleep(0.05)
        assert most - before < GROWTH_MAX_BYTES
        sizes = [path.stat().st_size for path in Path(spec.log_path).parent.glob("log*")]
        assert len(sizes) == 3
        assert max(sizes) <= MIB + OVERHEAD_BYTES + LINE_REST_MAX_BYTES, "but for the rest of a line that a chunk had begun"
        assert next(record.data for record in logs.read(spec.log_path, tail=1)).strip() == line.encode()

    machine.run(body)


def test_who_is_attached_and_never_reads_costs_no_memory(machine: Any) -> None:
    """The container waits for its reader; the others do not."""

    async def body(supervisor: Supervisor) -> None:
        pid = machine.pid_of("runtime.supervisor")
        spec = machine.spec("sh", "-c", f"yes | head -c {FLOOD_BYTES}")
        await supervisor.create(spec)
        attached = await supervisor.attach(spec.id)
        before = private_bytes(pid)
        await supervisor.start(spec.id)
        for _ in range(5):
            assert (await machine.ran(supervisor, machine.spec("sh", "-c", "yes | head -c 1000000"))).status == 0
        assert (await supervisor.list())[0].phase in ("running", "exited")
        assert private_bytes(pid) - before < GROWTH_MAX_BYTES
        assert {state.phase for state in await supervisor.list() if state.id == spec.id} == {"running"}
        os.close(attached.stdout)  # nobody is attached any more: it goes on
        os.close(attached.stderr)
        assert (await supervisor.wait(spec.id)).status == 0

    machine.run(body)


def test_who_never_reads_stops_neither_the_container_nor_who_reads_beside(machine: Any) -> None:
    """What it has not read is kept for a while; then its streams end."""

    async def body(supervisor: Supervisor) -> None:
        pid = machine.pid_of("runtime.supervisor")
        spec = machine.spec("sh", "-c", f"yes | head -c {FLOOD_BYTES}; echo over >&2")
        await supervisor.create(spec)
        reading, stopped = await supervisor.attach(spec.id), await supervisor.attach(spec.id)
        before = private_bytes(pid)
        await supervisor.start(spec.id)
        most: list[int] = []
        assert await read_all(reading.stdout, lambda: most.append(private_bytes(pid))) == FLOOD_BYTES
        assert await read_all(reading.stderr) == len("over\n")
        assert (await supervisor.wait(spec.id)).status == 0
        assert max(most) - before < 2 * BEHIND_BYTES + GROWTH_MAX_BYTES, "a buffer that grows is copied"
        assert await read_all(stopped.stdout) < FLOOD_BYTES
        assert await read_all(stopped.stderr) == 0, "it was let go as a whole, before that was said"

    machine.run(body)


async def read_all(descriptor: int, look: Callable[[], object] = lambda: None) -> int:
    """Bytes until its end; looks at each MiB."""
    read = 0
    async with trio.lowlevel.FdStream(descriptor) as stream:
        async for data in stream:
            if read // MIB != (read + len(data)) // MIB:
                look()
            read += len(data)
    return read


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("driver", ["local", "json-file"])
def test_a_full_disk_stops_no_container_and_loses_what_it_says(machine: Any, small_disk: Path, driver: str) -> None:
    async def body(supervisor: Supervisor) -> None:
        script = f"yes | head -c {WRITTEN_BYTES}; touch /tmp/written; while ! test -e /tmp/go; do sleep 0.05; done; echo after"
        spec = machine.spec("sh", "-c", script, log_path=str(small_disk / "log"), log_driver=driver)
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * (MIB // 2))
        pid = await machine.started(supervisor, spec)
        while not os.path.exists(f"/proc/{pid}/root/tmp/written"):
            await trio.sleep(0.05)
        assert (await machine.ran(supervisor, machine.spec("true"))).status == 0
        ballast.unlink()
        Path(f"/proc/{pid}/root/tmp/go").touch()
        assert (await supervisor.wait(spec.id)).status == 0
        text = machine.output(spec)
        lost = re.findall(r"\[(\d+) bytes of output were lost: no space left on device\]\n", text)
        assert lost
        assert text.count("y\n") * 2 + sum(map(int, lost)) == WRITTEN_BYTES
        assert text.endswith("after\n")

    machine.run(body)


@pytest.mark.parametrize("words", [("out", "err >&2"), ("err >&2", "out")])
def test_what_both_streams_hold_comes_in_the_order_in_which_it_came(machine: Any, words: tuple[str, str]) -> None:
    """Both lines are there, and the program has ended, before the supervisor looks."""

    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", f"read go; echo {words[0]}; echo {words[1]}", open_stdin=True)
        await supervisor.create(spec)
        attached = await supervisor.attach(spec.id)
        pid = await supervisor.start(spec.id)
        its_end = os.pidfd_open(pid)
        owner = machine.pid_of("runtime.supervisor")
        os.kill(owner, signal.SIGSTOP)
        try:
            os.write(attached.stdin, b"\n")
            await trio.lowlevel.wait_readable(its_end)
        finally:
            os.kill(owner, signal.SIGCONT)
        assert (await supervisor.wait(spec.id)).status == 0
        assert machine.output(spec).split() == [word.split()[0] for word in words]
        for descriptor in (its_end, attached.stdin, attached.stdout, attached.stderr):
            os.close(descriptor)

    machine.run(body)
