"""One probe of a container: run as an exec, its output and status taken, killed when it takes too long. Decides nothing: agent/health.py does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from agent import health
from agent.records import ExecConfig, HealthResult
from cluster.model.errors import ClusterError
from cluster.model.specs import HealthCheck
from runtime.errors import RuntimeFault

if TYPE_CHECKING:
    from agent.containers import Containers

PIECE_BYTES = 4096
NOT_ENDED = -1


async def probe(containers: Containers, container_id: str, check: HealthCheck) -> HealthResult:
    """Cancelled in the middle, the probe's process is killed."""
    started_ns = time.time_ns()
    command = health.command_of(check)

    def result(exit_code: int, text: str) -> HealthResult:
        return HealthResult(start_ns=started_ns, end_ns=time.time_ns(), exit_code=exit_code, output=text)

    try:
        record = containers.exec_create(ExecConfig(container_id=container_id, cmd=command))
        running = await containers.exec_start(record.id)
    except (ClusterError, RuntimeFault, OSError) as error:
        return result(NOT_ENDED, str(error))
    output = bytearray()
    ended = False
    try:
        with trio.move_on_after(health.timeout_ns(check) / 1e9):
            async with trio.open_nursery() as nursery:
                for descriptor in (running.stdout, running.stderr):
                    nursery.start_soon(_collect, descriptor, output)
            done = await containers.exec_wait(record.id)
            ended = True
            return result(done.exit_code if done.exit_code is not None else NOT_ENDED, health.output_text(bytes(output)))
    finally:
        if not ended:
            with trio.CancelScope(shield=True):
                await containers.execs.kill(record.id)
    return result(NOT_ENDED, f"Health check exceeded timeout ({_seconds(health.timeout_ns(check))})")


async def _collect(descriptor: int, output: bytearray) -> None:
    """To its end; what is more than one kept output is read and dropped."""
    async with trio.lowlevel.FdStream(descriptor) as stream:
        while data := await stream.receive_some(PIECE_BYTES):
            if len(output) <= health.OUTPUT_BYTES:
                output += data


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / 1e9:g}s" if duration_ns >= 1_000_000_000 else f"{duration_ns / 1e6:g}ms"
