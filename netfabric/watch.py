"""When a fabric has to look at the kernel again because somebody else has changed it: the shell around netfabric/deviation.py.

Owns the listener and the pace. The first repair comes at once; one that follows soon waits a little, each time longer, so that somebody who fights us
can't keep the node busy. Never changes anything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Final

import trio

from netfabric.deviation import Word, deviating, unfinished
from netfabric.diff import Change, CreateNamespace, Drop, Operation, Operations, Put, RemoveNamespace, Transact
from netfabric.handles import Handles
from netfabric.indexes import Indexes
from netfabric.netlink.listener import Listener, Missed
from netfabric.state import NODE, Guard, State

PAUSE_FIRST_S: Final = 0.05
PAUSE_LAST_S: Final = 1.0
CALM_S: Final = 10.0
"""After so long without a repair the next one comes at once again."""


class Watch:
    """Of one node's fabric."""

    def __init__(self, listener: Listener, indexes: Indexes) -> None:
        self._listener, self._indexes = listener, indexes
        self._suspect: frozenset[str] = frozenset()
        self._begun: tuple[Word, ...] = ()
        self._free_at = -math.inf
        self._pause_s = PAUSE_FIRST_S

    def heard(self, desired: State, own: Mapping[str, int] | None = None) -> frozenset[str]:
        """The namespaces that others have changed since the last time; "" is the node's own."""
        try:
            words = [*self._begun, *(Word(*said) for said in self._listener.drain(NODE))]
            self._begun = unfinished(words)
            found = deviating(desired, self._indexes, words, own)
        except Missed:
            self._begun, found = (), frozenset(desired)
        found, self._suspect = found | self._suspect, frozenset()
        return found

    async def follow(self, handles: Handles, operations: Operations, desired: State) -> bool:
        """After our own `operations`: hear of the namespaces that are new. Returns whether somebody else has changed something meanwhile, which the
        next `heard` will tell. Raises OSError."""
        for name in {o.namespace for o in operations if isinstance(o, CreateNamespace | RemoveNamespace)}:
            self._listener.forget(name)
        for name in desired.keys() - self._listener.names() - {NODE}:
            if handles.there(name):
                await self._listener.follow(handles.route(NODE), name, handles.descriptor(name))
        self._suspect = self.heard(desired, Counter(o.namespace for o in operations if _is_transaction(o)))
        return bool(self._suspect)

    async def pause(self, urgent: trio.Event) -> None:
        """As long as the pace asks for, or until the event."""
        if trio.current_time() > self._free_at + CALM_S:
            self._pause_s = PAUSE_FIRST_S
        with trio.move_on_at(self._free_at):
            await urgent.wait()
        self._free_at = trio.current_time() + self._pause_s
        self._pause_s = min(2 * self._pause_s, PAUSE_LAST_S)


def _is_transaction(operation: Operation) -> bool:
    """Whether it is one of nftables."""
    return isinstance(operation, Transact) or (isinstance(operation, Put | Change | Drop) and isinstance(operation.item, Guard))
