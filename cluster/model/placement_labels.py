"""What a service asks of its placement beyond the API's fields, as reserved labels of its own: read, written, refused. Pure.

`festoon.priority=N` (`--priority`): a task that fits nowhere may evict tasks of services with a strictly lower number; 0 without it.
`festoon.placement-strategy=pack|spread` (`--placement-strategy`): fill nodes one after the other, or use as many as there are; spread without it.
`festoon.rebalance=auto` (`--rebalance auto`): move tasks when nodes come, within the rules of its updates; `once`
(`service rebalance`): until it is even. Docker's own client keeps labels that it does not know, so these survive it.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from cluster.model.errors import InvalidArgument
from cluster.model.specs import Pairs

PRIORITY: Final = "festoon.priority"
STRATEGY: Final = "festoon.placement-strategy"
REBALANCE: Final = "festoon.rebalance"
PRIORITY_LIMIT: Final = 1_000_000


class Strategy(enum.StrEnum):
    SPREAD = "spread"
    PACK = "pack"


class Rebalance(enum.StrEnum):
    OFF = "off"
    AUTO = "auto"
    ONCE = "once"


class Wish(msgspec.Struct, frozen=True):
    """All of it for one service."""

    priority: int = 0
    strategy: Strategy = Strategy.SPREAD
    rebalance: Rebalance = Rebalance.OFF


NOTHING: Final = Wish()


def wish_of(labels: Pairs) -> Wish:
    """What these labels ask for. Raises InvalidArgument."""
    if not labels:
        return NOTHING
    found = {name: value for name, value in labels if name in (PRIORITY, STRATEGY, REBALANCE)}
    return Wish(_priority(found.get(PRIORITY, "0")), _strategy(found.get(STRATEGY, "spread")), _rebalance(found.get(REBALANCE, "off"))) if found else NOTHING


def _priority(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 8 and int(digits) <= PRIORITY_LIMIT):
        raise InvalidArgument(f"invalid label {PRIORITY}={text}: must be a number from -{PRIORITY_LIMIT} to {PRIORITY_LIMIT}")
    return int(text)


def _strategy(text: str) -> Strategy:
    if text not in tuple(Strategy):
        raise InvalidArgument(f"invalid label {STRATEGY}={text}: must be pack or spread")
    return Strategy(text)


def _rebalance(text: str) -> Rebalance:
    if text not in tuple(Rebalance):
        raise InvalidArgument(f"invalid label {REBALANCE}={text}: must be auto, once or off")
    return Rebalance(text)
