"""Two processes with one identity: a virtual machine that was cloned. Found when the second one comes, and not let in while the first lives.

Owns the question and the words, for agents' sessions (manager/dispatcher) and for the places of members (manager/peers.py). Who comes from another
process than the one that is there was started anew, or is a clone: the one that is there is asked, and whoever answers is alive.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

import trio

from cluster.model.errors import ClusterError, Conflict, Unavailable
from cluster.wire.calls import Nothing
from cluster.wire.peer import Caller, Peer, split_address

ANSWER_S: Final = 2.0
"""How long the one that is there has for its answer; the other one waits."""


async def is_alive(peer: Peer) -> bool:
    """Whether the other end answers. One that does not know the call says so: it lives, too."""
    with trio.move_on_after(ANSWER_S):
        try:
            await peer.call("node.present", Nothing())
        except Unavailable:
            return False
        except ClusterError:
            return True
        return True
    return False


def home(advertised: str) -> str:
    """The plain address of the host:port under which the group knows a manager; empty for empty."""
    return split_address(advertised)[0] if advertised else ""


def goes_first(address: str, other: str, home: str) -> bool:
    """Whether who calls from `address` goes before the one at `other`: a manager at its known address is not kept out by a clone that came first."""
    return _is_at(address, home) and not _is_at(other, home)


def _is_at(address: str, home: str) -> bool:
    """Who calls from the loopback is on this manager's own machine."""
    return address == home or ip_address(address).is_loopback


def words(what: str, has: str, here: str, there: str) -> str:
    """What the second one is told, and everybody else; `here`: where the first one is, which `has` it, `there`: the second."""
    return f"two {what} have this node's identity: the one at {here} has its {has}, another is at {there}; a cloned machine has to leave and join anew"


@dataclass(eq=False)
class Place:
    """One connection of a member that listens to this one. `process` is empty for one of an earlier version."""

    process: str
    caller: Caller
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    displaced_by: Place | None = None

    def displace(self, by: Place) -> None:
        self.displaced_by = by
        self.scope.cancel()

    def check(self) -> None:
        """Raises Conflict when another process has the place now."""
        if self.displaced_by is not None and "" not in (self.process, self.displaced_by.process) and self.process != self.displaced_by.process:
            raise Conflict(words("managers", "place", self.displaced_by.caller.address, self.caller.address))


class Places:
    """Which process listens to this manager as which member: one each."""

    def __init__(self) -> None:
        self._taken: dict[int, Place] = {}

    @asynccontextmanager
    async def taken(self, member: int, process: str, caller: Caller, home: str) -> AsyncIterator[None]:
        """A block that lasts as long as this connection is the member's. Raises Conflict while another process has the place and is alive, and when one takes
        it over.
        """
        place = await self._take(member, process, caller, home)
        try:
            with place.scope:
                yield
        finally:
            if self._taken.get(member) is place:
                del self._taken[member]
        place.check()

    async def _take(self, member: int, process: str, caller: Caller, home: str) -> Place:
        new = Place(process, caller)
        there = self._taken.get(member)
        while there is not None and process not in ("", there.process) and there.process:
            if self.is_elsewhere(member, caller.address, home) or not await is_alive(there.caller.peer):
                break
            if (now := self._taken.get(member)) is there:
                raise Conflict(words("managers", "place", there.caller.address, caller.address))
            there = now  # while it was asked
        if (there := self._taken.get(member)) is not None:
            there.displace(new)
        self._taken[member] = new
        return new

    def is_elsewhere(self, member: int, address: str, home: str) -> bool:
        """Whether somebody has the member's place before whom one at this address goes."""
        there = self._taken.get(member)
        return there is not None and goes_first(address, there.caller.address, home)
