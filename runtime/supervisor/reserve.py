"""Children in reserve: which, how many, and when they are forked. Owns those that nobody has taken yet.

What is kept ready follows what was asked for last. It is filled up when no start is under way and the event loop has
nothing else to do; a child that ends by itself is not replaced before the next container asks.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque

from runtime.cgroups.groups import Groups, Parents, open_procs, open_unified, remove
from runtime.errors import StartFailed
from runtime.kernel import constants as k
from runtime.kernel.processes import send_signal
from runtime.spec import Exited, Limits
from runtime.supervisor.loop import Loop
from runtime.supervisor.prepared import Prepared, fork_ahead
from runtime.supervisor.reaper import Reaper
from runtime.supervisor.spawn import close_all

RESERVE_MAX = 4
"""Children ready at most."""
AT_REST = 2
"""Children ready before anybody has asked."""
REMOVAL_RETRY_S = 0.005
REMOVALS_MAX = 200
"""See ending.RMDIR_RETRIES_MAX."""
_USUAL = k.CLONE_NEWUTS | k.CLONE_NEWIPC | k.CLONE_NEWCGROUP
_SIGKILL = 9


class Reserve:
    """`home`: this process's own pid namespace. `prefix`: of the groups' names, for this supervisor's only."""

    def __init__(self, loop: Loop, reaper: Reaper, home: int, parents: Parents, prefix: str) -> None:
        self._loop = loop
        self._reaper = reaper
        self._home = home
        self._parents = parents
        self._prefix = prefix
        self._asked = deque([_USUAL] * AT_REST, maxlen=RESERVE_MAX)
        self._ready: list[Prepared] = []
        self._starting = 0

    def take(self, flags: int) -> Prepared | None:
        """One that has unshared exactly `flags`, now the caller's; None when there is none."""
        self._asked.append(flags)
        for prepared in self._ready:
            if prepared.flags == flags:
                self._ready.remove(prepared)
                return prepared
        return None

    def begin(self) -> None:
        """A start is under way: its report must not wait for a fork."""
        self._starting += 1

    def done(self) -> None:
        """It has reported."""
        self._starting -= 1
        self._loop.when_idle(self.fill)

    def fill(self) -> None:
        """One step towards what was asked for last: lets one go, or forks one."""
        if self._starting:
            return
        wanted, ready = Counter(self._asked), Counter(prepared.flags for prepared in self._ready)
        spare = next((prepared for prepared in self._ready if ready[prepared.flags] > wanted[prepared.flags]), None)
        missing = next((flags for flags in wanted if wanted[flags] > ready[flags]), None)
        if missing is None:
            return
        if spare is not None:
            self._ready.remove(spare)
            spare.close()
        elif not self._fork(missing):
            return
        self._loop.when_idle(self.fill)

    def _fork(self, flags: int) -> bool:
        """False when the kernel has no process to give: the next container that asks tries again."""
        name = f"{self._prefix}{os.urandom(4).hex()}"
        groups = self._parents.find("", name)
        try:
            groups = self._parents.make("", name, Limits(), False)
            doors = [open_unified(groups)]
            try:
                doors += open_procs(groups, born=True)
                pid, channel, room = fork_ahead(flags, tuple(doors[1:]), doors[0], self._home)
            finally:
                close_all(doors)
        except (OSError, StartFailed) as error:
            remove(groups)
            os.write(2, f"no child in reserve: {error}\n".encode())
            return False

        def ended(exited: Exited) -> None:
            prepared.on_exit(exited)

        process = self._reaper.watch_child(pid, ended)
        prepared = Prepared(flags, name, groups, process, channel, room, lambda _exited: self._lost(prepared))
        self._ready.append(prepared)
        return True

    def _lost(self, prepared: Prepared) -> None:
        if prepared in self._ready:
            self._ready.remove(prepared)
        prepared.close()
        self._remove(prepared.groups, 0)

    def _remove(self, groups: Groups, tries: int) -> None:
        """As soon as the child is off them."""
        if not remove(groups) and tries < REMOVALS_MAX:
            self._loop.after(REMOVAL_RETRY_S, lambda: self._remove(groups, tries + 1))

    def give_back(self, prepared: Prepared) -> None:
        """One that was taken ends if it has been of no use."""
        if not prepared.used:
            prepared.close()

    def close(self) -> None:
        """Ends and reaps all of them."""
        for prepared in self._ready:
            prepared.close()
            send_signal(prepared.process.pidfd, _SIGKILL)
            os.waitid(os.P_PIDFD, prepared.process.pidfd, os.WEXITED)
            for _ in range(REMOVALS_MAX):
                if remove(prepared.groups):
                    break
                time.sleep(REMOVAL_RETRY_S)  # the supervisor's last act: nobody is kept waiting
        self._ready.clear()
