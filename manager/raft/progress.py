"""What a leader knows of one follower's log, and how much it may have under way to it. Source: etcd raft's design
notes on Progress.

PROBE: the follower's log is not known; one append at a time, each answered before the next. REPLICATE: the logs agree
up to `match`; appends are sent ahead, at most `window` of them unanswered. SNAPSHOT: what the follower lacks is
compacted; it gets nothing else until the snapshot has come through. Only this file changes these fields.
"""

from __future__ import annotations

import enum
from collections import deque


class Mode(enum.Enum):
    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """A follower as its leader sees it. `match`: known to be there; `next`: first index to send; `told`: the commit index that was sent last."""

    def __init__(self, next_index: int, window: int) -> None:
        self.match = 0
        self.next = next_index
        self.told = 0
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
        if self.mode is Mode.SNAPSHOT:
            return True
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
        if self.mode is Mode.SNAPSHOT and not news:
            return False
        if self.mode is not Mode.REPLICATE and (news or self.match == index):
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
        if self.mode is Mode.SNAPSHOT or before != self.next - 1:
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

    def lacks_compacted(self) -> None:
        """What comes next for it is no longer in the log."""
        self.mode = Mode.SNAPSHOT
        self._inflight.clear()

    def snapshot_ended(self, index: int | None) -> None:
        """The follower was handed a snapshot up to `index`, or (None) that failed: find out what it has."""
        if self.mode is Mode.SNAPSHOT:
            self._probe(max(self.match, index or 0) + 1)
            self._probe_sent = True  # its acknowledgement, or after a failure its next heartbeat's answer, goes on

    def _probe(self, next_index: int) -> None:
        self.mode = Mode.PROBE
        self.next = next_index
        self._probe_sent = False
        self._inflight.clear()
