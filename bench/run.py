"""`run --rm busybox true`, the whole command as a person types it, on the default bridge network: Festoon's command line with its node, and docker's with
dockerd, in turn.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from bench.peers import FESTOON, daemons
from bench.report import Report

BATCH = 10
"""Commands of each peer in turn that make one counted run."""
COMMANDS = {"run --rm busybox true": ("true",), "run --rm busybox sh -c 'echo hello'": ("sh", "-c", "echo hello")}


def measure(report: Report, runs: int) -> None:
    """Adds the figures. Needs root; docker where it is installed."""
    programs = {"festoon": FESTOON, "docker": shutil.which("docker") or ""}
    with daemons() as running:
        sockets = {name: daemon.socket for name, daemon in running.items() if programs[name]}
        for arguments in COMMANDS.values():
            for name, socket in sockets.items():
                for _ in range(3):
                    _run(programs[name], socket, arguments)
        for _ in range(runs * BATCH):
            for figure, arguments in COMMANDS.items():
                for name, socket in sockets.items():
                    report.add(f"{figure} (ms)", name, _run(programs[name], socket, arguments))


def _run(program: str, socket: Path, arguments: tuple[str, ...]) -> float:
    """Milliseconds. Raises RuntimeError with what the command said."""
    command = [program, "-H", f"unix://{socket}", "run", "--rm", "busybox", *arguments]
    began = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    taken = (time.perf_counter() - began) * 1000
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode(errors='replace')[-500:]}")
    return taken
