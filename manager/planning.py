"""The planner's loop without its waiting: what to propose next, from what was committed. leader.py is its shell.

Owns the planner's index, its time (which never goes back and never stands still, whatever the clock does), and the latest reason for
each task. Reads no clock: the time comes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final

import msgspec

from cluster.model.changes import Kind
from manager import network_keys
from manager.draft import Why
from manager.index import Index
from manager.planner import Plan, plan
from manager.store import Event, Store

SLOWED: Final = 2


class Planning:
    """One leadership's. `entropy` must be the system's."""

    def __init__(self, store: Store, rng: Random, entropy: Random) -> None:
        self._store = store
        self._rng = rng
        self._entropy = entropy
        self._now_ns = self._steady_ns = 0
        self._reasons: dict[str, Why] = {}
        self._index = Index()
        self.begin()

    @property
    def reasons(self) -> Mapping[str, Why]:
        """Why tasks are where they are, or nowhere: by task id; networks without addresses by network id."""
        return self._reasons

    @property
    def index(self) -> Index:
        """The planner's view, for reading between two plans: of what is committed, once it is asked to settle."""
        return self._index

    def begin(self) -> None:
        """Look at everything anew. The next events are those after the store's state now."""
        self._index = Index.build(item for kind in Kind for item in self._store.all(kind))

    def plan(self, events: tuple[Event, ...], wall_ns: int, steady_ns: int) -> Plan:
        """What to propose now, and when to ask again without any event (`wait_ns`). The times: as `now_ns`."""
        now_ns = self.now_ns(wall_ns, steady_ns)
        made = plan(self._index, events, now_ns, self._rng)
        cluster = next(iter(self._index.clusters.values()), None)
        turned, when_ns = network_keys.turn(cluster, self._index.networks.values(), now_ns, self._entropy)
        deadlines = [d for d in (made.deadline_ns, when_ns) if d is not None]
        made = msgspec.structs.replace(made, changes=(*made.changes, *turned), deadline_ns=min(deadlines, default=None))
        self._reasons.update(made.reasons)
        for event in events:
            if event.after is None:
                self._reasons.pop(event.id, None)
        return made

    def now_ns(self, wall_ns: int, steady_ns: int) -> int:
        """Unix time that never goes back. `steady_ns`: of any clock that nobody sets. After the wall clock was set back this time goes half as
        fast until that has caught up: what waits for its time waits twice as long at most, and not for as long as it was set back.
        """
        slowly_ns = self._now_ns + (steady_ns - self._steady_ns) // SLOWED
        self._now_ns, self._steady_ns = max(slowly_ns, wall_ns) if self._now_ns else wall_ns, steady_ns
        return self._now_ns

    def wait_ns(self, deadline_ns: int, wall_ns: int, steady_ns: int) -> int:
        """How long it takes until that time has come."""
        left_ns = max(0, deadline_ns - self.now_ns(wall_ns, steady_ns))
        return left_ns * SLOWED if self._now_ns > wall_ns else left_ns
