"""The manager process by itself, on loopback: what the benches of the manager share."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def address_of_loopback() -> str:
    """host:port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def started(folder: Path, address: str, *, bootstrap: bool = False) -> subprocess.Popen[bytes]:
    """The manager on `folder`'s state, serving. Raises RuntimeError with its words when it does not."""
    read, write = os.pipe()
    argv = [sys.executable, "-I", "-m", "manager", "--state", str(folder / "raft"), "--identity", str(folder / "node"),
            "--listen", address, "--advertise", address, "--ready-fd", str(write), *(["--bootstrap"] if bootstrap else [])]  # fmt: skip
    with (folder / "log").open("wb") as log:
        manager = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=log, pass_fds=(write,))
    os.close(write)
    assert manager.stdin is not None
    with manager.stdin as stdin:
        stdin.write(b"{}" if bootstrap else b"")
    with os.fdopen(read) as ready:
        if not ready.readline():
            manager.wait()
            raise RuntimeError((folder / "log").read_text())
    return manager


class End:
    """`with End(process) as process:` it is killed in the end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()


def memory_bytes(pid: int) -> int:
    """PSS."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def spent_s(pid: int) -> float:
    """Processor time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
