"""Processes and namespaces as the kernel shows them: who is it, has it ended, enter and leave a pid namespace. Owns
no process.

Source: proc(5), pidfd_open(2), setns(2), clone(2), include/uapi/linux/pidfd.h.
"""

from __future__ import annotations

import fcntl
import os
import struct

from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call

STAT_MAX_BYTES = 4096
"""Of /proc/PID/stat, which has 52 numbers and a name of 64 bytes at most."""


def boot_id() -> str:
    """This boot's identity: pids and start times mean nothing in another one."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def start_time(pid: int) -> int:
    """Clock ticks since boot at which the process started (field 22 of stat); with the pid it names a process for
    as long as this boot lasts. 0 when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return int(file.read(STAT_MAX_BYTES).rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def exit_status_of(waited: os.waitid_result) -> int:
    """0..255, 128 + n for signal n."""
    return waited.si_status if waited.si_code == os.CLD_EXITED else 128 + waited.si_status


def status_of_zombie(pid: int, started: int) -> int | None:
    """The exit status of a process that has ended and is not reaped yet, whoever its parent is (field 52 of stat, shown to
    CAP_SYS_PTRACE); None when it is none, or another one. Source: proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] != b"Z" or int(fields[19]) != started:
        return None
    return _status(int(fields[49]))


def may_trace() -> bool:
    """Whether this process has CAP_SYS_PTRACE: what the kernel shows of other processes is then the truth."""
    with open("/proc/self/status", encoding="ascii") as file:
        held = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    return bool(held >> k.CAP_SYS_PTRACE & 1)


def _status(status: int) -> int:
    """0..255, 128 + n for signal n, of a status as wait(2) gives it."""
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def status_from_pidfd(pidfd: int) -> int | None:
    """The exit status of a reaped process that need not be our child (kernel 6.15); None where the kernel does not
    tell."""
    info = bytearray(k.PIDFD_INFO_SIZE_BYTES)
    struct.pack_into("=Q", info, 0, k.PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, k.PIDFD_GET_INFO, info, True)
    except OSError:  # an older kernel (ENOTTY, EINVAL) or a process that is not reaped (ESRCH): not known
        return None
    if not struct.unpack_from("=Q", info, 0)[0] & k.PIDFD_INFO_EXIT:
        return None
    return _status(struct.unpack_from("=i", info, 60)[0])


def send_signal(pidfd: int, number: int) -> bool:
    """False when the process has ended."""
    try:
        call(Call.PIDFD_SEND_SIGNAL, pidfd, number, 0, 0)
    except ProcessLookupError:
        return False
    return True


def become_subreaper() -> None:
    """Orphaned descendants become children of this process."""
    call(Call.PRCTL, k.PR_SET_CHILD_SUBREAPER, 1)


def fork(group: int = -1, *, sibling: bool = False) -> int:
    """As os.fork, for a process of one thread, without Python's handlers. `group`: descriptor of a cgroup v2 folder that
    the child is born in (clone3 has that; a move waits for a grace period of the kernel). `sibling`: it becomes a child
    of this process's parent. Raises OSError."""
    flags = (k.CLONE_INTO_CGROUP if group >= 0 else 0) | (k.CLONE_PARENT if sibling else 0)
    arguments = struct.pack(k.CLONE_ARGS, flags, 0, 0, 0, 0 if sibling else k.SIGCHLD, 0, 0, 0, 0, 0, max(group, 0))
    return call(Call.CLONE3, arguments, len(arguments))


def children_in_new_pid_namespace() -> None:
    """The next fork makes pid 1 of a new namespace. Undo with `children_in` before anything else forks."""
    call(Call.UNSHARE, k.CLONE_NEWPID)


def children_in(descriptor: int) -> None:
    """Children will be born in the pid namespace of the descriptor: a pidfd, or an open /proc/<pid>/ns/pid."""
    call(Call.SETNS, descriptor, k.CLONE_NEWPID)


def heed_signals() -> None:
    """What our starter ignored (a shell's background: the interrupt; nohup: the hangup) would be ignored in every container, across all execs."""
    import signal  # late: the nursery imports this module, and every birth copies what it has

    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN and number not in k.SIGNALS_IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
