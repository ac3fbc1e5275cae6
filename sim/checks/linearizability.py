"""Whether a history of calls to registers could have come from one copy that does one call at a time.

Wing and Gong's search with Lowe's cache, as in Porcupine: try calls in any order that respects who returned before
whom; remember (which calls are in, the value then) so that no configuration is tried twice. Registers are independent,
so each is searched alone. A call whose outcome is not known may take effect at any later time, or never.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf

from sim.world import SECOND


class Outcome(enum.Enum):
    PENDING = "pending"
    DONE = "done"
    UNKNOWN = "unknown"


@dataclass(eq=False)
class Call:
    """A write of `value`, or (None) a read that found `read`."""

    client: str
    key: str
    value: int | None
    called_ns: int
    returned_ns: int = 0
    outcome: Outcome = Outcome.PENDING
    read: int | None = None

    def __str__(self) -> str:
        what = f"read {self.key}, found {self.read}" if self.value is None else f"write {self.key} = {self.value}"
        return f"{self.client} {what} [{self.called_ns / SECOND:.3f}, {self.returned_ns / SECOND:.3f}]"


def violation(history: Iterable[Call]) -> str:
    """A sentence that says which register cannot be explained; empty when all can."""
    by_key: dict[str, list[Call]] = {}
    for call in history:
        if call.outcome is Outcome.DONE or call.value is not None:
            by_key.setdefault(call.key, []).append(call)
    for key, calls in by_key.items():
        if not is_linearizable(calls):
            return f"no order of the calls explains what clients saw of {key}: " + "; ".join(map(str, _shortest(calls)))
    return ""


def is_linearizable(calls: list[Call]) -> bool:
    """All of one register, which holds None at first."""
    calls = sorted(calls, key=lambda call: call.called_ns)
    ends = [call.returned_ns if call.outcome is Outcome.DONE else inf for call in calls]
    must = sum(1 << place for place, end in enumerate(ends) if end != inf)
    seen: set[tuple[int, int | None]] = set()
    stack: list[tuple[int, int | None]] = [(0, None)]
    while stack:
        done, value = stack.pop()
        if done & must == must:
            return True
        if (done, value) in seen:
            continue
        seen.add((done, value))
        stack.extend(_next(calls, ends, done, value))
    return False


def _next(calls: list[Call], ends: list[float], done: int, value: int | None) -> list[tuple[int, int | None]]:
    """What may come after: any call that began before every call that is still missing has returned."""
    found: list[tuple[int, int | None]] = []
    first_end = inf
    for place, call in enumerate(calls):
        if call.called_ns > first_end:
            break
        if done >> place & 1:
            continue
        first_end = min(first_end, ends[place])
        if call.value is not None:
            found.append((done | 1 << place, call.value))
        elif call.read == value:
            found.append((done | 1 << place, value))
    return found


def _shortest(calls: list[Call]) -> list[Call]:
    """The last calls of the shortest beginning of the history that cannot be explained."""
    known = sorted((call for call in calls if call.outcome is Outcome.DONE), key=lambda call: call.returned_ns)
    for count in range(1, len(known) + 1):
        later = [replace(call, outcome=Outcome.UNKNOWN) for call in calls if call.value is not None and call not in known[:count]]
        if not is_linearizable([*known[:count], *later]):
            return known[max(0, count - 4) : count]
    return known[-4:]
