"""Children in reserve: which, how many, and when they are forked. Owns those that nobody has taken yet.

What is kept ready follows what was asked for last. It is filled up when no start is under way and the event loop has
nothing else to do; a child that ends by itself is not replaced before the next container asks.
"""

from __future__ import annotations

import os
from collections import Counter, deque

from runtime.kernel import constants as k
from runtime.kernel.processes import send_signal
from runtime.spec import Exited
from runtime.supervisor.loop import Loop
from runtime.supervisor.prepared import Prepared, fork_ahead
from runtime.supervisor.reaper import Reaper

RESERVE_MAX = 4
"""Children ready at most."""
AT_REST = 2
"""Children ready before anybody has asked."""
_USUAL = k.CLONE_NEWUTS | k.CLONE_NEWIPC
_SIGKILL = 9


class Reserve:
    """`home`: this process's own pid namespace. `procs`: the cgroup.procs file of a group that it is in, if any."""

    def __init__(self, loop: Loop, reaper: Reaper, home: int, procs: str = "") -> None:
        self._loop = loop
        self._reaper = reaper
        self._home = home
        self._procs = procs
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

    def announce(self) -> None:
        """A container's groups exist and it is about to start; see Prepared.announce."""
        if self._ready and self._procs:
            self._ready[0].announce(self._procs)

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
            self.dismiss(spare)
        elif not self._fork(missing):
            return
        self._loop.when_idle(self.fill)

    def _fork(self, flags: int) -> bool:
        """False when the kernel has no process to give: the next container that asks tries again."""
        try:
            pid, channel, room = fork_ahead(flags, self._home)
        except (BlockingIOError, MemoryError):
            return False
        except OSError as error:
            os.write(2, f"no child in reserve: {error}\n".encode())
            return False

        def ended(exited: Exited) -> None:
            prepared.on_exit(exited)

        prepared = Prepared(flags, self._reaper.watch_child(pid, ended), channel, room, lambda _exited: self._lost(prepared))
        self._ready.append(prepared)
        return True

    def _lost(self, prepared: Prepared) -> None:
        if prepared in self._ready:
            self._ready.remove(prepared)
            prepared.close()

    def dismiss(self, prepared: Prepared) -> None:
        """One that is not wanted, or was taken in vain."""
        if prepared in self._ready:
            self._ready.remove(prepared)
        prepared.on_exit = _forgotten
        prepared.close()

    def close(self) -> None:
        """Ends and reaps all of them."""
        for prepared in self._ready:
            prepared.close()
            send_signal(prepared.process.pidfd, _SIGKILL)
            os.waitid(os.P_PIDFD, prepared.process.pidfd, os.WEXITED)
        self._ready.clear()


def _forgotten(_exited: Exited) -> None:
    return
