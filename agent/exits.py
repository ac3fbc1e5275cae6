"""Who waits for the end of containers: the next exit, a stop, a removal. Owns the events that wake them; knows no container's record."""

from __future__ import annotations

from dataclasses import dataclass

import trio


@dataclass(slots=True)
class _Removal:
    happened: trio.Event
    status: int = 0
    error: str = ""


class Exits:
    """Of a container there is one event per run (set at its end), one while that end is cleaned up, and one for its removal."""

    def __init__(self) -> None:
        self._exits: dict[str, trio.Event] = {}
        self._removals: dict[str, _Removal] = {}
        self._ending: dict[str, trio.Event] = {}

    def begin(self, container_id: str) -> None:
        """A run begins; who waits for its exit already goes on waiting."""
        if self._exits.setdefault(container_id, trio.Event()).is_set():
            self._exits[container_id] = trio.Event()

    def end(self, container_id: str) -> None:
        """The run is over and everything of it is gone."""
        self._exits.setdefault(container_id, trio.Event()).set()

    def is_ending(self, container_id: str) -> bool:
        return container_id in self._ending

    def begin_ending(self, container_id: str) -> None:
        """The program has ended; what it left is being taken down."""
        self._ending[container_id] = trio.Event()

    def finish_ending(self, container_id: str) -> None:
        self._ending.pop(container_id).set()

    async def until_gone(self, container_id: str) -> None:
        """Until nothing of a run that has ended is left."""
        if (gone := self._ending.get(container_id)) is not None:
            await gone.wait()

    async def until_stopped(self, container_id: str, *, running: bool) -> None:
        """Until it does not run and nothing of its run is left."""
        if running:
            await self._exits.setdefault(container_id, trio.Event()).wait()
        await self.until_gone(container_id)

    async def until_next(self, container_id: str, *, running: bool) -> None:
        """Until the exit of this run, or of the next one when it does not run."""
        event = self._exits.setdefault(container_id, trio.Event())
        if event.is_set() and not running and container_id not in self._ending:
            event = self._exits[container_id] = trio.Event()  # that was the exit of an earlier run
        await event.wait()

    async def until_removed(self, container_id: str) -> tuple[int, str]:
        """The last exit status and error."""
        removal = self._removals.setdefault(container_id, _Removal(trio.Event()))
        await removal.happened.wait()
        return removal.status, removal.error

    def removed(self, container_id: str, status: int, error: str) -> None:
        """Wakes everybody who waits for anything of it."""
        removal = self._removals.pop(container_id, None)
        if removal is not None:
            removal.status, removal.error = status, error
            removal.happened.set()
        exited = self._exits.pop(container_id, None)
        if exited is not None:
            exited.set()
