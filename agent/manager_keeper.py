"""Keeps this node's manager process alive while the node is a manager: takes it over, starts it, starts it again when it has died.

Owns when; how a process is started and ended is manager_process.py's. Whether the node is a manager, member_life.py says.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import trio

from agent.manager_process import ManagerFailed, ManagerProcess, Ready
from agent.membership_files import Identity
from cluster.identity import unlock_key
from cluster.model.errors import Conflict, Internal, InvalidArgument

RESTART_PAUSE_S: Final = 1.0
"""Before one that died at once is started again; doubled each time that it comes up and dies at once again, up to RESTART_LAST_PAUSE_S."""

RESTART_LAST_PAUSE_S: Final = 16.0

log = logging.getLogger("festoon.membership")


class _Unlocking:
    """Somebody has a key for the locked manager, and waits for what comes of it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.done = trio.Event()


class ManagerKeeper:
    """`error`: why the manager does not run, empty while it does; `ended_for`: why it last did not go on. A manager whose state is locked
    is not started again before somebody brings the key, which is kept nowhere: a manager that dies is locked again."""

    def __init__(self, root: Path, run: Path, speak: int) -> None:
        self._process = ManagerProcess(root, run, speak)
        self._scope: trio.CancelScope | None = None
        self._ended = trio.Event()
        self._serving = trio.Event()
        self._send_key, self._receive_key = trio.open_memory_channel[_Unlocking](0)
        self._forcing: bytes | None = None  # the bootstrap options that wait for the key
        self.error = ""
        self.ended_for = ""  # why it had to start anew, the last time that it said so

    @property
    def locked(self) -> bool:
        """Whether the manager waits for the swarm's unlock key."""
        return self.error == unlock_key.LOCKED

    async def unlock(self, text: str) -> None:
        """Start the locked manager with this key and return when it serves. Raises Conflict where it is not locked, InvalidArgument for another
        key, Internal when it does not come up."""
        if not self.locked:
            raise Conflict("swarm is not locked")
        unlock_key.parse(text)
        asked = _Unlocking(text)
        await self._send_key.send(asked)
        await asked.done.wait()
        if self.locked:
            raise InvalidArgument(unlock_key.WRONG)
        if self.error:
            raise Internal(f"swarm component could not be started: {self.error}")

    @property
    def serves(self) -> bool:
        """Whether it has come up since the node became a manager, and nothing is known to keep it from it now."""
        return self._serving.is_set() and not self.error

    async def wait_serving(self) -> None:
        """Until it has served once since the node became a manager."""
        await self._serving.wait()

    async def start(self, identity: Identity, bootstrap: bytes | None = None) -> Ready:
        """Start it once and wait until it serves. Raises ManagerFailed; where that is for the swarm's unlock key, it is locked from then on, and who brings
        the key has it started as it was to be here."""
        try:
            return await self._process.start(identity.listen_address, identity.manager_address, bootstrap)
        except ManagerFailed as failure:
            if failure.message == unlock_key.LOCKED:
                self.error, self._forcing = unlock_key.LOCKED, bootstrap
            raise

    def reload(self) -> None:
        """Let it show the certificate that the node has now."""
        if self._serving.is_set():
            self._process.reload()

    async def run(self, identity: Identity, started: Callable[[], None], *, running: bool = False) -> None:
        """Keep it alive until `let_go`; `running`: it was started just now. `started` is called whenever it serves, also where it was found serving: it
        may have issued itself a new certificate."""
        self._ended, self._serving = trio.Event(), trio.Event()
        try:
            with trio.CancelScope() as self._scope:
                if running or self._process.adopt():
                    self._serving.set()
                    self._process.reload()  # a certificate may have come while nobody could say so
                    started()
                elif not self.locked:
                    await self._start_again(identity, started)
                pause_s = RESTART_PAUSE_S
                while True:
                    if self.locked:
                        await self._start_unlocked(identity, started)
                        continue
                    began, came_up = time.monotonic(), not self.error
                    if came_up:
                        ended_for = await self._process.wait_dead() or self.ended_for
                        if ended_for != self.ended_for or pause_s == RESTART_PAUSE_S:  # else it is said already
                            log.warning("the manager process has died; starting it again", extra={"fields": {"words": ended_for}})
                        self.ended_for = ended_for
                    if time.monotonic() - began < RESTART_PAUSE_S:
                        await trio.sleep(pause_s)  # it dies at once: do not spin
                        pause_s = min(2 * pause_s, RESTART_LAST_PAUSE_S) if came_up else RESTART_PAUSE_S
                    else:
                        pause_s = RESTART_PAUSE_S
                    await self._start_again(identity, started)
        finally:
            self._scope = None
            self._ended.set()

    async def let_go(self, *, patience_s: float = 0) -> None:
        """End it; it may take `patience_s` to end by itself first."""
        if self._scope is not None:
            self._scope.cancel()
            await self._ended.wait()
        self._process.adopt()
        with trio.move_on_after(patience_s):
            await self._process.wait_dead()
        await self._process.stop()
        self.error, self.ended_for, self._forcing = "", "", None

    async def _start_unlocked(self, identity: Identity, started: Callable[[], None]) -> None:
        """Wait for a key and try it; with another one than the right one all stays as it was."""
        asked = await self._receive_key.receive()
        try:
            await self._start_again(identity, started, asked.text)
            if self.error == unlock_key.WRONG:
                self.error = unlock_key.LOCKED
        finally:
            asked.done.set()

    async def _start_again(self, identity: Identity, started: Callable[[], None], unlocking: str = "") -> None:
        try:
            forcing = _with_key(self._forcing, unlocking) if self._forcing is not None and unlocking else None
            await self._process.start(identity.listen_address, identity.manager_address, forcing, unlocking)
            self.error, self._forcing = "", None
            self._serving.set()
            started()
        except ManagerFailed as failure:
            if failure.message != self.error:  # which is said once, however often it is tried
                log.error("the manager process does not come up", extra={"fields": {"words": failure.message}})
            self.error = failure.message


def _with_key(bootstrap: bytes, unlocking: str) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(bootstrap), "unlock_key": unlocking})
