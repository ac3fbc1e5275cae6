"""Processes of a lab by pid and start time, so that a number that was given away again is never mistaken, signalled or
entered.

Source: proc(5), pidfd_open(2).
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

KILL_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Process:
    """`started` is field 22 of /proc/PID/stat: clock ticks since boot."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """A zombie is not."""
        return _state(self.pid) == (self.started, True)

    def __str__(self) -> str:
        return f"{self.pid} {self.started}"


def identify(pid: int) -> Process:
    """A process that is there. Raises ProcessLookupError."""
    started, _ = _state(pid)
    if not started:
        raise ProcessLookupError(f"process {pid} is gone")
    return Process(pid, started)


def parse(text: str) -> Process | None:
    """From `str(process)`; None for anything else."""
    fields = text.split()
    if len(fields) != 2 or not all(f.isdigit() for f in fields):
        return None
    return Process(int(fields[0]), int(fields[1]))


def kill_and_wait(pids: Iterable[int]) -> None:
    """SIGKILL each and wait until all have ended. Raises TimeoutError when one does not."""
    poll = select.poll()
    waiting: set[int] = set()
    try:
        for pid in pids:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            waiting.add(fd)
            poll.register(fd, select.POLLIN)
            try:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            except ProcessLookupError:
                continue
        _wait_all(poll, waiting)
    finally:
        for fd in waiting:
            os.close(fd)


def _wait_all(poll: select.poll, waiting: set[int]) -> None:
    deadline = time.monotonic() + KILL_TIMEOUT_S
    left = len(waiting)
    while left:
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            raise TimeoutError(f"{left} processes did not end within {KILL_TIMEOUT_S:.0f} s of SIGKILL")
        for fd, _ in ready:
            poll.unregister(fd)
        left -= len(ready)


def _state(pid: int) -> tuple[int, bool]:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, False
    return int(fields[19]), fields[0] not in ("Z", "X")
