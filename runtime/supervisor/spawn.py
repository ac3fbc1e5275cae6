"""A child that the supervisor forks itself, for what the nursery can't: lists that are too large for it, containers that
are unlike most. Owns the moment of the fork: signals are blocked, the child never returns into the supervisor's code."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from runtime.child.compile import Compiled
from runtime.kernel.processes import children_in, children_in_new_pid_namespace, fork
from runtime.kernel.program import Program
from runtime.supervisor.becoming import REPORT, become


def spawn(compiled: Compiled, errors: int, *, home: int, enter: int = -1, group: int = -1, drop: tuple[int, ...] = ()) -> int:
    """Forks a child that runs the list and returns its pid. `home`: this process's own pid namespace; `enter`:
    pidfd whose pid namespace the child is born in, -1 for a new one. `group`: as in kernel.processes.fork. `errors`: write end of the pipe for the
    report. `drop`: what the child must not hold (the other end of its own gate). Raises OSError."""
    program = Program(compiled.operations)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        if enter >= 0:
            children_in(enter)
        else:
            children_in_new_pid_namespace()
        try:
            pid = fork(group)
            if pid == 0:
                close_all(drop)
                become(program.steps, program.new_registers(), compiled.fork_at, compiled.title, errors)
        finally:
            children_in(home)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def read_report(errors: int) -> tuple[int, int] | None:
    """The report of a child, None when the pipe closed without one (it was executed). Raises BlockingIOError while
    neither has happened."""
    data = os.read(errors, REPORT.size)
    if len(data) != REPORT.size:
        return None
    index, error = REPORT.unpack(data)
    return index, error


def close_all(descriptors: Sequence[int]) -> None:
    """Closes those that are open (>= 0)."""
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)
