"""What goes on around a container's runs: probes of its health while it runs, and the next run when its policy asks for one.

Owns those tasks, the pauses before restarts, and who has given them up; a Record is changed by agent/containers.py only. Decisions are those of
agent/health.py and agent/restart.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import trio

from agent import health, restart
from agent.health_monitor import probe
from agent.records import Record
from cluster.model.errors import ClusterError, NotModified
from netfabric.errors import FabricError
from runtime.errors import RuntimeFault

if TYPE_CHECKING:
    from agent.containers import Containers

log = logging.getLogger("festoon.containers")
NS_PER_S = 1_000_000_000


class Aftercare:
    """`bind` before anything is started."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._nursery: trio.Nursery | None = None
        self._monitors: dict[str, trio.CancelScope] = {}
        self._pauses: dict[str, trio.Event] = {}
        self._pause_s: dict[str, float] = {}
        self._given_up: set[str] = set()

    def bind(self, nursery: trio.Nursery) -> None:
        """The nursery in which probes and restarts live."""
        self._nursery = nursery

    def watches(self, record: Record) -> bool:
        return bool(health.command_of(record.config.health))

    # -- while it runs --------------------------------------------------------------------------------------------

    def started(self, container_id: str) -> None:
        """It runs (again): probes begin."""
        self._given_up.discard(container_id)
        self.resumed(container_id)

    def resumed(self, container_id: str) -> None:
        """Probes go on, after a pause or in a new life of this node."""
        record = self._containers.get(container_id)
        if record is None or not self.watches(record) or container_id in self._monitors:
            return
        assert self._nursery is not None
        self._monitors[container_id] = scope = trio.CancelScope()
        self._nursery.start_soon(self._monitor, container_id, scope)

    def paused(self, container_id: str) -> None:
        """No probes meanwhile."""
        scope = self._monitors.pop(container_id, None)
        if scope is not None:
            scope.cancel()

    def ended(self, container_id: str) -> None:
        self.paused(container_id)

    async def _monitor(self, container_id: str, scope: trio.CancelScope) -> None:
        with scope:
            while (record := self._containers.get(container_id)) is not None and record.state.health is not None:
                check = record.config.health
                assert check is not None
                pause_ns = health.interval_ns(check, record.state.health, time.time_ns() - record.state.started_at_ns)
                await _pause(pause_ns / NS_PER_S, trio.Event())
                result = await probe(self._containers, container_id, check)
                now = self._containers.get(container_id)
                if now is None or now.state.health is None:
                    return
                self._containers.set_health(container_id, health.after(now.state.health, result, check, now.state.started_at_ns))

    # -- when it has ended ----------------------------------------------------------------------------------------

    def restarting(self, container_id: str) -> bool:
        """Whether it is in the pause before a restart."""
        return container_id in self._pauses

    def cancel_restart(self, container_id: str) -> None:
        """Somebody stops it on purpose: it is not started again after its end."""
        self._given_up.add(container_id)
        called_off = self._pauses.pop(container_id, None)
        if called_off is not None:
            self._containers.set_restarting(container_id, restarting=False)
            called_off.set()

    def consider_restart(self, container_id: str) -> None:
        """It has ended: start it again after a pause if its policy says so."""
        record = self._containers.get(container_id)
        if record is None or container_id in self._given_up:
            self._pause_s.pop(container_id, None)
            return
        if not restart.wanted(record.host, record.state.exit_code, record.restart_count, stopped=record.stopped_by_user):
            self._pause_s.pop(container_id, None)
            return
        ran_s = (record.state.finished_at_ns - record.state.started_at_ns) / NS_PER_S
        self._pause_s[container_id] = restart.pause_s(self._pause_s.get(container_id, 0.0), ran_s)
        self._pauses[container_id] = trio.Event()
        self._containers.set_restarting(container_id, restarting=True)
        assert self._nursery is not None
        self._nursery.start_soon(self._restart_later, container_id, self._pauses[container_id])

    async def _restart_later(self, container_id: str, called_off: trio.Event) -> None:
        await _pause(self._pause_s.get(container_id, restart.FIRST_PAUSE_S), called_off)
        record = self._containers.get(container_id)
        if called_off.is_set() or record is None:
            return
        del self._pauses[container_id]
        await self._bring_up(record, record.restart_count + 1)

    def boot(self, records: Iterable[Record]) -> None:
        """The node has started: bring up what its policy wants running; those that share another's namespaces after the others."""
        wanted = [record for record in records if restart.wanted_at_boot(record)]
        wanted.sort(key=lambda r: any(mode.startswith("container:") for mode in (r.host.network_mode, r.host.pid_mode, r.host.ipc_mode)))
        assert self._nursery is not None
        self._nursery.start_soon(self._bring_all_up, tuple(wanted))

    async def _bring_all_up(self, records: tuple[Record, ...]) -> None:
        for record in records:
            await self._bring_up(record, record.restart_count)

    async def _bring_up(self, record: Record, restarts: int) -> None:
        try:
            await self._containers.bring_up(record.id, restarts=restarts)
        except NotModified:
            return  # somebody was faster
        except (ClusterError, RuntimeFault, FabricError, OSError) as error:
            log.warning("container could not be started again", extra={"fields": {"container": record.id, "error": str(error)}})


async def _pause(seconds: float, called_off: trio.Event) -> None:
    with trio.move_on_after(seconds):
        await called_off.wait()
