"""What this member knows others to hold of what is committed, so that one whose log has gone backwards can be told so.

A virtual machine that was set back to a snapshot forgets what it had acknowledged; with its vote a majority could go on without
it. The leader knows how far each member's own log reaches, tells all members with every heartbeat, and each tells a member that
comes back what it remembers of it. Only committed entries count: a member never loses those whatever leaders come and go, so what
is said of it may be as old as it likes. Owns that memory, which lasts as long as the process; core.py decides. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Held(NamedTuple):
    """A member's own log holds the committed entry with this index, whose term is `term` (0: not known)."""

    member: int
    entry: int
    term: int


class Witness:
    def __init__(self) -> None:
        self._held: dict[int, Held] = {}

    def note(self, held: Iterable[Held]) -> None:
        """All present members, as a leader knows them; who is none any more is forgotten."""
        self._held = {one.member: max(one, self._held.get(one.member, one), key=lambda known: known.entry) for one in held}

    def of(self, member: int) -> Held | None:
        return self._held.get(member)
