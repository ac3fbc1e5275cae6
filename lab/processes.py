"""Processes of a lab by pid and start time, so that a number that was given away again is never mistaken, signalled or
entered.

Source: proc(5), pidfd_open(2).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self


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


class Killing:
    """SIGKILL for many processes at once, and the wait for their end. A context manager: it holds a descriptor of
    each.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._poll = select.poll()
        self._descriptors: set[int] = set()
        self._left = 0
        self._pids = tuple(pids)

    def __enter__(self) -> Self:
        for pid in self._pids:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            self._descriptors.add(fd)
            self._poll.register(fd, select.POLLIN)
            self._left += 1
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for fd in self._descriptors:
            os.close(fd)

    def wait(self, seconds: float) -> bool:
        """Whether all have ended within that time."""
        deadline = time.monotonic() + seconds
        while self._left:
            ready = self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                return False
            for fd, _ in ready:
                self._poll.unregister(fd)
            self._left -= len(ready)
        return True


def _state(pid: int) -> tuple[int, bool]:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, False
    return int(fields[19]), fields[0] not in ("Z", "X")
