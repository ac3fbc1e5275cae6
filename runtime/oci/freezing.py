"""What a command needs of a container's groups beyond the node's own pieces: waiting until a freeze, an end, a removal has happened. Owns no group.

The node hears of these by its event loop; a command has nothing else to do meanwhile. Source: cgroups(7), pidfd_open(2).
"""

from __future__ import annotations

import os
import select
import signal

from runtime.cgroups import freezer, members
from runtime.cgroups.groups import Groups, remove
from runtime.errors import RuntimeFault

ROUNDS_MAX = 1000
"""Processes that multiply faster than they are killed, or can't be stopped, are given up after so many rounds."""


def pause(groups: Groups) -> None:
    """Returns when every process stands still. Raises RuntimeFault, and nothing is frozen then."""
    if not freezer.can_freeze(groups):
        raise RuntimeFault("the container can't be paused: no freezer cgroup is available on this host")
    for _ in range(ROUNDS_MAX):  # v1 takes a process that was just forking at the next request only
        freezer.freeze(groups)
        if freezer.is_frozen(groups):
            return
        os.sched_yield()
    freezer.thaw(groups)
    raise RuntimeFault("the container can't be paused: one of its processes can't be stopped")


def signal_all(groups: Groups, number: int) -> None:
    """Frozen processes take SIGKILL only when they are thawed."""
    for pid in members.pids(groups):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    if number == signal.SIGKILL:
        freezer.thaw(groups)


def kill_all(groups: Groups) -> None:
    """Kills until nobody is left, and waits for each end. Raises RuntimeFault."""
    for _ in range(ROUNDS_MAX):
        left = members.pids(groups)
        if not left:
            return
        members.kill(groups)
        freezer.thaw(groups)
        for pid in left:
            wait_end(pid)
    raise RuntimeFault("the container's processes multiply faster than they can be killed")


def wait_end(pid: int) -> None:
    """Until the process has ended, whosever child it is."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll()
    finally:
        os.close(pidfd)


def remove_groups(groups: Groups) -> None:
    """A group can be busy for the moment that its last process needs to go. Raises RuntimeFault."""
    for _ in range(ROUNDS_MAX):
        if remove(groups):
            return
        kill_all(groups)
        os.sched_yield()
    raise RuntimeFault(f"the cgroups {', '.join(groups.folders)} can't be removed: processes are left in them")
