"""The runs of the node's containers: started, signalled, paused, changed, ended, and taken over from an earlier node process.

With agent/containers.py the only module that changes a Record. What follows an exit (restarts, probes) is agent/aftercare.py's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import trio

from agent import container_spec
from agent.container_launch import Launch, device_numbers
from agent.container_registry import Registry
from agent.container_wiring import Wiring
from agent.exits import Exits
from agent.health import unwatched
from agent.networks import Networks
from agent.records import Attachment, Health, HostConfig, Record, State
from agent.volumes import Volumes
from cluster.model.errors import ClusterError, Conflict, Internal, InvalidArgument, NotFound, NotModified
from cluster.model.specs import Pairs
from netfabric.errors import FabricError
from runtime.client import Attached, Supervisor
from runtime.errors import NoSuchContainer, RuntimeFault, StartFailed
from runtime.spec import ContainerState, Exited

if TYPE_CHECKING:
    from agent.aftercare import Aftercare

DEFAULT_STOP_TIMEOUT_S: Final = 10
UNKNOWN_STATUS: Final = 255
SIGKILL: Final = 9
START_REFUSED: Final = 128
"""The exit status of a container that could not be started and has none of a run before."""
LIVE: Final = frozenset({"running", "paused"})
Publish = Callable[[str, Record, Pairs], None]
SayNetworks = Callable[[str, Record, Iterable[Attachment]], None]
replace = msgspec.structs.replace


class Remove(Protocol):
    def __call__(self, container_id: str, *, volumes: bool) -> Awaitable[None]: ...


class Runs:
    """State: who is being started, who is known to the supervisor before a start, who waits for an exit."""

    def __init__(self, registry: Registry, launch: Launch, wiring: Wiring, networks: Networks, supervisor: Supervisor, volumes: Volumes, publish: Publish,
                 say: SayNetworks, turn: Callable[[str], trio.Lock], remove: Remove, bind_execs: Callable[[trio.Nursery], None]) -> None:  # fmt: skip
        self._registry, self._launch, self._wiring, self._networks, self._volumes = registry, launch, wiring, networks, volumes
        self._supervisor, self._publish_event, self._say_networks, self._remove, self._bind_execs = supervisor, publish, say, remove, bind_execs
        self._turn = turn
        self.exits = Exits()
        self.starting: set[str] = set()
        self.introduced: set[str] = set()
        self._early_exits: dict[str, Exited] = {}
        self._recovered = trio.Event()
        self._background: trio.Nursery | None = None
        self._turned: dict[str, trio.Event] = {}
        self._stopping_to_restart: set[str] = set()
        self.aftercare: Aftercare

    def _publish(self, action: str, record: Record, more: Pairs = ()) -> None:
        self._publish_event(action, record, more)

    # -- living ---------------------------------------------------------------------------------------------------

    def is_running(self, record: Record) -> bool:
        return record.state.status in LIVE

    def is_starting(self, record: Record) -> bool:
        return record.id in self.starting

    def running(self, reference: str) -> Record:
        """Raises Conflict when it does not run."""
        record = self._registry.find(reference)
        if record.state.status == "restarting":
            raise Conflict(f"Container {record.id} is restarting, wait until the container is running")
        if not self.is_running(record):
            raise Conflict(f"Container {record.id} is not running")
        return record

    async def start(self, container_id: str) -> None:
        """Wire its networks and start its program; returns when the program has been exec'ed. Raises NotModified when it runs, StartFailed when it can't.

        Cancellation in the middle takes down what was built.
        """
        record = self._registry.find(container_id)
        if record.state.status == "paused":
            raise Conflict("cannot start a paused container, try unpause instead")
        if self.is_running(record) or record.id in self.starting:
            raise NotModified("container already started")
        self.aftercare.cancel_restart(record.id)
        self._registry.put(replace(record, restart_count=0, stopped_by_user=False))
        await self.bring_up(record.id)

    async def bring_up(self, container_id: str, *, restarts: int = 0) -> None:
        """`start` of a container that does not run, with `restarts` as its count of restarts. Raises as `start`."""
        if self.is_running(self._registry.find(container_id)) or container_id in self.starting:
            raise NotModified("container already started")
        self.starting.add(container_id)
        try:
            await self._until_given_back(self._registry.find(container_id))
            async with self._turn(container_id):
                record = replace(self._registry.find(container_id), restart_count=restarts)
                await self._start(record)
        except (ClusterError, RuntimeFault, FabricError):
            self.starting.discard(container_id)
            if (failed := self._registry.get(container_id)) is not None:
                await self._volumes.release(failed.mount_points)
                if failed.host.auto_remove:
                    await self._remove_after(container_id)
            raise
        finally:
            self.starting.discard(container_id)
            self._say_turned(container_id)
            early = self._early_exits.pop(container_id, None)
        if early is not None:
            await self._exited(container_id, early)

    async def _until_given_back(self, record: Record) -> None:
        """Until nothing is left of its last run, and no other that has just ended holds ports of the host: a task's end is told before that."""
        await self.exits.until_gone(record.id)
        if record.host.port_bindings:
            for other in self._registry.all():
                if other.host.port_bindings:
                    await self.exits.until_gone(other.id)

    async def _start(self, record: Record) -> None:
        try:
            lower = await self._launch.lower_dirs(record)
            namespaces = self._launch.namespaces(record)
            attached = await self._attach(record)
        except (ClusterError, RuntimeFault, FabricError) as failure:
            await self._start_failed(record, str(failure))
            raise
        self._say_networks("connect", attached, attached.attachments)
        try:
            self._wiring.write_files(attached)
            spec = await self._launch.compile(attached, lower, namespaces)
            await self._supervisor.create(spec)
            started_ns = time.time_ns()  # before its first word: who asks for the log since then gets all of it
            pid = await self._supervisor.start(record.id)
        except (ClusterError, RuntimeFault) as failure:
            await self._start_failed(attached, str(failure), failure.exit_status if isinstance(failure, StartFailed) else 0)
            raise
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._tear_down(attached)
                self._put_run(self._wiring.detached(attached))
            raise
        self.introduced.discard(record.id)
        self.exits.begin(record.id)
        health = Health() if self.aftercare.watches(attached) else None
        attached = self._put_run(replace(attached, state=State(status="running", pid=pid, started_at_ns=started_ns, health=health)))
        self._volumes.publish_mounted(record.id, record.mount_points, mounted=True)
        self._wiring.tell_parents(attached)
        self._publish("start", attached)
        self._say_turned(record.id)
        self.aftercare.started(record.id)

    async def _attach(self, record: Record) -> Record:
        """Wired; a container with a user namespace gets a network that belongs to it."""
        ids = self._launch.ids(record)
        if ids is None or not record.attachments:
            return await self._wiring.attach(record)
        network = await self._supervisor.new_network(ids)
        try:
            return await self._wiring.attach(record, network)
        finally:
            os.close(network)

    async def _start_failed(self, record: Record, text: str, status: int = 0) -> None:
        """As before the start, with what went wrong. `status` 0: its program was never tried; what it ended with before is kept."""
        status = status or record.state.exit_code or START_REFUSED
        await self._tear_down(record)
        self.introduced.discard(record.id)
        state = replace(record.state, status="exited" if record.state.started_at_ns else "created", pid=0, exit_code=status, error=text)
        self._put_run(replace(self._wiring.detached(record), state=state))
        self.exits.end(record.id, status, text)
        self._say_networks("disconnect", record, (a for a in record.attachments if a.endpoint_id))  # before it was attached it has none

    def _put_run(self, run: Record) -> Record:
        """What a start has made of the record as it found it; renamed or updated in the meantime, it stays so."""
        now = self._registry.get(run.id) or run
        merged = replace(run, name=now.name, host=now.host, stopped_by_user=now.stopped_by_user)
        self._registry.put(merged)
        if merged.name != run.name and self.is_running(merged):
            self._networks.names.open(merged)
        return merged

    async def kill(self, container_id: str, signal: int) -> None:
        """Send a signal to its first process. Raises Conflict `Container X is not running` when it does not run."""
        record = self._registry.find(container_id)
        if signal > container_spec.LAST_SIGNAL:
            raise InvalidArgument(f"The linux daemon does not support signal {signal}")
        restarting = self.aftercare.restarting(record.id)
        ends = signal in (SIGKILL, container_spec.signal_number(record.config.stop_signal or "TERM"))
        if ends:
            self.aftercare.cancel_restart(record.id)
        if not self.is_running(record):
            if restarting and ends:
                return
            raise Conflict(f"Container {record.id} is not running")
        self._registry.put(replace(record, stopped_by_user=True))
        try:
            await self._supervisor.signal(record.id, signal)
            if ends and record.state.status == "paused":
                await self.unpause(record.id)
        except (RuntimeFault, Internal):
            return  # it has exited, and the event is on its way
        self._publish("kill", record, (("signal", str(signal)),))

    async def stop(self, container_id: str, timeout_s: float | None = None, signal: int = 0) -> None:
        """Stop signal, grace period (its own, or DEFAULT_STOP_TIMEOUT_S), SIGKILL. Raises NotModified when it does not run."""
        record = self._registry.find(container_id)
        await self._until_settled(record.id)
        record = self._registry.find(record.id)
        if not self.is_running(record):
            if not self.aftercare.restarting(record.id) and not self.exits.is_ending(record.id):
                raise NotModified("container already stopped")
            self.aftercare.cancel_restart(record.id)
            self._registry.put(replace(self._registry.find(record.id), stopped_by_user=True))
            return
        own = record.config.stop_timeout_s
        grace = timeout_s if timeout_s is not None else DEFAULT_STOP_TIMEOUT_S if own is None else own
        self.aftercare.cancel_restart(record.id)
        first = signal or container_spec.signal_number(record.config.stop_signal or "TERM")
        await self.kill(record.id, first if first <= container_spec.LAST_SIGNAL else SIGKILL)  # one that no kernel has stops nothing
        with trio.move_on_after(grace if grace >= 0 else float("inf")) as patience:
            await self.until_stopped(record.id)
        if patience.cancelled_caught and (still := self._registry.get(record.id)) is not None and self.is_running(still):
            await self.kill(record.id, SIGKILL)
            await self.until_stopped(record.id)
        self._publish("stop", record)

    async def _until_settled(self, container_id: str) -> None:
        """Until nobody starts it: its policy may be doing so this very moment."""
        while container_id in self.starting:
            await self.turned(container_id).wait()

    async def restart(self, container_id: str, timeout_s: int | None = None, signal: int = 0) -> None:
        """`stop` and `start`. One that goes with its program (--rm) stays for that."""
        record = self._registry.find(container_id)
        await self._until_settled(record.id)
        if self.is_running(self._registry.find(record.id)):
            self._stopping_to_restart.add(record.id)
            try:
                await self.stop(record.id, timeout_s, signal)
            finally:
                self._stopping_to_restart.discard(record.id)
        await self.start(record.id)
        self._publish("restart", record)

    async def pause(self, container_id: str) -> None:
        """Stop every process of it where it is. Raises Conflict in Docker's words."""
        record = self.running(container_id)
        if record.state.status == "paused":
            raise Conflict(f"Container {record.id} is already paused")
        await self._supervisor.pause(record.id)
        self._set_status(record.id, "running", "paused")
        self.aftercare.paused(record.id)
        self._publish("pause", record)

    async def unpause(self, container_id: str) -> None:
        """Raises Internal `Container X is not paused`."""
        record = self._registry.find(container_id)
        if record.state.status != "paused":
            raise Internal(f"Container {record.id} is not paused")
        await self._supervisor.unpause(record.id)
        self._set_status(record.id, "paused", "running")
        self.aftercare.resumed(record.id)
        self._publish("unpause", record)

    def _set_status(self, container_id: str, before: str, after: str) -> None:
        record = self._registry.get(container_id)
        if record is not None and record.state.status == before:
            self._registry.put(replace(record, state=replace(record.state, status=after)))

    async def update(self, container_id: str, host: HostConfig) -> None:
        """Other limits and another restart policy, from now on. Raises StartFailed with the kernel's refusal; then nothing is changed."""
        record = self._registry.find(container_id)
        if self.is_running(record):
            await self._supervisor.update(record.id, container_spec.limits_of(host, device_numbers(host)))
        if (now := self._registry.get(record.id)) is not None:
            self._registry.put(replace(now, host=host))
            self._publish("update", now)

    def set_health(self, container_id: str, health: Health) -> None:
        """What agent/aftercare.py has found. Says so when the status is another one."""
        record = self._registry.get(container_id)
        if record is None or not self.is_running(record) or record.state.health is None:
            return
        self._registry.put(replace(record, state=replace(record.state, health=health)))
        if health.status != record.state.health.status:
            self._publish(f"health_status: {health.status}", record)
            self._say_turned(record.id)

    def turned(self, container_id: str) -> trio.Event:
        """Set when it has been started or could not be, its program has ended, or its probes say something else than now."""
        return self._turned.setdefault(container_id, trio.Event())

    def _say_turned(self, container_id: str) -> None:
        if (event := self._turned.pop(container_id, None)) is not None:
            event.set()

    def set_restarting(self, container_id: str, *, restarting: bool) -> None:
        """The pause before a restart begins, or is given up."""
        self._set_status(container_id, *(("exited", "restarting") if restarting else ("restarting", "exited")))

    async def wait(self, container_id: str, condition: str) -> tuple[int, str]:
        """(exit status, error) once the condition holds: not-running (also true at once), next-exit, removed."""
        record = self._registry.find(container_id)
        if condition == "removed":
            return await self.exits.until_removed(record.id)
        if condition == "next-exit" or record.id in self.starting:
            return await self.exits.until_next(record.id, running=self.is_running(record))
        ended = await self.exits.until_stopped(record.id, running=self.is_running(record))
        return ended or (record.state.exit_code, record.state.error)

    async def until_stopped(self, container_id: str) -> None:
        record = self._registry.get(container_id)
        await self.exits.until_stopped(container_id, running=record is not None and self.is_running(record))

    async def attach(self, container_id: str) -> Attached:
        """The container's live streams from now on; the caller owns the descriptors. One that has not been started is made known to the supervisor first."""
        record = self._registry.find(container_id)
        if not self.is_running(record) and record.id not in self.starting and record.id not in self.introduced:
            await self._supervisor.create(await self._launch.introduction(record))
            self.introduced.add(record.id)
        return await self._supervisor.attach(record.id)

    def say_attached(self, container_id: str) -> None:
        if (record := self._registry.get(container_id)) is not None:
            self._publish("attach", record)

    def input_ender(self, container_id: str) -> Callable[[], Awaitable[None]]:
        """Called: its standard input ends when it has read what is there (StdinOnce)."""

        async def end() -> None:
            try:
                await self._supervisor.close_stdin(container_id)
            except NoSuchContainer:
                return  # it has ended

        return end

    async def resize(self, container_id: str, rows: int, columns: int) -> None:
        """The size of its terminal; nothing happens without one. Raises Conflict when it does not run."""
        record = self.running(container_id)
        await self._supervisor.resize(record.id, rows, columns)
        self._publish("resize", record, (("height", str(rows)), ("width", str(columns))))

    # -- the supervisor's side ------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take the supervisor's events for ever: exits become records, networks are taken down, waiters wake."""
        async with trio.open_nursery() as nursery:
            self._background = nursery
            self._bind_execs(nursery)
            self.aftercare.bind(nursery)
            task_status.started()
            await self._recovered.wait()  # ends that happened before are recover's; those are told again
            async for event in self._supervisor.events():
                if event.exited is not None:
                    nursery.start_soon(self._exited, event.container_id, event.exited)
                elif event.kind == "oom" and (record := self._registry.get(event.container_id)) is not None:
                    self._publish("oom", record)

    async def end_supervisor(self) -> None:
        """End the supervisor and its stem, when no container runs; the next start makes new ones."""
        await self._supervisor.shutdown()

    async def recover(self) -> None:
        """After a restart: take running containers over, note what has exited meanwhile, forget what the supervisor holds without a record, and start
        what its policy wants started."""
        self._registry.load()
        states = {s.id: s for s in await self._supervisor.list()}
        for record in self._registry.all():
            state = states.get(record.id)
            if state is not None and state.phase == "running":
                self._adopt(record, state)
        await self._networks.reconcile()
        await self._networks.names.adopt(tuple(r for r in self._registry.all() if self.is_running(r)))
        for record in self._registry.all():
            state = states.pop(record.id, None)
            if self.is_running(record) and (state is None or state.phase != "running"):
                lost = Exited(UNKNOWN_STATUS, finished_at_ns=time.time_ns(), known=False)
                await self._exited(record.id, state.exited if state is not None and state.exited is not None else lost, recovering=True)
            elif state is not None and state.phase != "running":
                await self._supervisor.remove(record.id)
        for orphan in states:
            await self._supervisor.remove(orphan)
        for record in self._registry.all():
            self.set_restarting(record.id, restarting=False)
            if record.host.auto_remove and not self.is_running(record) and record.state.started_at_ns:
                await self._remove_after(record.id)
        self._recovered.set()
        self.aftercare.boot(self._registry.all())

    # -- inside ---------------------------------------------------------------------------------------------------

    def _adopt(self, record: Record, state: ContainerState) -> None:
        self._networks.adopt(record, container_spec.mesh_ports(record), container_spec.host_ports(record))
        self.exits.begin(record.id)
        started = record.state.started_at_ns or state.started_at_ns
        status = "paused" if state.paused else "running"
        self._registry.put(replace(record, state=replace(record.state, status=status, pid=state.pid, started_at_ns=started)))
        if not state.paused:
            self.aftercare.resumed(record.id)

    async def _exited(self, container_id: str, exited: Exited, *, recovering: bool = False) -> None:
        if container_id in self.starting:
            self._early_exits[container_id] = exited
            return
        record = self._registry.get(container_id)
        if record is None or not self.is_running(record) or self.exits.is_ending(container_id):
            return
        self.aftercare.ended(record.id)
        state = replace(
            record.state, status="exited", pid=0, exit_code=exited.status, oom_killed=exited.oom_killed,
            finished_at_ns=exited.finished_at_ns or time.time_ns(), error="" if exited.known else "the exit status was lost with the supervisor",
            health=unwatched(record.state.health),
        )  # fmt: skip
        self._registry.put(replace(self._wiring.detached(record), state=state))
        self.exits.begin_ending(record.id)
        self._say_turned(record.id)  # a task's end is reported now: what its names and balancers wait for is no clean-up
        try:
            async with self._turn(record.id):
                await self._tear_down(record)
        finally:
            self.exits.finish_ending(record.id)
        self.exits.end(record.id, state.exit_code, state.error)
        self._say_turned(record.id)
        self._publish("die", record, (("exitCode", str(exited.status)),))
        self._say_networks("disconnect", record, record.attachments)
        self._volumes.publish_mounted(record.id, record.mount_points, mounted=False)
        if self._goes_with_its_program(record):
            await self._remove_after(record.id)
        elif not recovering:
            self.aftercare.consider_restart(record.id)

    def _goes_with_its_program(self, record: Record) -> bool:
        return record.host.auto_remove and record.id not in self._stopping_to_restart

    async def _remove_after(self, container_id: str) -> None:
        try:
            await self._remove(container_id, volumes=True)
        except (NotFound, Conflict):
            return  # somebody else has removed it, or started it again, in between

    async def _tear_down(self, record: Record) -> None:
        await self._supervisor.remove(record.id)
        await self._volumes.release(record.mount_points)
        if self._background is not None and self._goes_with_its_program(record) and not record.ports:
            # Nobody can tell: it is not started again, no port of the host is waited for, its addresses and its network are free at once, and what the
            # kernel takes its time for is done before anything else is made in the network.
            self._background.start_soon(self._networks.detach, record)
        else:
            await self._networks.detach(record)
