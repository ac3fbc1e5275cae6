"""One task on this node: asks agent/step.py what to do next, does it, reports the status. The shell around the task's state machine.

Cancellation (the node process ends) never touches the container: the next node process finds it again by its task's id.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec
import trio

from agent import dependencies, health
from agent.step import Action, Seen, step
from agent.task_container import grace_s, task_container
from cluster.model.errors import ClusterError, NotFound, NotModified
from cluster.model.objects import NodeDescription, Task, TaskStatus
from cluster.model.specs import PortConfig, PublishMode
from cluster.model.task_state import TaskState
from netfabric.errors import FabricError
from runtime.errors import NoSuchImage, RuntimeFault

if TYPE_CHECKING:
    from agent.containers import Containers
    from agent.dependencies import Dependencies
    from agent.networks import Networks
    from agent.pulls import Pulls
    from agent.records import Record
    from agent.reporter import Reporter

log = logging.getLogger("festoon.executor")
replace = msgspec.structs.replace
KILLED = 128 + 9
SETTLE_S = 2.0  # at most this long do open connections put the stop signal off (Docker: always that long)
UNHEALTHY = "dockerexec: unhealthy container"
_SEEN = {health.STARTING: Seen.PROVING, health.HEALTHY: Seen.WELL, health.UNHEALTHY: Seen.UNHEALTHY}


class Executor:
    """State: the task as the managers last sent it, and its status as seen here."""

    def __init__(self, task: Task, node: NodeDescription, node_id: str, containers: Containers, networks: Networks, pulls: Pulls,
                 reporter: Reporter, dependencies: Dependencies) -> None:  # fmt: skip
        self._dependencies = dependencies
        self._task, self._node, self._node_id = task, node, node_id
        self._containers, self._networks, self._pulls, self._reporter = containers, networks, pulls, reporter
        self._changed = trio.Event()
        self.status = task.status

    @property
    def task(self) -> Task:
        return self._task

    def update(self, task: Task) -> None:
        """The managers changed the task (its desired state)."""
        self._task = task
        if task.status.state > self.status.state:
            self.status = task.status  # e.g. orphaned, or reported by an earlier life of this node
        self._changed.set()

    async def run(self) -> None:
        """Advance until the task has come to rest, then wait for what else is wanted of it."""
        self._resume()
        while True:
            action = step(self.status.state, self._task.desired_state, self._seen())
            try:
                await self._perform(action)
            except NoSuchImage as error:
                self._end(TaskState.REJECTED, "preparing", str(error))
            except (ClusterError, RuntimeFault, FabricError, OSError) as error:
                self._fail(error)

    def give_up(self, reason: str) -> None:
        """Say that the task has failed; nothing more is done for it."""
        self._end(TaskState.FAILED, "failed", reason)

    async def discard(self) -> None:
        """The cluster has forgotten the task: its container goes, whatever it does."""
        if record := self._containers.by_task(self._task.id):
            await self._containers.remove(record.id, force=True, volumes=True)

    # -- steps ----------------------------------------------------------------------------------------------------

    async def _perform(self, action: Action) -> None:
        match action:
            case Action.ACCEPT:
                self._report(TaskState.ACCEPTED, "accepted")
            case Action.PREPARE:
                await self._prepare()
            case Action.START:
                await self._start()
            case Action.PROVE | Action.WATCH:
                await self._until_news()
            case Action.CONFIRM:
                self._confirm(self._record())
            case Action.CONDEMN:
                await self._condemn()
            case Action.CONCLUDE:
                self._conclude()
            case Action.STOP:
                await self._stop()
            case Action.RELEASE:
                await self.discard()
                await self._until_changed()
            case Action.HOLD | Action.REST:
                await self._until_changed()

    async def _prepare(self) -> None:
        self._report(TaskState.PREPARING, "preparing")
        if self._containers.by_task(self._task.id) is None:
            wanted = task_container(self._task, self._node, self._node_id)
            self._networks.ensure_own(wanted.networks)
            await self._pulls.ensure(wanted.config.image, self._task.spec.container.registry_auth)
            await self._containers.create(
                wanted.config, wanted.host, name=wanted.name, networks=wanted.networks, task=(self._task.id, self._node_id, self._task.service_id),
                mesh_ports=wanted.mesh_ports, dependencies=dependencies.places(self._task.spec.container),
            )  # fmt: skip
        self._report(TaskState.READY, "prepared")

    async def _start(self) -> None:
        record = self._record()
        if not await self._provided(record):
            return
        self._report(TaskState.STARTING, "starting")
        try:
            await self._containers.start(record.id)
        except NotModified:
            return  # found running again after a restart of this node, or somebody else is just starting it

    async def _provided(self, record: Record) -> bool:
        """Its secrets and configs are there for it, as files; False when the managers had something else to say while they were waited for."""
        if not record.dependencies:
            return True
        async with trio.open_nursery() as nursery:

            async def until_changed() -> None:
                await self._until_changed()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_changed)
            await self._dependencies.wait_for(self._task.spec.container)
            nursery.cancel_scope.cancel()
        if not self._dependencies.has(self._task.spec.container):
            return False
        self._containers.provide(record, self._dependencies.files(self._task, self._node, self._node_id, self._containers.user_namespaces.ids(record.host)))
        return True

    def _confirm(self, running: Record) -> None:
        bound = {(b.container_port, b.protocol): b.host_port for b in reversed(running.ports)}
        ports = tuple(
            replace(p, published_port=p.published_port or bound.get((p.target_port, p.protocol), 0))
            for p in (self._task.endpoint.ports if self._task.endpoint else ()) if p.publish_mode is PublishMode.HOST
        )  # fmt: skip
        self._report(TaskState.RUNNING, "started", running, host_ports=ports)

    async def _until_news(self) -> None:
        """Until its container ends, or runs, or its probes say something else, or the managers do."""
        record = self._containers.by_task(self._task.id)
        if record is None:
            return
        turned = self._containers.turned(record.id)
        async with trio.open_nursery() as nursery:

            async def until_exit() -> None:
                await self._containers.wait(record.id, "not-running")
                nursery.cancel_scope.cancel()

            async def until_turned() -> None:
                await turned.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_exit)
            nursery.start_soon(until_turned)
            await self._until_changed()
            nursery.cancel_scope.cancel()

    async def _condemn(self) -> None:
        code = await self._stop_container()
        self._end(TaskState.FAILED, "started", f"task: non-zero exit ({code}): {UNHEALTHY}" if code else f"task: {UNHEALTHY}", code)

    def _conclude(self) -> None:
        record = self._containers.by_task(self._task.id)
        if record is None:
            self._end(TaskState.FAILED, "started", f"task: non-zero exit ({KILLED})", KILLED)
        else:
            self._exited(record)

    async def _stop(self) -> None:
        record = self._containers.by_task(self._task.id)
        if record is not None and self._containers.is_running(record):
            await self._settle(record)
        self._end(TaskState.SHUTDOWN, "shutdown", "", await self._stop_container())

    async def _stop_container(self) -> int:
        """Its exit status; 0 when it did not run."""
        record = self._containers.by_task(self._task.id)
        if record is None or not self._containers.is_running(record):
            return 0
        try:
            await self._containers.stop(record.id, grace_s(self._task.spec.container))
        except (NotModified, NotFound):
            pass  # it ended by itself at the same moment
        record = self._containers.by_task(self._task.id)
        return record.state.exit_code if record is not None else 0

    async def _settle(self, record: Record) -> None:
        """Nobody sends the task new connections any more: let those that are open end, for a moment, before its stop signal. Some servers drop them then."""
        with trio.move_on_after(SETTLE_S):
            async with trio.open_nursery() as nursery:

                async def until_exit() -> None:
                    await self._containers.wait(record.id, "not-running")
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until_exit)
                await self._networks.wait_quiet(record.id, self._task.service_id)
                nursery.cancel_scope.cancel()

    # -- statuses -------------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        """Take up what an earlier life of this node did for the task."""
        record = self._containers.by_task(self._task.id)
        if record is None or self.status.state > TaskState.RUNNING:
            return
        if self._containers.is_running(record):
            if self._seen() is Seen.WELL and (self.status.state != TaskState.RUNNING or self.status.container_id != record.id):
                self._confirm(record)
            elif self.status.state < TaskState.STARTING:
                self._report(TaskState.STARTING, "starting", record)
        elif record.state.status == "exited":
            self._exited(record)
        elif self.status.state > TaskState.READY:
            self.status = replace(self.status, state=TaskState.READY)  # it was about to be started: start it again

    def _seen(self) -> Seen:
        record = self._containers.by_task(self._task.id)
        if record is None:
            return Seen.NOTHING
        if self._containers.is_starting(record):
            return Seen.PROVING
        if self._containers.is_running(record):
            return _SEEN[record.state.health.status] if record.state.health is not None else Seen.WELL
        return Seen.ENDED if record.state.status == "exited" else Seen.NOTHING

    def _record(self) -> Record:
        record = self._containers.by_task(self._task.id)
        if record is None:
            raise NotFound(f"No such container: {self._task.id}")
        return record

    def _exited(self, record: Record) -> None:
        code = record.state.exit_code
        if code == 0:
            self._end(TaskState.COMPLETE, "finished", "", 0, record)
        else:
            oom = ": OOM killed" if record.state.oom_killed else ""
            self._end(TaskState.FAILED, "started", f"task: non-zero exit ({code}){oom}", code, record)

    def _fail(self, error: Exception) -> None:
        log.warning("task failed", extra={"fields": {"task": self._task.id, "error": str(error)}})
        starting = self.status.state >= TaskState.READY
        record = self._containers.by_task(self._task.id)
        code = record.state.exit_code if record is not None else 0
        if starting:
            self._end(TaskState.FAILED, "starting", f"starting container failed: {error}", code, record)
        else:
            self._end(TaskState.REJECTED, "preparing", str(error), code, record)

    def _report(self, state: TaskState, message: str, record: Record | None = None, *, err: str = "", code: int = 0,
                host_ports: tuple[PortConfig, ...] = ()) -> None:  # fmt: skip
        known = record or self._containers.by_task(self._task.id)
        self.status = TaskStatus(
            state, time.time_ns(), message, err, known.id if known else self.status.container_id, known.state.pid if known else 0, code, host_ports,
        )  # fmt: skip
        self._reporter.report(self._task.id, self.status)

    def _end(self, state: TaskState, message: str, err: str, code: int = 0, record: Record | None = None) -> None:
        self._report(state, message, record, err=err, code=code)

    async def _until_changed(self) -> None:
        await self._changed.wait()
        self._changed = trio.Event()
