"""Which logs have grown: one inotify descriptor for all who follow one, because the kernel gives a user 128 of those (fs.inotify.max_user_instances), but
thousands of watches. Source: inotify(7).

Owns the descriptor, for as long as anybody follows, and the one task that reads it; never opens a log."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

import trio

from runtime.kernel import constants as k
from runtime.kernel import inotify

_MASK: Final = k.IN_MODIFY | k.IN_CREATE | k.IN_MOVED_TO


class Growth:
    """One follower's: wakes when its file has changed since it was looked at. To be closed."""

    def __init__(self, watch: _Watch, number: int, name: str) -> None:
        self.name = name
        self._watch, self._number = watch, number
        self._grown = trio.Event()

    def note(self) -> None:
        self._grown.set()

    async def wait(self) -> None:
        await self._grown.wait()
        self._grown = trio.Event()

    def close(self) -> None:
        self._watch.remove(self, self._number)


class _Watch:
    """State: who waits for a file of which watched folder."""

    def __init__(self) -> None:
        self.descriptor = inotify.open_watches()
        self._waiting: dict[int, set[Growth]] = {}

    def add(self, path: str) -> Growth:
        folder, name = os.path.split(path)
        number = inotify.add(self.descriptor, folder, _MASK)
        growth = Growth(self, number, name)
        self._waiting.setdefault(number, set()).add(growth)
        return growth

    def remove(self, growth: Growth, number: int) -> None:
        """The last one of all closes the descriptor, which ends its reader."""
        waiting = self._waiting.get(number, set())
        waiting.discard(growth)
        if not waiting and self._waiting.pop(number, None) is not None:
            inotify.drop(self.descriptor, number)
        self.close_if_idle()

    def close_if_idle(self) -> None:
        if not self._waiting and self.descriptor >= 0:
            trio.lowlevel.notify_closing(self.descriptor)
            os.close(self.descriptor)
            self.descriptor = -1
            _SHARED.set(None)

    async def read(self) -> None:
        """Until the descriptor is closed."""
        while self.descriptor >= 0:
            for change in inotify.read_changes(self.descriptor):
                for growth in self._asked(change):
                    growth.note()
            with suppress(trio.ClosedResourceError):
                await trio.lowlevel.wait_readable(self.descriptor)

    def _asked(self, change: inotify.Change) -> list[Growth]:
        if change.mask & k.IN_Q_OVERFLOW:
            return [growth for waiting in self._waiting.values() for growth in waiting]
        return [growth for growth in self._waiting.get(change.watch, ()) if growth.name == change.name]


_SHARED: Final[trio.lowlevel.RunVar[_Watch | None]] = trio.lowlevel.RunVar("the watch on logs", None)


def watch(path: str) -> Growth:
    """From now on. Raises FileNotFoundError where the folder is not there, OSError."""
    shared = _SHARED.get()
    if shared is None:
        shared = _Watch()
        _SHARED.set(shared)
        trio.lowlevel.spawn_system_task(shared.read)
    try:
        return shared.add(path)
    except OSError:
        shared.close_if_idle()
        raise
