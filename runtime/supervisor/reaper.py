"""When processes end and how. Owns pidfds from `watch` to the end; children are waited for, adopted processes are
settled from the stem's records.

An adopted process is not our child: its pidfd tells when it has ended; how, its remains in /proc until its parent has
reaped it, then the stem's record, then the kernel (6.15). Where none of them tells, the status is unknown. Source:
pidfd_open(2), waitid(2), proc(5).
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass

from runtime.kernel import constants as k
from runtime.kernel.inotify import open_watch, read_changes
from runtime.kernel.processes import exit_status_of, may_trace, start_time, status_from_pidfd, status_of_zombie
from runtime.spec import Exited
from runtime.supervisor.loop import Loop

LOST_STATUS = 255
"""What Docker reports for a container whose end nobody saw."""

OnExit = Callable[[Exited], None]


@dataclass(slots=True)
class Process:
    pid: int
    start_time: int
    pidfd: int
    child: bool


class Reaper:
    """Calls back once for each watched process."""

    def __init__(self, loop: Loop, exits: str) -> None:
        self._loop = loop
        self._exits = exits
        self._adopted: dict[int, tuple[Process, OnExit]] = {}
        self._sees_remains = may_trace()
        self._records = open_watch(exits, k.IN_MOVED_TO)
        loop.watch(self._records, self._records_changed)

    def watch_child(self, pid: int, on_exit: OnExit) -> Process:
        """A process that this one has just forked."""
        process = Process(pid, start_time(pid), os.pidfd_open(pid), True)

        def ended(_events: int) -> None:
            waited = os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED | os.WNOHANG)
            if waited is not None:
                self._release(process)
                on_exit(Exited(exit_status_of(waited), finished_at_ns=time.time_ns()))

        self._loop.watch(process.pidfd, ended)
        return process

    def adopt(self, pid: int, started: int, on_exit: OnExit) -> Process | None:
        """A process of an earlier supervisor; None when it has ended (`take_record` then knows more)."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        if start_time(pid) != started:
            os.close(pidfd)
            return None
        process = Process(pid, started, pidfd, False)
        self._adopted[pidfd] = process, on_exit
        self._loop.watch(pidfd, lambda events: self._settle(process, events))
        return process

    def take_record(self, pid: int, started: int) -> Exited | None:
        """The stem's record, which is removed."""
        path = os.path.join(self._exits, f"{pid}.{started}")
        try:
            with open(path, encoding="ascii") as file:
                status, _, finished = file.read().partition(" ")
        except FileNotFoundError:
            return None
        os.unlink(path)
        return Exited(int(status), finished_at_ns=int(finished))

    def clean_records(self) -> None:
        """Removes records that nobody will ask for; after everything has been adopted."""
        wanted = {f"{process.pid}.{process.start_time}" for process, _ in self._adopted.values()}
        for name in os.listdir(self._exits):
            if name not in wanted:
                os.unlink(os.path.join(self._exits, name))

    def _remove_record(self, name: str) -> None:
        try:
            os.unlink(os.path.join(self._exits, name))
        except FileNotFoundError:
            return

    def _settle(self, process: Process, events: int) -> None:
        exited = self.take_record(process.pid, process.start_time) or self._remains(process)
        if exited is None and not events & select.EPOLLHUP and start_time(process.pid) == process.start_time:
            # ended but not reaped: the stem writes its record first; wait for that or for the hang-up
            self._loop.change(process.pidfd, 0)
            return
        if exited is None:
            status = status_from_pidfd(process.pidfd)
            known = status is not None
            exited = Exited(LOST_STATUS if status is None else status, finished_at_ns=time.time_ns(), known=known)
        on_exit = self._adopted.pop(process.pidfd)[1]
        self._release(process)
        on_exit(exited)

    def _remains(self, process: Process) -> Exited | None:
        """Whoever its parent is now may be slow to reap it: nobody waits for that."""
        status = status_of_zombie(process.pid, process.start_time) if self._sees_remains else None
        return None if status is None else Exited(status, finished_at_ns=time.time_ns())

    def _records_changed(self, _events: int) -> None:
        names = {change.name for change in read_changes(self._records)}
        for process, _ in list(self._adopted.values()):
            if f"{process.pid}.{process.start_time}" in names:
                names.discard(f"{process.pid}.{process.start_time}")
                self._settle(process, select.EPOLLHUP)
        for name in names:  # of an earlier supervisor's children in reserve, or settled already: nobody will ask
            self._remove_record(name)

    def _release(self, process: Process) -> None:
        self._loop.forget(process.pidfd)
        os.close(process.pidfd)
        process.pidfd = -1
