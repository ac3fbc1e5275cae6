"""The node's containers: made, found, removed; their execs. With agent/container_runs.py, which has their runs, the only module that changes a
Record; used by the executor (tasks) and the engine (people).

Brings images, networks, volumes and the supervisor together. A container's process is the supervisor's: when this process dies, containers go on and `recover`
takes them over. What follows an exit (restarts, probes) is agent/aftercare.py's.
Times come from the clock here (a shell); decisions about specs are in agent/container_spec.py.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from typing import Final

import msgspec
import trio

from agent import container_checks, container_spec, layer_folders, links, machine, mount_points, names, users
from agent.aftercare import Aftercare
from agent.connections import Connections
from agent.container_files import ContainerFiles
from agent.container_launch import Launch
from agent.container_registry import Registry
from agent.container_runs import Runs
from agent.container_store import ContainerStore
from agent.container_wiring import Wiring, node_hostname
from agent.dependency_files import File
from agent.events import Event, EventBus
from agent.exec_sessions import ExecSessions
from agent.networks import Networks
from agent.records import Config, ExecConfig, ExecRecord, HostConfig, NetworkWish, PortBinding, Record, State
from agent.user_namespaces import UserNamespaces
from agent.volumes import Volumes
from cluster.model.errors import ClusterError, Conflict, InvalidArgument, NotFound
from cluster.model.specs import Mount, Pairs
from runtime.cgroups.groups import Groups
from runtime.client import ExecStarted, Supervisor
from runtime.images.store import ImageStore

KILL_WAIT_S: Final = 10
NAME = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.-]+$")
SIGKILL: Final = 9
replace = msgspec.structs.replace


class Containers:
    """State: the records. What is done with runs is `runs`' (the attributes that are set here). `run` must be running for exits to be seen."""

    def __init__(self, store: ContainerStore, images: ImageStore, networks: Networks, supervisor: Supervisor, events: EventBus, volumes: Volumes,
                 files: ContainerFiles, user_namespaces: UserNamespaces) -> None:  # fmt: skip
        self._store, self._images, self._networks, self._volumes = store, images, networks, volumes
        self._files, self.user_namespaces = files, user_namespaces
        volumes.users_of, volumes.in_use = self.users_of_volume, self._volume_in_use
        self._supervisor, self._events = supervisor, events
        self._registry = Registry(store)
        self._wiring = Wiring(networks, store, self._registry.find, self._registry.all)
        self.connections = Connections(self._registry, self._wiring, networks, events)
        launch = Launch(store, images, self._wiring, volumes, user_namespaces)
        self.execs = ExecSessions(supervisor, self._publish_of)
        self.runs = runs = Runs(self._registry, launch, self._wiring, networks, supervisor, volumes, self.publish, self.connections.say,
                                self.connections.turn, self.remove, self.execs.bind)  # fmt: skip
        self.is_running, self.is_starting, self.start, self.bring_up, self.kill, self.stop, self.restart = (
            runs.is_running, runs.is_starting, runs.start, runs.bring_up, runs.kill, runs.stop, runs.restart,
        )  # fmt: skip
        self.pause, self.unpause, self.update, self.wait, self.attach, self.resize = runs.pause, runs.unpause, runs.update, runs.wait, runs.attach, runs.resize
        self.say_attached, self.input_ender, self.set_health, self.set_restarting, self.turned = (
            runs.say_attached, runs.input_ender, runs.set_health, runs.set_restarting, runs.turned,
        )  # fmt: skip
        self.run, self.end_supervisor = runs.run, runs.end_supervisor
        self._aftercare = runs.aftercare = Aftercare(self)

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

    def _volume_in_use(self, name: str) -> bool:
        users = (self._registry.get(user) for user in self.users_of_volume(name))
        return any(record is not None and (self.is_running(record) or self.is_starting(record)) for record in users)

    async def groups(self, record: Record) -> Groups:
        """The cgroups it runs in. Raises Conflict `Container X is not running`."""
        self.runs.running(record.id)
        return await self._supervisor.groups(record.id)

    async def recover(self) -> None:
        """After a start of the node: containers are taken over, and images that were kept for containers which are gone now go too."""
        await self.runs.recover()
        await trio.to_thread.run_sync(self._images.collect, self.uses_image)

    # -- making and removing --------------------------------------------------------------------------------------

    async def create(self, config: Config, host: HostConfig, *, name: str = "", networks: tuple[NetworkWish, ...] = (),
                     task: tuple[str, str, str] = ("", "", ""), mesh_ports: tuple[PortBinding, ...] = (), dependencies: Pairs = ()) -> Record:  # fmt: skip
        """Make a container of a local image. `task`: (task, node, service ids). `dependencies`: as in its record.

        Raises NoSuchImage or NotFound for an image or network that is not there, Conflict for a taken name, InvalidArgument for what can't be.
        Nothing is left after a failure.
        """
        if name and not NAME.match(name):
            raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        container_checks.check(config, host, machine.resources(), remapped=self.user_namespaces.ids(host) is not None)
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
        if merged.working_dir not in ("", "/"):
            layer_folders.check_working_folder(await trio.to_thread.run_sync(self._images.lower_dirs, image.id), merged.working_dir)
        container_spec.capabilities(host.cap_add, host.cap_drop, privileged=host.privileged)
        if host.memory_bytes > 0 and not host.memory_swap_bytes:
            host = replace(host, memory_swap_bytes=host.memory_bytes * 2)  # Docker's default: as much swap as memory
        attachments = () if config.network_disabled else self._wiring.requested(host, networks)
        points = mount_points.points(host, merged.volumes, self._mounts_of, lambda: os.urandom(32).hex())
        record = Record(
            id=container_id, name=name or names.generate(os.urandom(names.RANDOM_BYTES), self._registry.names()),
            created_at_ns=time.time_ns(), image_id=image.id,
            path=argv[0], args=argv[1:], config=merged, host=host, state=State(), attachments=attachments,
            task_id=task[0], node_id=task[1], service_id=task[2], mesh_ports=mesh_ports, mount_points=points, dependencies=dependencies,
        )  # fmt: skip
        await self._add(record)
        self.publish("create", record)
        return record

    def _with_whole_ids(self, host: HostConfig) -> HostConfig:
        """Other containers are named by their ids from here on: names change. One whose network is to be shared is missed at the start, as by Docker.

        Raises InvalidArgument for another one that is not there.
        """

        def whole(mode: str, *, needed: bool) -> str:
            kind, _, reference = mode.partition(":")
            try:
                return f"container:{self.find(reference).id}" if kind == "container" else mode
            except ClusterError as error:
                if needed:
                    raise InvalidArgument(error.message) from error
                return mode

        if host.network_mode in ("container", "container:"):
            raise InvalidArgument("Invalid network mode: invalid container format container:<name|id>")
        return replace(host, network_mode=whole(host.network_mode, needed=False), pid_mode=whole(host.pid_mode, needed=True),
                       ipc_mode=whole(host.ipc_mode, needed=True), links=links.resolved(host, self.find))  # fmt: skip

    def _mounts_of(self, reference: str) -> tuple[Mount, ...]:
        """For --volumes-from. Raises InvalidArgument: to clients NotFound would be the image."""
        try:
            return self.find(reference).mount_points
        except NotFound as error:
            raise InvalidArgument(error.message) from error

    async def _add(self, record: Record) -> None:
        """The record and its volumes; both or nothing."""
        done = False
        try:
            await self._volumes.provide(record.mount_points)
            self._registry.refuse_taken(record.name)
            self._registry.add(record)
            await self._files.populate(record)
            if record.config.working_dir and not record.task_id and self.user_namespaces.ids(record.host) is None:
                await self._files.make_working_folder(record)
            done = True
        finally:
            self._volumes.settle(record.mount_points)
            if not done:
                with trio.CancelScope(shield=True):
                    if self._registry.get(record.id) is not None:
                        self._registry.drop(record)
                        await trio.to_thread.run_sync(self._store.remove, record.id)
                    await self._volumes.discard(record.mount_points)

    def provide(self, record: Record, files: Iterable[File]) -> None:
        """The files of its secrets and configs, before a start. Raises OSError."""
        self._store.dependency_files.write(record.id, files)

    async def remove(self, container_id: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a stopped container, or with `force` a running one too. Raises Conflict in Docker's words when it runs."""
        record = self.find(container_id)
        restarting = self._aftercare.restarting(record.id)
        if self.is_running(record) or restarting or record.id in self.runs.starting:
            if not force:
                state, hint = ("paused", "Unpause and then stop") if record.state.status == "paused" else ("running", "Stop")
                state, hint = ("restarting", hint) if restarting else (state, hint)
                raise Conflict(f"You cannot remove a {state} container {record.id}. {hint} the container before attempting removal or force remove")
            await self._kill_for_good(record)
        await self.runs.exits.until_gone(record.id)
        last = self._registry.get(record.id)
        if last is None:
            return
        record = last
        self._aftercare.cancel_restart(record.id)
        self._aftercare.ended(record.id)
        self._registry.drop(record)
        self.execs.forget(record.id)
        if record.id in self.runs.introduced:
            self.runs.introduced.discard(record.id)
            await self._supervisor.remove(record.id)
        await trio.to_thread.run_sync(self._store.remove, record.id)
        if volumes:
            await self._volumes.discard(record.mount_points)
        if not self.uses_image(record.image_id):
            await trio.to_thread.run_sync(self._images.collect, self.uses_image)
        self.publish("destroy", record)
        self.runs.exits.removed(record.id, record.state.exit_code, record.state.error)

    async def _kill_for_good(self, record: Record) -> None:
        self._aftercare.cancel_restart(record.id)
        if self.is_running(record):
            try:
                await self.kill(record.id, SIGKILL)
            except (Conflict, NotFound):
                return  # it has ended in between
        with trio.move_on_after(KILL_WAIT_S):
            await self.runs.until_stopped(record.id)

    def rename(self, container_id: str, name: str) -> None:
        """Give it another name. Raises Conflict when that is taken."""
        record = self.find(container_id)
        name = name.removeprefix("/")
        if not NAME.match(name):
            why = f"Invalid container name (/{name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            raise InvalidArgument(f"Error when allocating new name: {why}")
        try:
            self._registry.refuse_taken(name)
        except Conflict as taken:
            raise Conflict(f"Error when allocating new name: {taken.message}") from taken
        self._registry.put(replace(record, name=name))
        if self.is_running(record):
            self._networks.names.open(self.find(record.id))
        self.publish("rename", self.find(record.id), (("oldName", f"/{record.name}"),))

    def unlink(self, name: str) -> None:
        """Forget a link, named "parent/alias". Raises NotFound."""
        parent, _, alias = name.removeprefix("/").partition("/")
        try:
            record = self.find(parent)
        except NotFound:
            raise NotFound(f"No such container: {name}") from None
        kept = tuple(pair for pair in record.host.links if pair[1] != alias)
        if len(kept) == len(record.host.links):
            raise NotFound(f"No such container: {name}")
        record = replace(record, host=replace(record.host, links=kept))
        self._registry.put(record)
        if self.is_running(record):
            self._wiring.change_files(record)

    # -- execs ----------------------------------------------------------------------------------------------------

    def exec_create(self, config: ExecConfig) -> ExecRecord:
        """Raises NotFound, or Conflict `Container X is not running`, `Container X is paused, …`."""
        record = self.runs.running(config.container_id)
        if record.state.status == "paused":
            raise Conflict(f"Container {config.container_id} is paused, unpause the container before exec")
        if not config.cmd:
            raise InvalidArgument("No exec command specified")
        return self.execs.create(replace(config, container_id=record.id))

    def exec_find(self, exec_id: str) -> ExecRecord:
        return self.execs.find(exec_id)

    async def exec_start(self, exec_id: str, size: tuple[int, int] = (0, 0)) -> ExecStarted:
        """Start it, its terminal of that size (rows, columns; zeros: as the kernel makes it). The caller owns the descriptors.

        Raises Conflict, NotFound, InvalidArgument or StartFailed; the last two are its end."""
        config = self.execs.find(exec_id).config
        record = self.runs.running(config.container_id)
        if record.state.status == "paused":
            raise Conflict(f"Container {record.id} is paused, unpause the container before exec")
        layers = await trio.to_thread.run_sync(self.layers, record)
        passwd, group = (users.read_from_layers(layers, n) for n in ("passwd", "group"))
        try:
            user, home = users.resolve(config.user or record.config.user, passwd, group, record.host.group_add)
        except InvalidArgument:
            self.execs.not_started(exec_id)
            raise
        return await self.execs.start(exec_id, container_spec.compile_exec(record, exec_id, config, user, home, size))

    async def exec_wait(self, exec_id: str) -> ExecRecord:
        return await self.execs.wait(exec_id)

    async def exec_resize(self, exec_id: str, rows: int, columns: int) -> None:
        await self.execs.resize(exec_id, rows, columns)

    def _publish_of(self, container_id: str, action: str, more: Pairs) -> None:
        if record := self._registry.get(container_id):
            self.publish(action, record, more)

    def publish(self, action: str, record: Record, more: Pairs = ()) -> None:
        """An event of the container, with its labels."""
        about = (*record.config.labels, *more, ("image", record.config.image), ("name", record.name))
        self._events.publish(Event("container", action, record.id, about))
