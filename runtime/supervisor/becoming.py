"""A forked child runs its list and becomes the program. Owns the child's side from the fork to the exec: it never returns
into the code that forked it.

With a reaping pid 1 the child forks once more after everything is set up, and stays. Imports little: the nursery's
children carry it.
"""

from __future__ import annotations

import gc
import os
import signal
import struct

from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.processes import exit_status_of
from runtime.kernel.running import Step, run
from runtime.kernel.syscalls import Call

TYPE_CHECKING = False  # not from typing, which is a megabyte of the nursery (supervisor/nursery.py)
if TYPE_CHECKING:
    from typing import NoReturn

REPORT = struct.Struct("=ii")
"""(index of the operation, errno) on the error pipe; nothing when the program was executed."""
FAILED_STATUS = 127
ARGUMENTS_START = 45
"""Of the fields of /proc/PID/stat after the name: arg_start, and arg_end after it."""
NOT_FOUND_ERRNO = 2


def become(steps: list[Step], registers: list[int], fork_at: int, title: bytes, errors: int) -> NoReturn:
    """In the child: runs the list, reports a failure, never returns."""
    try:
        gc.disable()
        if fork_at >= 0:
            failed = run(steps, 0, fork_at, registers)
            if failed is None:
                _look_like_init(title)
                child = os.fork()
                if child:
                    _reap_as_pid_1(child)
                _lead_group()
                failed = run(steps, fork_at, len(steps), registers)
        else:
            failed = run(steps, 0, len(steps), registers)
        os.write(errors, REPORT.pack(*(failed or (len(steps), NOT_FOUND_ERRNO))))
    finally:
        os._exit(FAILED_STATUS)


def _look_like_init(title: bytes) -> None:
    """What the container's lists of processes show of pid 1: not the node's command line, in whose place `title` is cut off. The program's
    own exec names it. Source: proc(5), cmdline: the memory where a process's arguments lie."""
    call(Call.PRCTL, k.PR_SET_NAME, b"docker-init")
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:  # an image without /proc has nobody to show it to
        return
    start, end = int(fields[ARGUMENTS_START]), int(fields[ARGUMENTS_START + 1])
    title = title[: end - start - 1].ljust(end - start, b"\0")
    reader, writer = os.pipe()
    os.write(writer, title)
    call(Call.READ, reader, start, len(title))
    os.close(reader)
    os.close(writer)


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
