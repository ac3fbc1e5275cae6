"""The node's containers: their records, their lives, their execs. The only module that changes a Record; used by the executor (tasks) and the engine (people).

Brings images, networks and the supervisor together. A container's process is the supervisor's: when this process dies, containers go on and `recover`
takes them over.
Times come from the clock here (a shell); decisions about specs are in agent/container_spec.py.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

import msgspec
import trio

from agent import container_spec, mount_points, names, users
from agent.container_registry import Registry
from agent.container_store import ContainerStore
from agent.events import Event, EventBus
from agent.exec_sessions import ExecSessions
from agent.networks import Networks, Wanted
from agent.records import Attachment, Config, ExecConfig, ExecRecord, HostConfig, PortBinding, Record, State
from agent.volumes import Volumes
from cluster.model.errors import Conflict, InvalidArgument, NotModified
from cluster.model.specs import Pairs
from runtime.client import Attached, ExecStarted, Supervisor
from runtime.errors import NoSuchContainer, StartFailed
from runtime.images.store import ImageStore
from runtime.spec import ContainerState, Exited

DEFAULT_STOP_TIMEOUT_S: Final = 10
KILL_WAIT_S: Final = 10
NAME = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.-]+$")
UNKNOWN_STATUS: Final = 255
HOST_RESOLV_CONF: Final = Path("/etc/resolv.conf")
replace = msgspec.structs.replace


class Containers:
    """State: records by id, ids by name, who waits for an exit. `run` must be running for exits to be seen."""

    def __init__(self, store: ContainerStore, images: ImageStore, networks: Networks, supervisor: Supervisor, events: EventBus, volumes: Volumes) -> None:
        self._store, self._images, self._networks, self._volumes = store, images, networks, volumes
        volumes.users_of = self.users_of_volume
        self._supervisor, self._events = supervisor, events
        self._registry = Registry(store)
        self._exits: dict[str, trio.Event] = {}
        self._removals: dict[str, trio.Event] = {}
        self._starting: set[str] = set()
        self._early_exits: dict[str, Exited] = {}
        self.execs = ExecSessions(supervisor, events)

    # -- looking --------------------------------------------------------------------------------------------------

    def records(self) -> tuple[Record, ...]:
        return self._registry.all()

    def find(self, reference: str) -> Record:
        """By full id, name or unique id prefix. Raises NotFound or InvalidArgument in Docker's words."""
        return self._registry.find(reference)

    def by_task(self, task_id: str) -> Record | None:
        return self._registry.of_task(task_id)

    def log_path(self, record: Record) -> str:
        return self._store.log_path(record.id)

    def layers(self, record: Record) -> tuple[str, ...]:
        return (str(self._store.folder(record.id) / "upper"), *self._images.lower_dirs(record.image_id))

    def uses_image(self, image_id: str) -> str:
        """The id of a container of this image, or an empty string."""
        return next((r.id for r in self._registry.all() if r.image_id == image_id), "")

    def users_of_volume(self, name: str) -> tuple[str, ...]:
        """The ids of the containers that have this volume among their mount points."""
        return tuple(r.id for r in self._registry.all() if any(m.kind == "volume" and m.source == name for m in r.mount_points))

    # -- making and removing --------------------------------------------------------------------------------------

    async def create(self, config: Config, host: HostConfig, *, name: str = "", networks: tuple[tuple[str, tuple[str, ...], str], ...] = (),
                     task: tuple[str, str, str] = ("", "", ""), mesh_ports: tuple[PortBinding, ...] = ()) -> Record:  # fmt: skip
        """Make a container of a local image. `networks`: (id or name, aliases, address); `task`: (task, node, service ids).

        Raises NoSuchImage or NotFound for an image or network that is not there, Conflict for a taken name, InvalidArgument for what can't be.
        Nothing is left after a failure.
        """
        if name and not NAME.match(name):
            raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        self._registry.refuse_taken(name)
        image = await trio.to_thread.run_sync(self._images.get, config.image)
        container_id = os.urandom(32).hex()
        merged = container_spec.with_image(config, image.config, container_id)
        argv = container_spec.argv_of(merged)
        container_spec.capabilities(host.cap_add, host.cap_drop, privileged=host.privileged)
        attachments = self._requested(host, networks)
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

    async def _add(self, record: Record) -> None:
        """The record and its volumes; both or nothing."""
        done = False
        try:
            await self._volumes.provide(record.mount_points)
            self._registry.refuse_taken(record.name)
            self._registry.add(record)
            done = True
        finally:
            self._volumes.settle(record.mount_points)
            if not done:
                with trio.CancelScope(shield=True):
                    await self._volumes.discard(record.mount_points)

    async def remove(self, container_id: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a stopped container, or with `force` a running one too. Raises Conflict in Docker's words when it runs."""
        record = self.find(container_id)
        if self.is_running(record):
            if not force:
                raise Conflict(
                    f"You cannot remove a running container {record.id}. Stop the container before attempting removal or force remove"
                )
            await self.kill(record.id, 9)
            with trio.move_on_after(KILL_WAIT_S):
                await self.wait(record.id, "not-running")
        if self._registry.get(record.id) is None:
            return
        self._registry.drop(record)
        self.execs.forget(record.id)
        await trio.to_thread.run_sync(self._store.remove, record.id)
        if volumes:
            await self._volumes.discard(record.mount_points)
        self._publish("destroy", record)
        gone = self._removals.pop(record.id, None)
        if gone is not None:
            gone.set()
        self._exits.pop(record.id, None)

    def rename(self, container_id: str, name: str) -> None:
        """Give it another name. Raises Conflict when that is taken."""
        record = self.find(container_id)
        name = name.removeprefix("/")
        if not NAME.match(name):
            raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        self._registry.refuse_taken(name)
        self._registry.put(replace(record, name=name))

    # -- living ---------------------------------------------------------------------------------------------------

    def is_running(self, record: Record) -> bool:
        return record.state.status in {"running", "paused"}

    async def start(self, container_id: str) -> None:
        """Wire its networks and start its program; returns when the program has been exec'ed. Raises NotModified when it runs, StartFailed when it can't.

        Cancellation in the middle takes down what was built.
        """
        record = self.find(container_id)
        if self.is_running(record) or record.id in self._starting:
            raise NotModified("container already started")
        self._starting.add(record.id)
        try:
            await self._start(record)
        finally:
            self._starting.discard(record.id)
            early = self._early_exits.pop(record.id, None)
        if early is not None:
            await self._exited(record.id, early)

    async def _start(self, record: Record) -> None:
        lower = await trio.to_thread.run_sync(self._images.lower_dirs, record.image_id)
        passwd, group = (users.read_from_layers((str(self._store.folder(record.id) / "upper"), *lower), n) for n in ("passwd", "group"))
        user, home = users.resolve(record.config.user, passwd, group)
        mounts = await self._volumes.runtime_mounts(record.mount_points)
        record = await self._attach(record)
        try:
            self._write_files(record)
            spec = container_spec.compile_container(
                record, self._store.rootfs(record.id, lower, read_only=record.host.read_only), user, home, files=str(self._store.files(record.id)),
                log_path=self._store.log_path(record.id), namespace=self._namespace(record), mounts=mounts,
            )  # fmt: skip
            await self._supervisor.create(spec)
            pid = await self._supervisor.start(record.id)
        except StartFailed as failure:
            await self._tear_down(record)
            self._registry.put(replace(self._detached(record), state=State(status="created", exit_code=failure.exit_status, error=str(failure))))
            raise
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._tear_down(record)
                self._registry.put(self._detached(record))
            raise
        self._exits[record.id] = trio.Event()
        self._registry.put(replace(record, state=State(status="running", pid=pid, started_at_ns=time.time_ns())))
        self._volumes.publish_mounted(record.id, record.mount_points, mounted=True)
        self._publish("start", record)

    async def kill(self, container_id: str, signal: int) -> None:
        """Send a signal to its first process. Raises Conflict `Container X is not running` when it does not run."""
        record = self.find(container_id)
        if not self.is_running(record):
            raise Conflict(f"Container {record.id} is not running")
        try:
            await self._supervisor.signal(record.id, signal)
        except NoSuchContainer:
            return  # it has exited, and the event is on its way
        self._publish("kill", record, (("signal", str(signal)),))

    async def stop(self, container_id: str, timeout_s: float | None = None, signal: int = 0) -> None:
        """Stop signal, grace period (its own, or DEFAULT_STOP_TIMEOUT_S), SIGKILL. Raises NotModified when it does not run."""
        record = self.find(container_id)
        if not self.is_running(record):
            raise NotModified("container already stopped")
        own = record.config.stop_timeout_s
        grace = timeout_s if timeout_s is not None else DEFAULT_STOP_TIMEOUT_S if own is None else own
        await self.kill(record.id, signal or container_spec.signal_number(record.config.stop_signal or "TERM"))
        with trio.move_on_after(grace if grace >= 0 else float("inf")) as patience:
            await self.wait(record.id, "not-running")
        if patience.cancelled_caught and (still := self._registry.get(record.id)) is not None and self.is_running(still):
            await self.kill(record.id, 9)
            await self.wait(record.id, "not-running")
        self._publish("stop", record)

    async def restart(self, container_id: str, timeout_s: int | None = None) -> None:
        record = self.find(container_id)
        if self.is_running(record):
            await self.stop(record.id, timeout_s)
        await self.start(record.id)
        self._publish("restart", record)

    async def wait(self, container_id: str, condition: str) -> tuple[int, str]:
        """(exit status, error) once the condition holds: not-running (also true at once), next-exit, removed."""
        record = self.find(container_id)
        if condition == "removed":
            await self._removals.setdefault(record.id, trio.Event()).wait()
            return record.state.exit_code, record.state.error
        if condition == "next-exit" or self.is_running(record) or record.id in self._starting:
            await self._exits.setdefault(record.id, trio.Event()).wait()
        now = self._registry.get(record.id) or record
        return now.state.exit_code, now.state.error

    async def attach(self, container_id: str) -> Attached:
        """The container's live streams from now on; the caller owns the descriptors. Before a start only when it was created with streams to attach."""
        return await self._supervisor.attach(self.find(container_id).id)

    async def resize(self, container_id: str, rows: int, columns: int) -> None:
        """The size of its terminal; nothing happens without one. Raises Conflict when it does not run."""
        record = self.find(container_id)
        if not self.is_running(record):
            raise Conflict(f"Container {record.id} is not running")
        await self._supervisor.resize(record.id, rows, columns)

    # -- execs ----------------------------------------------------------------------------------------------------

    def exec_create(self, config: ExecConfig) -> ExecRecord:
        """Raises NotFound, or Conflict `Container X is not running`."""
        record = self.find(config.container_id)
        if not self.is_running(record):
            raise Conflict(f"Container {record.id} is not running")
        if not config.cmd:
            raise InvalidArgument("No exec command specified")
        return self.execs.create(replace(config, container_id=record.id))

    def exec_find(self, exec_id: str) -> ExecRecord:
        return self.execs.find(exec_id)

    async def exec_start(self, exec_id: str) -> ExecStarted:
        """Start it; the caller owns the descriptors. Raises Conflict, NotFound or StartFailed."""
        config = self.execs.find(exec_id).config
        record = self.find(config.container_id)
        if not self.is_running(record):
            raise Conflict(f"Container {record.id} is not running")
        layers = await trio.to_thread.run_sync(self.layers, record)
        user, home = users.resolve(config.user or record.config.user, users.read_from_layers(layers, "passwd"), users.read_from_layers(layers, "group"))
        return await self.execs.start(exec_id, container_spec.compile_exec(record, exec_id, config, user, home))

    async def exec_wait(self, exec_id: str) -> ExecRecord:
        return await self.execs.wait(exec_id)

    async def exec_resize(self, exec_id: str, rows: int, columns: int) -> None:
        await self.execs.resize(exec_id, rows, columns)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take the supervisor's events for ever: exits become records, networks are taken down, waiters wake."""
        async with trio.open_nursery() as nursery:
            self.execs.bind(nursery)
            task_status.started()
            async for event in self._supervisor.events():
                if event.exited is not None:
                    nursery.start_soon(self._exited, event.container_id, event.exited)

    async def end_supervisor(self) -> None:
        """End the supervisor and its stem, when no container runs; the next start makes new ones."""
        await self._supervisor.shutdown()

    async def recover(self) -> None:
        """After a restart: take running containers over, note what has exited meanwhile, forget what the supervisor holds without a record."""
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
                await self._exited(record.id, state.exited if state is not None and state.exited is not None else lost)
            elif state is not None and state.phase != "running":
                await self._supervisor.remove(record.id)
        for orphan in states:
            await self._supervisor.remove(orphan)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _adopt(self, record: Record, state: ContainerState) -> None:
        self._networks.adopt(record, container_spec.mesh_ports(record), container_spec.host_ports(record))
        self._exits[record.id] = trio.Event()
        started = record.state.started_at_ns or state.started_at_ns
        self._registry.put(replace(record, state=replace(record.state, status="running", pid=state.pid, started_at_ns=started)))

    async def _exited(self, container_id: str, exited: Exited) -> None:
        if container_id in self._starting:
            self._early_exits[container_id] = exited
            return
        record = self._registry.get(container_id)
        if record is None or not self.is_running(record):
            return
        state = replace(
            record.state, status="exited", pid=0, exit_code=exited.status, oom_killed=exited.oom_killed,
            finished_at_ns=exited.finished_at_ns or time.time_ns(), error="" if exited.known else "the exit status was lost with the supervisor",
        )  # fmt: skip
        self._registry.put(replace(self._detached(record), state=state))
        self._exits.setdefault(record.id, trio.Event()).set()
        self._publish("die", record, (("exitCode", str(exited.status)),))
        await self._tear_down(record)
        self._volumes.publish_mounted(record.id, record.mount_points, mounted=False)
        if record.host.auto_remove:
            await self.remove(record.id, volumes=True)

    async def _tear_down(self, record: Record) -> None:
        await self._supervisor.remove(record.id)
        await self._networks.detach(record)

    def _requested(self, host: HostConfig, networks: tuple[tuple[str, tuple[str, ...], str], ...]) -> tuple[Attachment, ...]:
        mode = host.network_mode
        if mode.startswith("container:") or (mode == "host" and not networks):
            if mode.startswith("container:"):
                self.find(mode.partition(":")[2])
            return ()
        asked = networks or ((("bridge" if mode in {"default", ""} else mode), (), ""),)
        requested = []
        for reference, aliases, address in asked:
            if address and "/" in address:  # a task's overlay: the cluster gave the address
                requested.append(Attachment(network_id=reference, network_name="", interface="", address=address, aliases=aliases))
            else:
                network = self._networks.find(reference)
                if network.driver != "null":
                    requested.append(Attachment(network_id=network.id, network_name=network.name, interface="", address=address, aliases=aliases))
        return tuple(requested)

    async def _attach(self, record: Record) -> Record:
        if not record.attachments:
            return record
        wanted = tuple(Wanted(a.network_id, a.address, a.aliases) for a in record.attachments if not a.hidden)
        sysctls = tuple((k, v) for k, v in record.host.sysctls if k.startswith("net."))
        attachments = await self._networks.attach(record.id, wanted, ingress_ports=container_spec.mesh_ports(record), sysctls=sysctls)
        attached = replace(record, attachments=attachments)
        if host_ports := container_spec.host_ports(attached):
            await self._networks.publish(record.id, host_ports)
        self._registry.put(attached)
        return attached

    def _detached(self, record: Record) -> Record:
        """The record with the leased addresses of local networks dropped; the hidden gateway bridge is asked for again at the next start."""
        kept = tuple(replace(a, address="" if len(a.network_id) == 64 else a.address, gateway="", mac="") for a in record.attachments if not a.hidden)
        return replace(record, attachments=kept)

    def _namespace(self, record: Record) -> str:
        mode = record.host.network_mode
        if mode.startswith("container:"):
            other = self.find(mode.partition(":")[2])
            if not self.is_running(other):
                raise Conflict(f"cannot join network of a non running container: {other.id}")
            return self._networks.namespace(other.id)
        if mode == "host" and not record.attachments:
            return "host"
        return self._networks.namespace(record.id) if record.attachments else ""

    def _write_files(self, record: Record) -> None:
        addresses = [a.address for a in record.attachments if not a.hidden and a.interface]
        try:
            host_resolv = HOST_RESOLV_CONF.read_text()
        except FileNotFoundError:
            host_resolv = ""
        files = {
            "hostname": record.config.hostname + "\n",
            "hosts": container_spec.hosts_file(record.config.hostname, addresses, record.host.extra_hosts),
            "resolv.conf": container_spec.resolv_file(host_resolv, record.host),
        }
        self._store.write_files(record.id, files)

    def _publish(self, action: str, record: Record, more: Pairs = ()) -> None:
        about = (*record.config.labels, *more, ("image", record.config.image), ("name", record.name))
        self._events.publish(Event("container", action, record.id, about))

