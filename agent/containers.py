"""The node's containers: their records, their lives, their execs. The only module that changes a Record; used by the executor (tasks) and the engine (people).

Brings images, networks, volumes and the supervisor together. A container's process is the supervisor's: when this process dies, containers go on and `recover`
takes them over. What follows an exit (restarts, probes) is agent/aftercare.py's.
Times come from the clock here (a shell); decisions about specs are in agent/container_spec.py.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import trio

from agent import container_checks, container_spec, machine, mount_points, names, users
from agent.aftercare import Aftercare
from agent.container_files import ContainerFiles
from agent.container_launch import Launch, device_numbers
from agent.container_registry import Registry
from agent.container_store import ContainerStore
from agent.container_wiring import Wiring, node_hostname
from agent.events import Event, EventBus
from agent.exec_sessions import ExecSessions
from agent.exits import Exits
from agent.networks import Networks
from agent.records import Config, ExecConfig, ExecRecord, Health, HostConfig, PortBinding, Record, State
from agent.volumes import Volumes
from cluster.model.errors import ClusterError, Conflict, Internal, InvalidArgument, NotFound, NotModified
from cluster.model.specs import Pairs
from netfabric.errors import FabricError
from runtime.cgroups.groups import Groups
from runtime.client import Attached, ExecStarted, Supervisor
from runtime.errors import NoSuchContainer, RuntimeFault, StartFailed
from runtime.images.store import ImageStore
from runtime.spec import ContainerState, Exited

DEFAULT_STOP_TIMEOUT_S: Final = 10
KILL_WAIT_S: Final = 10
NAME = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.-]+$")
UNKNOWN_STATUS: Final = 255
SIGKILL: Final = 9
LIVE: Final = frozenset({"running", "paused"})
replace = msgspec.structs.replace


class Containers:
    """State: records by id, ids by name, who waits for an exit. `run` must be running for exits to be seen."""

    def __init__(self, store: ContainerStore, images: ImageStore, networks: Networks, supervisor: Supervisor, events: EventBus, volumes: Volumes,
                 files: ContainerFiles) -> None:  # fmt: skip
        self._store, self._images, self._networks, self._volumes = store, images, networks, volumes
        self._files = files
        volumes.users_of = self.users_of_volume
        self._supervisor, self._events = supervisor, events
        self._registry = Registry(store)
        self._wiring = Wiring(networks, store, self._registry.find, self._registry.all)
        self._launch = Launch(store, images, self._wiring, volumes)
        self._exits = Exits()
        self._starting: set[str] = set()
        self._early_exits: dict[str, Exited] = {}
        self._introduced: set[str] = set()
        self.execs = ExecSessions(supervisor, self._publish_of)
        self._aftercare = Aftercare(self)

    # -- looking --------------------------------------------------------------------------------------------------

    def records(self) -> tuple[Record, ...]:
        return self._registry.all()

    def find(self, reference: str) -> Record:
        """By full id, name or unique id prefix. Raises NotFound or InvalidArgument in Docker's words."""
        return self._registry.find(reference)

    def get(self, container_id: str) -> Record | None:
        """By full id."""
        return self._registry.get(container_id)

    def by_task(self, task_id: str) -> Record | None:
        return self._registry.of_task(task_id)

    def log_path(self, record: Record) -> str:
        return self._store.log_path(record.id)

    def layers(self, record: Record) -> tuple[str, ...]:
        return (str(self._store.upper(record.id)), *self._images.lower_dirs(record.image_id))

    def uses_image(self, image_id: str) -> str:
        """The id of a container of this image, or an empty string."""
        return next((r.id for r in self._registry.all() if r.image_id == image_id), "")

    def users_of_volume(self, name: str) -> tuple[str, ...]:
        """The ids of the containers that have this volume among their mount points."""
        return tuple(r.id for r in self._registry.all() if any(m.kind == "volume" and m.source == name for m in r.mount_points))

    async def groups(self, record: Record) -> Groups:
        """The cgroups it runs in. Raises Conflict `Container X is not running`."""
        self._running(record.id)
        return await self._supervisor.groups(record.id)

    # -- making and removing --------------------------------------------------------------------------------------

    async def create(self, config: Config, host: HostConfig, *, name: str = "", networks: tuple[tuple[str, tuple[str, ...], str], ...] = (),
                     task: tuple[str, str, str] = ("", "", ""), mesh_ports: tuple[PortBinding, ...] = ()) -> Record:  # fmt: skip
        """Make a container of a local image. `networks`: (id or name, aliases, address); `task`: (task, node, service ids).

        Raises NoSuchImage or NotFound for an image or network that is not there, Conflict for a taken name, InvalidArgument for what can't be.
        Nothing is left after a failure.
        """
        if name and not NAME.match(name):
            raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        container_checks.check(config, host, machine.resources())
        self._registry.refuse_taken(name)
        image = await trio.to_thread.run_sync(self._images.get, config.image)
        container_id = os.urandom(32).hex()
        if host.network_mode == "host" and not config.hostname:
            config = replace(config, hostname=node_hostname())
        host = self._with_whole_ids(host)
        if (sharing := self._registry.get(host.network_mode.removeprefix("container:"))) is not None:
            config = replace(config, hostname=sharing.config.hostname, domainname=sharing.config.domainname)
        merged = container_spec.with_image(config, image.config, container_id)
        argv = container_spec.argv_of(merged)
        container_spec.capabilities(host.cap_add, host.cap_drop, privileged=host.privileged)
        if host.memory_bytes > 0 and not host.memory_swap_bytes:
            host = replace(host, memory_swap_bytes=host.memory_bytes * 2)  # Docker's default: as much swap as memory
        attachments = self._wiring.requested(host, networks)
        points = mount_points.points(host, merged.volumes, lambda reference: self.find(reference).mount_points, lambda: os.urandom(32).hex())
        record = Record(
            id=container_id, name=name or names.generate(os.urandom(names.RANDOM_BYTES), self._registry.names()),
            created_at_ns=time.time_ns(), image_id=image.id,
            path=argv[0], args=argv[1:], config=merged, host=host, state=State(), attachments=attachments,
            task_id=task[0], node_id=task[1], service_id=task[2], mesh_ports=mesh_ports, mount_points=points,
        )  # fmt: skip
        await self._add(record)
        self._publish("create", record)
        return record

    def _with_whole_ids(self, host: HostConfig) -> HostConfig:
        """Other containers are named by their ids from here on: names change. One that is not there is missed at the start, as by Docker."""

        def whole(mode: str) -> str:
            kind, _, reference = mode.partition(":")
            try:
                return f"container:{self.find(reference).id}" if kind == "container" else mode
            except ClusterError:
                return mode

        return replace(host, network_mode=whole(host.network_mode), pid_mode=whole(host.pid_mode), ipc_mode=whole(host.ipc_mode))

    async def _add(self, record: Record) -> None:
        """The record and its volumes; both or nothing."""
        done = False
        try:
            await self._volumes.provide(record.mount_points)
            self._registry.refuse_taken(record.name)
            self._registry.add(record)
            await self._files.populate(record)
            done = True
        finally:
            self._volumes.settle(record.mount_points)
            if not done:
                with trio.CancelScope(shield=True):
                    if self._registry.get(record.id) is not None:
                        self._registry.drop(record)
                        await trio.to_thread.run_sync(self._store.remove, record.id)
                    await self._volumes.discard(record.mount_points)

    async def remove(self, container_id: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a stopped container, or with `force` a running one too. Raises Conflict in Docker's words when it runs."""
        record = self.find(container_id)
        restarting = self._aftercare.restarting(record.id)
        if self.is_running(record) or restarting or record.id in self._starting:
            if not force:
                state, hint = ("paused", "Unpause and then stop") if record.state.status == "paused" else ("running", "Stop")
                state, hint = ("restarting", hint) if restarting else (state, hint)
                raise Conflict(f"You cannot remove a {state} container {record.id}. {hint} the container before attempting removal or force remove")
            await self._kill_for_good(record)
        await self._exits.until_gone(record.id)
        if self._registry.get(record.id) is None:
            return
        self._aftercare.cancel_restart(record.id)
        self._aftercare.ended(record.id)
        self._registry.drop(record)
        self.execs.forget(record.id)
        if record.id in self._introduced:
            self._introduced.discard(record.id)
            await self._supervisor.remove(record.id)
        await trio.to_thread.run_sync(self._store.remove, record.id)
        if volumes:
            await self._volumes.discard(record.mount_points)
        if not self.uses_image(record.image_id):
            await trio.to_thread.run_sync(self._images.collect, self.uses_image)
        self._publish("destroy", record)
        self._exits.removed(record.id, record.state.exit_code, record.state.error)

    async def _kill_for_good(self, record: Record) -> None:
        self._aftercare.cancel_restart(record.id)
        if self.is_running(record):
            try:
                await self.kill(record.id, SIGKILL)
            except (Conflict, NotFound):
                return  # it has ended in between
        with trio.move_on_after(KILL_WAIT_S):
            await self._until_stopped(record.id)

    def rename(self, container_id: str, name: str) -> None:
        """Give it another name. Raises Conflict when that is taken."""
        record = self.find(container_id)
        name = name.removeprefix("/")
        if not NAME.match(name):
            raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        self._registry.refuse_taken(name)
        self._registry.put(replace(record, name=name))
        self._publish("rename", self.find(record.id), (("oldName", f"/{record.name}"),))

    # -- living ---------------------------------------------------------------------------------------------------

    def is_running(self, record: Record) -> bool:
        return record.state.status in LIVE

    def _running(self, reference: str) -> Record:
        """Raises Conflict when it does not run."""
        record = self.find(reference)
        if not self.is_running(record):
            raise Conflict(f"Container {record.id} is not running")
        return record

    async def start(self, container_id: str) -> None:
        """Wire its networks and start its program; returns when the program has been exec'ed. Raises NotModified when it runs, StartFailed when it can't.

        Cancellation in the middle takes down what was built.
        """
        record = self.find(container_id)
        if record.state.status == "paused":
            raise Conflict("cannot start a paused container, try unpause instead")
        if self.is_running(record) or record.id in self._starting:
            raise NotModified("container already started")
        self._aftercare.cancel_restart(record.id)
        self._registry.put(replace(record, restart_count=0, stopped_by_user=False))
        await self.bring_up(record.id)

    async def bring_up(self, container_id: str, *, restarts: int = 0) -> None:
        """`start` of a container that does not run, with `restarts` as its count of restarts. Raises as `start`."""
        self._starting.add(container_id)
        try:
            await self._exits.until_gone(container_id)
            record = replace(self.find(container_id), restart_count=restarts)
            await self._start(record)
        except (ClusterError, RuntimeFault, FabricError):
            self._starting.discard(container_id)
            if (failed := self._registry.get(container_id)) is not None and failed.host.auto_remove:
                await self._remove_after(container_id)
            raise
        finally:
            self._starting.discard(container_id)
            early = self._early_exits.pop(container_id, None)
        if early is not None:
            await self._exited(container_id, early)

    async def _start(self, record: Record) -> None:
        try:
            lower = await self._launch.lower_dirs(record)
            namespaces = self._launch.namespaces(record)
            attached = await self._wiring.attach(record)
        except (ClusterError, RuntimeFault, FabricError) as failure:
            await self._start_failed(record, str(failure))
            raise
        try:
            self._wiring.write_files(attached)
            spec = await self._launch.compile(attached, lower, namespaces)
            await self._supervisor.create(spec)
            pid = await self._supervisor.start(record.id)
        except (ClusterError, RuntimeFault) as failure:
            await self._start_failed(attached, str(failure), failure.exit_status if isinstance(failure, StartFailed) else 128)
            raise
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._tear_down(attached)
                self._registry.put(self._wiring.detached(attached))
            raise
        self._introduced.discard(record.id)
        self._exits.begin(record.id)
        health = Health() if self._aftercare.watches(attached) else None
        self._registry.put(replace(attached, state=State(status="running", pid=pid, started_at_ns=time.time_ns(), health=health)))
        self._volumes.publish_mounted(record.id, record.mount_points, mounted=True)
        self._publish("start", attached)
        self._aftercare.started(record.id)

    async def _start_failed(self, record: Record, text: str, status: int = 128) -> None:
        """As before the start, with what went wrong."""
        await self._tear_down(record)
        self._introduced.discard(record.id)
        state = replace(record.state, status="exited" if record.state.started_at_ns else "created", pid=0, exit_code=status, error=text)
        self._registry.put(replace(self._wiring.detached(record), state=state))
        self._exits.end(record.id)

    async def kill(self, container_id: str, signal: int) -> None:
        """Send a signal to its first process. Raises Conflict `Container X is not running` when it does not run."""
        record = self.find(container_id)
        restarting = self._aftercare.restarting(record.id)
        ends = signal in (SIGKILL, container_spec.signal_number(record.config.stop_signal or "TERM"))
        if ends:
            self._aftercare.cancel_restart(record.id)
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
        record = self.find(container_id)
        if not self.is_running(record):
            if not self._aftercare.restarting(record.id):
                raise NotModified("container already stopped")
            self._aftercare.cancel_restart(record.id)
            self._registry.put(replace(self.find(record.id), stopped_by_user=True))
            return
        own = record.config.stop_timeout_s
        grace = timeout_s if timeout_s is not None else DEFAULT_STOP_TIMEOUT_S if own is None else own
        self._aftercare.cancel_restart(record.id)
        await self.kill(record.id, signal or container_spec.signal_number(record.config.stop_signal or "TERM"))
        with trio.move_on_after(grace if grace >= 0 else float("inf")) as patience:
            await self._until_stopped(record.id)
        if patience.cancelled_caught and (still := self._registry.get(record.id)) is not None and self.is_running(still):
            await self.kill(record.id, SIGKILL)
            await self._until_stopped(record.id)
        self._publish("stop", record)

    async def restart(self, container_id: str, timeout_s: int | None = None, signal: int = 0) -> None:
        record = self.find(container_id)
        if self.is_running(record):
            await self.stop(record.id, timeout_s, signal)
        await self.start(record.id)
        self._publish("restart", record)

    async def pause(self, container_id: str) -> None:
        """Stop every process of it where it is. Raises Conflict in Docker's words."""
        record = self._running(container_id)
        if record.state.status == "paused":
            raise Conflict(f"Container {record.id} is already paused")
        await self._supervisor.pause(record.id)
        self._set_status(record.id, "running", "paused")
        self._aftercare.paused(record.id)
        self._publish("pause", record)

    async def unpause(self, container_id: str) -> None:
        """Raises Internal `Container X is not paused`."""
        record = self.find(container_id)
        if record.state.status != "paused":
            raise Internal(f"Container {record.id} is not paused")
        await self._supervisor.unpause(record.id)
        self._set_status(record.id, "paused", "running")
        self._aftercare.started(record.id)
        self._publish("unpause", record)

    def _set_status(self, container_id: str, before: str, after: str) -> None:
        record = self._registry.get(container_id)
        if record is not None and record.state.status == before:
            self._registry.put(replace(record, state=replace(record.state, status=after)))

    async def update(self, container_id: str, host: HostConfig) -> None:
        """Other limits and another restart policy, from now on. Raises StartFailed with the kernel's refusal; then nothing is changed."""
        record = self.find(container_id)
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

    def set_restarting(self, container_id: str, *, restarting: bool) -> None:
        """The pause before a restart begins, or is given up."""
        self._set_status(container_id, *(("exited", "restarting") if restarting else ("restarting", "exited")))

    async def wait(self, container_id: str, condition: str) -> tuple[int, str]:
        """(exit status, error) once the condition holds: not-running (also true at once), next-exit, removed."""
        record = self.find(container_id)
        if condition == "removed":
            return await self._exits.until_removed(record.id)
        if condition == "next-exit" or record.id in self._starting:
            await self._exits.until_next(record.id, running=self.is_running(record))
        else:
            await self._until_stopped(record.id)
        now = self._registry.get(record.id) or record
        return now.state.exit_code, now.state.error

    async def _until_stopped(self, container_id: str) -> None:
        record = self._registry.get(container_id)
        await self._exits.until_stopped(container_id, running=record is not None and self.is_running(record))

    async def attach(self, container_id: str) -> Attached:
        """The container's live streams from now on; the caller owns the descriptors. One that has not been started is made known to the supervisor first."""
        record = self.find(container_id)
        if not self.is_running(record) and record.id not in self._starting and record.id not in self._introduced:
            await self._supervisor.create(await self._launch.introduction(record))
            self._introduced.add(record.id)
        return await self._supervisor.attach(record.id)

    def say_attached(self, container_id: str) -> None:
        self._publish_of(container_id, "attach", ())

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
        record = self._running(container_id)
        await self._supervisor.resize(record.id, rows, columns)
        self._publish("resize", record, (("height", str(rows)), ("width", str(columns))))

    # -- execs ----------------------------------------------------------------------------------------------------

    def exec_create(self, config: ExecConfig) -> ExecRecord:
        """Raises NotFound, or Conflict `Container X is not running`, `Container X is paused, …`."""
        record = self._running(config.container_id)
        if record.state.status == "paused":
            raise Conflict(f"Container {config.container_id} is paused, unpause the container before exec")
        if not config.cmd:
            raise InvalidArgument("No exec command specified")
        return self.execs.create(replace(config, container_id=record.id))

    def exec_find(self, exec_id: str) -> ExecRecord:
        return self.execs.find(exec_id)

    async def exec_start(self, exec_id: str) -> ExecStarted:
        """Start it; the caller owns the descriptors. Raises Conflict, NotFound, InvalidArgument or StartFailed; the last two are its end."""
        config = self.execs.find(exec_id).config
        record = self._running(config.container_id)
        if record.state.status == "paused":
            raise Conflict(f"Container {record.id} is paused, unpause the container before exec")
        layers = await trio.to_thread.run_sync(self.layers, record)
        passwd, group = (users.read_from_layers(layers, n) for n in ("passwd", "group"))
        try:
            user, home = users.resolve(config.user or record.config.user, passwd, group, record.host.group_add)
        except InvalidArgument:
            self.execs.not_started(exec_id)
            raise
        return await self.execs.start(exec_id, container_spec.compile_exec(record, exec_id, config, user, home))

    async def exec_wait(self, exec_id: str) -> ExecRecord:
        return await self.execs.wait(exec_id)

    async def exec_resize(self, exec_id: str, rows: int, columns: int) -> None:
        await self.execs.resize(exec_id, rows, columns)

    # -- the supervisor's side ------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take the supervisor's events for ever: exits become records, networks are taken down, waiters wake."""
        async with trio.open_nursery() as nursery:
            self.execs.bind(nursery)
            self._aftercare.bind(nursery)
            task_status.started()
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
        self._aftercare.boot(self._registry.all())

    # -- inside ---------------------------------------------------------------------------------------------------

    def _adopt(self, record: Record, state: ContainerState) -> None:
        self._networks.adopt(record, container_spec.mesh_ports(record), container_spec.host_ports(record))
        self._exits.begin(record.id)
        started = record.state.started_at_ns or state.started_at_ns
        status = "paused" if state.paused else "running"
        self._registry.put(replace(record, state=replace(record.state, status=status, pid=state.pid, started_at_ns=started)))
        if not state.paused:
            self._aftercare.started(record.id)

    async def _exited(self, container_id: str, exited: Exited, *, recovering: bool = False) -> None:
        if container_id in self._starting:
            self._early_exits[container_id] = exited
            return
        record = self._registry.get(container_id)
        if record is None or not self.is_running(record) or self._exits.is_ending(container_id):
            return
        self._aftercare.ended(record.id)
        state = replace(
            record.state, status="exited", pid=0, exit_code=exited.status, oom_killed=exited.oom_killed,
            finished_at_ns=exited.finished_at_ns or time.time_ns(), error="" if exited.known else "the exit status was lost with the supervisor",
        )  # fmt: skip
        self._registry.put(replace(self._wiring.detached(record), state=state))
        self._exits.begin_ending(record.id)
        try:
            await self._tear_down(record)
        finally:
            self._exits.finish_ending(record.id)
        self._exits.end(record.id)
        self._publish("die", record, (("exitCode", str(exited.status)),))
        self._volumes.publish_mounted(record.id, record.mount_points, mounted=False)
        if record.host.auto_remove:
            await self._remove_after(record.id)
        elif not recovering:
            self._aftercare.consider_restart(record.id)

    async def _remove_after(self, container_id: str) -> None:
        try:
            await self.remove(container_id, volumes=True)
        except (NotFound, Conflict):
            return  # somebody else has removed it, or started it again, in between

    async def _tear_down(self, record: Record) -> None:
        await self._supervisor.remove(record.id)
        await self._networks.detach(record)

    def _publish_of(self, container_id: str, action: str, more: Pairs) -> None:
        if record := self._registry.get(container_id):
            self._publish(action, record, more)

    def _publish(self, action: str, record: Record, more: Pairs = ()) -> None:
        about = (*record.config.labels, *more, ("image", record.config.image), ("name", record.name))
        self._events.publish(Event("container", action, record.id, about))
