"""Who waits for the end of containers: the next exit, a stop, a removal. Owns the events that wake them; knows no container's record."""

from __future__ import annotations

from dataclasses import dataclass

import trio


@dataclass(slots=True)
class _End:
    """Of a run, or of the container."""

    happened: trio.Event
    status: int = 0
    error: str = ""

    def say(self, status: int, error: str) -> None:
        if not self.happened.is_set():
            self.status, self.error = status, error
            self.happened.set()

    async def wait(self) -> tuple[int, str]:
        await self.happened.wait()
        return self.status, self.error


class Exits:
    """Of a container there is one event per run (set at its end), one while that end is cleaned up, and one for its removal."""

    def __init__(self) -> None:
        self._exits: dict[str, _End] = {}
        self._removals: dict[str, _End] = {}
        self._ending: dict[str, trio.Event] = {}

    def begin(self, container_id: str) -> None:
        """A run begins; who waits for its exit already goes on waiting."""
        if self._exit(container_id).happened.is_set():
            self._exits[container_id] = _End(trio.Event())

    def _exit(self, container_id: str) -> _End:
        return self._exits.setdefault(container_id, _End(trio.Event()))

    def end(self, container_id: str, status: int, error: str) -> None:
        """The run is over and everything of it is gone."""
        self._exit(container_id).say(status, error)

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

    async def until_stopped(self, container_id: str, *, running: bool) -> tuple[int, str] | None:
        """Until it does not run and nothing of its run is left: the run's exit status and error, None when there was none to wait for."""
        ended = await self._exit(container_id).wait() if running else None
        await self.until_gone(container_id)
        return ended

    async def until_next(self, container_id: str, *, running: bool) -> tuple[int, str]:
        """Until the exit of this run, or of the next one when it does not run: its exit status and error."""
        exit_ = self._exit(container_id)
        if exit_.happened.is_set() and not running and container_id not in self._ending:
            exit_ = self._exits[container_id] = _End(trio.Event())  # that was the exit of an earlier run
        return await exit_.wait()

    async def until_removed(self, container_id: str) -> tuple[int, str]:
        """The last exit status and error."""
        return await self._removals.setdefault(container_id, _End(trio.Event())).wait()

    def removed(self, container_id: str, status: int, error: str) -> None:
        """Wakes everybody who waits for anything of it."""
        for ends in (self._removals, self._exits):
            if (end := ends.pop(container_id, None)) is not None:
                end.say(status, error)
