"""Execs of running containers (`docker exec`): their records, from creation to exit status. The process itself is the supervisor's."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from agent.records import ExecConfig, ExecRecord
from cluster.model.errors import Conflict, NotFound
from cluster.model.specs import Pairs
from runtime.client import ExecStarted, Supervisor
from runtime.errors import NoSuchContainer, RuntimeFault, StartFailed
from runtime.spec import ExecSpec

MAX_EXECS: Final = 1024  # finished ones are forgotten, oldest first, beyond this number
SIGKILL: Final = 9
KILLED: Final = 128 + SIGKILL
CAN_NOT_START: Final = 126  # whatever the reason, as Docker's daemon 20.10
Publish = Callable[[str, str, Pairs], None]
"""(container id, action, attributes): an event of the container."""
replace = msgspec.structs.replace


class ExecSessions:
    def __init__(self, supervisor: Supervisor, publish: Publish) -> None:
        self._supervisor, self._publish = supervisor, publish
        self._records: dict[str, ExecRecord] = {}
        self._done: dict[str, trio.Event] = {}
        self._nursery: trio.Nursery | None = None

    def bind(self, nursery: trio.Nursery) -> None:
        """The nursery in which exits are waited for."""
        self._nursery = nursery

    def create(self, config: ExecConfig) -> ExecRecord:
        record = ExecRecord(id=os.urandom(32).hex(), config=config)
        self._records[record.id] = record
        self._done[record.id] = trio.Event()
        self._publish(config.container_id, f"exec_create: {' '.join(config.cmd)}", (("execID", record.id),))
        for old in [r for r in self._records.values() if r.exit_code is not None][: max(0, len(self._records) - MAX_EXECS)]:
            self._forget(old.id)
        return record

    def find(self, exec_id: str) -> ExecRecord:
        """Raises NotFound `No such exec instance: X`."""
        record = self._records.get(exec_id)
        if record is None:
            raise NotFound(f"No such exec instance: {exec_id}")
        return record

    def of_container(self, container_id: str) -> tuple[ExecRecord, ...]:
        return tuple(r for r in self._records.values() if r.config.container_id == container_id)

    async def start(self, exec_id: str, spec: ExecSpec) -> ExecStarted:
        """Start the program; the caller owns the returned descriptors. Raises Conflict when it was started before, StartFailed when it can't be."""
        record = self.find(exec_id)
        if record.running or record.exit_code is not None:
            raise Conflict(f"exec {exec_id} has already run" if record.exit_code is not None else f"exec {exec_id} is already running")
        self._publish(record.config.container_id, f"exec_start: {' '.join(record.config.cmd)}", (("execID", exec_id),))
        try:
            started = await self._supervisor.exec(spec)
        except StartFailed:
            self.not_started(exec_id)
            raise
        self._records[exec_id] = replace(record, running=True, pid=started.pid)
        assert self._nursery is not None
        self._nursery.start_soon(self._watch, exec_id, record.config.container_id)
        return started

    async def wait(self, exec_id: str) -> ExecRecord:
        """The record with its exit status, once the program has ended."""
        await self._done[self.find(exec_id).id].wait()
        return self.find(exec_id)

    def not_started(self, exec_id: str) -> None:
        """It has ended without having been one."""
        if record := self._records.get(exec_id):
            self._records[exec_id] = replace(record, running=False, pid=0, exit_code=CAN_NOT_START)
            self._done[exec_id].set()

    async def kill(self, exec_id: str) -> None:
        """SIGKILL to its process, if there still is one."""
        if (record := self._records.get(exec_id)) is not None and record.running:
            try:
                await self._supervisor.exec_signal(record.config.container_id, exec_id, SIGKILL)
            except RuntimeFault:
                return  # its container is gone

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        await self._supervisor.exec_resize(self.find(exec_id).config.container_id, exec_id, rows, columns)

    def forget(self, container_id: str) -> None:
        for record in self.of_container(container_id):
            if not record.running:
                self._forget(record.id)

    async def _watch(self, exec_id: str, container_id: str) -> None:
        try:
            exited = await self._supervisor.exec_wait(container_id, exec_id)
        except NoSuchContainer:
            self._finish(exec_id, KILLED)  # its container was removed around it
        else:
            self._finish(exec_id, exited.status)

    def _finish(self, exec_id: str, status: int) -> None:
        if record := self._records.get(exec_id):
            self._records[exec_id] = replace(record, running=False, pid=0, exit_code=status)
            self._done[exec_id].set()
            self._publish(record.config.container_id, "exec_die", (("execID", exec_id), ("exitCode", str(status))))

    def _forget(self, exec_id: str) -> None:
        self._records.pop(exec_id, None)
        done = self._done.pop(exec_id, None)
        if done is not None:
            done.set()
