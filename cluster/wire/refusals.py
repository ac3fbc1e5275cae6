"""What is logged of those who are turned away before they could make a call: one line at a time, however many there are.

Owns the bound: a flood of connections makes a line a second, which says how many it stands for.
"""

from __future__ import annotations

import logging
from typing import Final

INTERVAL_S: Final = 1.0


class Refusals:
    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._next_s = 0.0
        self._unsaid = 0

    def note(self, address: str, reason: str, now_s: float) -> None:
        """Somebody was turned away; `now_s` is of any clock that never goes back."""
        if now_s < self._next_s:
            self._unsaid += 1
            return
        self._log.warning("a connection is refused", extra={"fields": {"address": address, "error": reason, "unsaid_before": self._unsaid}})
        self._next_s, self._unsaid = now_s + INTERVAL_S, 0
