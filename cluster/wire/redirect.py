"""Asking a cluster whose leader is not known yet: whichever manager answers, or the leader that it names.

Owns the order of the tries; opens no connection. There is one redirect and no more: who leads changes at most once while one asks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from cluster.model.errors import NotLeader, Unavailable

T = TypeVar("T")


async def ask_leader(addresses: Sequence[str], ask: Callable[[str], Awaitable[T]]) -> T:
    """What `ask(host:port)` returns for the first manager that answers, or for the leader that it names. Raises Unavailable when none
    answers, and whatever else one of them answered."""
    problem = Unavailable("no manager is known")
    for address in addresses:
        try:
            return await _ask_or_follow(address, ask)
        except Unavailable as unreachable:
            problem = unreachable
    raise problem


async def _ask_or_follow(address: str, ask: Callable[[str], Awaitable[T]]) -> T:
    try:
        return await ask(address)
    except NotLeader as elsewhere:
        if not elsewhere.message:
            raise
        leader = elsewhere.message
    return await ask(leader)
