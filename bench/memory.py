"""Memory: all of the daemon's processes at rest, and their growth per running container, from none to BENCH_CONTAINERS (200). PSS; the containers' own
processes are not counted."""

from __future__ import annotations

import os
from pathlib import Path

from bench.peers import Daemon, daemons
from bench.report import Report

READY_S = 600.0
CONTAINERS = int(os.environ.get("BENCH_CONTAINERS", "200"))


def measure(report: Report, runs: int) -> None:
    with daemons() as running:
        for run in range(runs):
            for peer, daemon in running.items():
                before = pss_bytes(daemon)
                report.add("daemon at rest (MB)", peer, before / 1e6)
                name = f"mem{run}"
                daemon.engine.create_service(name, CONTAINERS)
                daemon.engine.wait_running(name, CONTAINERS, READY_S)
                report.add("per running container (MB)", peer, (pss_bytes(daemon) - before) / CONTAINERS / 1e6)
                daemon.engine.remove_and_wait(name)


def pss_bytes(daemon: Daemon) -> int:
    """Proportional set size of every process of the daemon (its container's own programs left out)."""
    total = 0
    for pid in daemon.processes():
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return total
