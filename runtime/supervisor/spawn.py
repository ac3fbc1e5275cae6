"""Fork, run the list, exec. Owns the moment between: signals are blocked, the child never returns into the
supervisor's code.

With a reaping pid 1 the child forks once more after everything is set up, and stays.
"""

from __future__ import annotations

import gc
import os
import signal
import struct
from collections.abc import Sequence
from typing import NoReturn

from runtime.child.compile import Compiled
from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.processes import children_in, children_in_new_pid_namespace, exit_status_of, fork
from runtime.kernel.program import Program
from runtime.kernel.syscalls import Call

REPORT = struct.Struct("=ii")
"""(index of the operation, errno) on the error pipe; nothing when the program was executed."""
FAILED_STATUS = 127
NOT_FOUND_ERRNO = 2


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
                become(program, program.new_registers(), compiled.fork_at, errors)
        finally:
            children_in(home)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def become(program: Program, registers: list[int], fork_at: int, errors: int) -> NoReturn:
    """In the child: runs the list, reports a failure, never returns."""
    try:
        gc.disable()
        if fork_at >= 0:
            failed = program.run(0, fork_at, registers)
            if failed is None:
                child = os.fork()
                if child:
                    _reap_as_pid_1(child)
                _lead_group()
                failed = program.run(fork_at, len(program), registers)
        else:
            failed = program.run(0, len(program), registers)
        os.write(errors, REPORT.pack(*(failed or (len(program), NOT_FOUND_ERRNO))))
    finally:
        os._exit(FAILED_STATUS)


def _lead_group() -> None:
    """A group of its own, in the terminal's foreground when there is one, so that its keys do not reach pid 1 as
    well."""
    os.setpgid(0, 0)
    if os.isatty(0):
        os.tcsetpgrp(0, os.getpid())


def _reap_as_pid_1(child: int) -> NoReturn:
    """Hands signals on to the program, reaps whatever is orphaned, ends as the program ends. All signals are
    blocked and taken one by one."""
    status = FAILED_STATUS
    try:
        call(Call.CLOSE_RANGE, 3, 0xFFFF_FFFF, 0)
        call(Call.PRCTL, k.PR_SET_NAME, b"docker-init")
        while True:
            number = signal.sigwaitinfo(signal.valid_signals()).si_signo
            if number == signal.SIGCHLD:
                ended = _reap_all(child)
                if ended is not None:
                    status = ended
                    break
            elif number not in (signal.SIGTTIN, signal.SIGTTOU):
                os.kill(child, number)
    finally:
        os._exit(status)


def _reap_all(child: int) -> int | None:
    """The program's status once it has ended."""
    status: int | None = None
    while True:
        try:
            waited = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return status
        if waited is None:
            return status
        if waited.si_pid == child:
            status = exit_status_of(waited)


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
