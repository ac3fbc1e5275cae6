"""Children in reserve: which, how many, and when they are born. Owns those that nobody has taken and used.

What is kept ready follows what was asked for last. It is filled up when no start is under way and the event loop has
nothing else to do; who asks when nothing is ready gets the next one that is born. A child that ends by itself is not
replaced before the next container asks.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable

from runtime.cgroups.groups import Groups, Parents, open_procs, open_unified, remove
from runtime.child.namespaces import separate_ahead
from runtime.errors import RuntimeFault, StartFailed
from runtime.kernel import constants as k
from runtime.kernel.operations import Script
from runtime.kernel.processes import send_signal
from runtime.spec import Exited, Limits
from runtime.supervisor.births import Births, Numbering, pack_list, send_list
from runtime.supervisor.loop import Loop
from runtime.supervisor.prepared import Prepared
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

Taken = Callable[[Prepared | RuntimeFault], None]


class Reserve:
    """`prefix`: of the groups' names, for this supervisor's only."""

    def __init__(self, loop: Loop, reaper: Reaper, births: Births, parents: Parents, prefix: str) -> None:
        self._loop = loop
        self._reaper = reaper
        self._births = births
        self._parents = parents
        self._prefix = prefix
        self._asked = deque([_USUAL] * AT_REST, maxlen=RESERVE_MAX)
        self._ready: list[Prepared] = []
        self._owned: list[Prepared] = []
        self._coming: list[int] = []
        self._waiting: deque[tuple[int, Taken]] = deque()
        self._starting = 0
        self._lists: dict[tuple[int, int, int], bytes] = {}

    def take(self, flags: int, taken: Taken) -> None:
        """One that has unshared exactly `flags`, the taker's from then on: at once, or as soon as it is born. The fault
        when there is none."""
        self._asked.append(flags)
        for prepared in self._ready:
            if prepared.flags == flags:
                self._ready.remove(prepared)
                taken(prepared)
                return
        self._waiting.append((flags, taken))
        if self._coming.count(flags) < sum(waiting == flags for waiting, _ in self._waiting):
            self._order(flags)

    def begin(self) -> None:
        """A start is under way: its report must not wait for a birth."""
        self._starting += 1

    def done(self) -> None:
        """It has reported."""
        self._starting -= 1
        self._loop.when_idle(self.fill)

    def fill(self) -> None:
        """One step towards what was asked for last: lets one go, or wishes for one."""
        if self._starting or self._waiting:
            return
        wanted = Counter(self._asked)
        there = Counter([*(prepared.flags for prepared in self._ready), *self._coming])
        spare = next((prepared for prepared in self._ready if there[prepared.flags] > wanted[prepared.flags]), None)
        missing = next((flags for flags in wanted if wanted[flags] > there[flags]), None)
        if missing is None:
            return
        if spare is not None:
            self._ready.remove(spare)
            spare.close()
            self._loop.when_idle(self.fill)
        else:
            self._order(missing)

    def _order(self, flags: int) -> None:
        """Makes the groups and wishes for a child in them."""
        name = f"{self._prefix}{os.urandom(4).hex()}"
        groups = self._parents.find("", name)
        self._coming.append(flags)
        try:
            groups = self._parents.make("", name, Limits(), False)
            group = open_unified(groups)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                self._births.wish(theirs, group, -1, lambda outcome: self._born(flags, name, groups, ours, outcome))
            finally:
                theirs.close()
                close_all((group,))
        except (OSError, StartFailed) as error:
            self._failed(flags, groups, error)

    def _failed(self, flags: int, groups: Groups, error: Exception) -> None:
        """Whoever waits is told; the next container that asks tries again."""
        self._coming.remove(flags)
        remove(groups)
        fault = error if isinstance(error, StartFailed) else StartFailed(str(error))
        waiter = self._next_waiter(flags)
        if waiter is not None:
            waiter(fault)
        else:
            os.write(2, f"no child in reserve: {fault}\n".encode())

    def _next_waiter(self, flags: int) -> Taken | None:
        for entry in self._waiting:
            if entry[0] == flags:
                self._waiting.remove(entry)
                return entry[1]
        return None

    def _born(self, flags: int, name: str, groups: Groups, channel: socket.socket, outcome: int | StartFailed) -> None:
        if isinstance(outcome, StartFailed):
            channel.close()
            self._failed(flags, groups, outcome)
            return

        def ended(exited: Exited) -> None:
            prepared.on_exit(exited)

        process = self._reaper.watch_child(outcome, ended)
        prepared = Prepared(flags, name, groups, process, channel, self._births.room, lambda _exited: self._lost(prepared))
        self._owned.append(prepared)
        try:
            self._separate(prepared)
        except OSError as error:  # groups that somebody has removed
            prepared.close()
            self._failed(flags, groups, error)
            return
        self._coming.remove(flags)
        waiter = self._next_waiter(flags)
        if waiter is None:
            self._ready.append(prepared)
            self._loop.when_idle(self.fill)
        else:
            waiter(prepared)

    def _separate(self, prepared: Prepared) -> None:
        """The child's first list."""
        procs = open_procs(prepared.groups, born=True)
        try:
            send_list(prepared.channel, self._list(prepared.flags, len(procs), prepared.room), tuple(procs))
        finally:
            close_all(procs)

    def _list(self, flags: int, groups: int, room: int) -> bytes:
        found = self._lists.get((flags, groups, room))
        if found is None:
            number, script = Numbering(), Script()
            separate_ahead(script, flags, tuple(number(place) for place in range(groups)))
            found = self._lists[flags, groups, room] = pack_list(script.operations, room, last=False)
        return found

    def _lost(self, prepared: Prepared) -> None:
        if prepared in self._ready:
            self._ready.remove(prepared)
        prepared.close()
        self._remove(prepared, 0)

    def _remove(self, prepared: Prepared, tries: int) -> None:
        """Its groups, as soon as the child is off them."""
        if not remove(prepared.groups) and tries < REMOVALS_MAX:
            self._loop.after(REMOVAL_RETRY_S, lambda: self._remove(prepared, tries + 1))
        else:
            self._owned.remove(prepared)

    def give_back(self, prepared: Prepared) -> None:
        """One that was taken ends if it has been of no use."""
        if prepared.used:
            self._owned.remove(prepared)
        else:
            prepared.close()

    def close(self) -> None:
        """Ends and reaps all of them, those on their way too."""
        self._births.close()
        for prepared in self._owned:
            prepared.close()
            if prepared.process.pidfd >= 0:
                send_signal(prepared.process.pidfd, _SIGKILL)
                os.waitid(os.P_PIDFD, prepared.process.pidfd, os.WEXITED)
            for _ in range(REMOVALS_MAX):
                if remove(prepared.groups):
                    break
                time.sleep(REMOVAL_RETRY_S)  # the supervisor's last act: nobody is kept waiting
        self._ready.clear()
