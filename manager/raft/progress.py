"""What a leader knows of one follower's log, and how much it may have under way to it. Source: etcd raft's design
notes on Progress.

PROBE: the follower's log is not known; one append at a time, each answered before the next. REPLICATE: the logs agree
up to `match`; appends are sent ahead, at most `window` of them unanswered. Only this file changes these fields.
"""

from __future__ import annotations

import enum
from collections import deque


class Mode(enum.Enum):
    PROBE = "probe"
    REPLICATE = "replicate"


class Progress:
    """A follower as its leader sees it. `match`: known to be there; `next`: first index to send."""

    def __init__(self, next_index: int, window: int) -> None:
        self.match = 0
        self.next = next_index
        self.mode = Mode.PROBE
        self.recently_active = False
        self._window = window
        self._probe_sent = False
        self._inflight: deque[int] = deque()  # last index of each unanswered append

    @property
    def paused(self) -> bool:
        """Whether an append has to wait for an answer."""
        if self.mode is Mode.PROBE:
            return self._probe_sent
        return len(self._inflight) >= self._window

    def sent(self, last_index: int, count: int) -> None:
        """An append with `count` entries up to `last_index` went out."""
        if self.mode is Mode.PROBE:
            self._probe_sent = True
        elif count:
            self.next = last_index + 1
            self._inflight.append(last_index)

    def acknowledged(self, index: int) -> bool:
        """The follower has everything up to `index`; whether that is news."""
        news = index > self.match
        self.match = max(self.match, index)
        self.next = max(self.next, index + 1)
        while self._inflight and self._inflight[0] <= index:
            self._inflight.popleft()
        if self.mode is Mode.PROBE and (news or self.match == index):
            self.mode = Mode.REPLICATE
            self._probe_sent = False
            self._inflight.clear()
            self.next = self.match + 1
        return news

    def rejected(self, before: int, hint: int) -> bool:
        """The follower lacks the entry `before` that an append followed; the logs may agree at `hint`. Whether to
        send again.
        """
        if self.mode is Mode.REPLICATE:
            if before <= self.match:
                return False  # an old answer that was overtaken
            self._probe(self.match + 1)
            return True
        if before != self.next - 1:
            return False
        self._probe(max(min(before, hint + 1), self.match + 1))
        return True

    def answered_heartbeat(self) -> None:
        """The follower lives: a lost probe may be sent again, and a full window lets one more go (an answer may have
        been lost).
        """
        self.recently_active = True
        self._probe_sent = False
        if self.mode is Mode.REPLICATE and len(self._inflight) >= self._window:
            self._inflight.popleft()

    def _probe(self, next_index: int) -> None:
        self.mode = Mode.PROBE
        self.next = next_index
        self._probe_sent = False
        self._inflight.clear()
