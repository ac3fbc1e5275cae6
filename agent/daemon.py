"""festoond: opens the node's parts in order, serves until it is told to stop, and leaves every container running when it goes.

Order matters: images and supervisor, then the fabric with what runs already, then the engine's socket, then the swarm. A second festoond on the same
state is refused by a lock.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import trio

from agent import machine, membership_files, service_manager, user_namespaces
from agent.captures import serve_captures
from agent.container_files import ContainerFiles
from agent.container_store import ContainerStore
from agent.containers import Containers
from agent.engine import cluster_events, tcp
from agent.engine.metrics import listen, run_metrics
from agent.engine.server import run_engine
from agent.engine.tcp import TcpSettings
from agent.events import EventBus
from agent.image_passing import serve_images
from agent.local_networks import DOCKERS_NAMES, BridgeNames
from agent.membership import Membership
from agent.networks import Networks
from agent.node import Node
from agent.pulls import Pulls
from agent.tracing import Tracing
from agent.volumes import Volumes
from cluster.model.errors import Conflict
from cluster.model.specs import GenericResource, Pairs
from cluster.version import VERSION
from cluster.wire import versions
from netfabric.apply import open_fabric
from runtime.client import Supervisor, open_supervisor
from runtime.errors import SupervisorGone
from runtime.images.endpoints import AS_DOCKER, Registries
from runtime.images.store import ImageStore
from runtime.storage.volumes import VolumeStore

log = logging.getLogger("festoon.daemon")


@dataclass(frozen=True, slots=True)
class Settings:
    """`backend` forces how the mesh balances: auto, ipvs or nft. `userns_remap`: see agent/user_namespaces.py.
    `group` may use the socket. `stem_unit`: systemd's, which starts the stem. `metrics_address`: host:port, empty: none. `speak`: cluster/wire/versions.py."""

    root: Path
    run: Path
    backend: str = "auto"
    ready_fd: int | None = None
    group: str = ""
    stem_unit: str = ""
    labels: Pairs = ()
    generic: tuple[GenericResource, ...] = ()
    registries: Registries = AS_DOCKER
    userns_remap: str = ""
    metrics_address: str = ""
    speak: int = versions.VERSION
    bridges: BridgeNames = DOCKERS_NAMES
    tcp: TcpSettings = field(default_factory=TcpSettings)


async def run_daemon(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises Conflict when another festoond owns this state, Unavailable for an address that cannot be bound."""
    settings.root.mkdir(parents=True, exist_ok=True, mode=0o711)
    settings.run.mkdir(parents=True, exist_ok=True, mode=0o755)
    context = tcp.context_of(settings.tcp) if settings.tcp.hosts else None
    lock = _lock(settings.root)
    try:
        listeners = await listen(settings.metrics_address) if settings.metrics_address else ()
        engine_listeners = await tcp.listen(settings.tcp)
        async with _open_node(settings) as node:
            await _serve(node, settings, listeners, partial(tcp.run_tcp, node, engine_listeners, context) if engine_listeners else None)
            if not any(node.containers.is_running(r) for r in node.containers.records()):
                await node.containers.end_supervisor()  # nothing to look after: leave no process behind
    finally:
        os.close(lock)


async def _serve(node: Node, settings: Settings, metrics_listeners: Sequence[trio.SocketListener], also: Callable[[], Awaitable[None]] | None) -> None:
    """Until a signal asks for the end."""
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            await nursery.start(node.networks.names.run)
            await nursery.start(node.containers.run)
            await node.containers.recover()
            await nursery.start(node.swarm.run)
            await nursery.start(partial(run_engine, node, settings.run / "festoon.sock", group=machine.group_id(settings.group)))
            if metrics_listeners:
                nursery.start_soon(run_metrics, node, metrics_listeners)
            if also is not None:
                nursery.start_soon(also)
            nursery.start_soon(cluster_events.run, node)
            _say_ready(settings.ready_fd)
            service_manager.say("READY=1")
            log.info("serving", extra={"fields": {"socket": str(settings.run / "festoon.sock"), "balancing": node.backend}})
            async for number in signals:
                service_manager.say("STOPPING=1")
                log.info("stopping", extra={"fields": {"signal": number}})
                break
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_node(settings: Settings) -> AsyncIterator[Node]:
    description = machine.describe(settings.labels, settings.generic)
    events = EventBus()
    remapping = await trio.to_thread.run_sync(user_namespaces.load, settings.root, settings.userns_remap)
    images = await trio.to_thread.run_sync(ImageStore, settings.root / "images")
    store = ContainerStore(settings.root / "containers", settings.run / "containers")
    volumes = Volumes(await trio.to_thread.run_sync(VolumeStore, settings.root / "volumes"), events)
    async with open_supervisor(settings.run, settings.root / "runtime", unit=settings.stem_unit) as supervisor:
        async with _ended_when_refused(supervisor), open_fabric(str(settings.run), backend=settings.backend) as fabric:
            networks = Networks(settings.root, fabric, supervisor, settings.bridges, events)
            description = msgspec.structs.replace(description, routes=networks.routes(), encrypts=fabric.encrypts)
            if (identity := membership_files.load(settings.root / "node")) is not None:
                networks.restore(identity.node_id, identity.data_path_address or identity.advertise_address, identity.data_path_port)
            pulls = Pulls(images, settings.root / "images", settings.registries)
            files = ContainerFiles(store, images, volumes)
            containers = Containers(store, images, networks, supervisor, events, volumes, files, remapping)
            tracing = Tracing(fabric, networks, description.hostname, containers.records)
            handlers = {**tracing.handlers(), "node.capture": serve_captures(containers, networks), **serve_images(images)}
            swarm = Membership(settings.root, settings.run, containers, networks, description, pulls, handlers, settings.speak)
            yield Node(
                settings.root, settings.run, description.hostname, machine.engine_id(settings.root), VERSION, time.time_ns(), description, containers, images,
                networks, swarm, fabric, events, volumes, files, pulls,
                tracing, settings.labels,
            )  # fmt: skip


@asynccontextmanager
async def _ended_when_refused(supervisor: Supervisor) -> AsyncIterator[None]:
    """A start that can't be leaves no process behind, where the supervisor has nothing to look after."""
    try:
        yield
    except BaseException:
        with trio.CancelScope(shield=True), suppress(SupervisorGone):
            if not await supervisor.list():
                await supervisor.shutdown()
        raise


def _lock(root: Path) -> int:
    descriptor = os.open(root / "festoond.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(f"another festoond serves {root}") from None
    return descriptor


def _say_ready(descriptor: int | None) -> None:
    if descriptor is not None:
        os.write(descriptor, b"ready\n")
        os.close(descriptor)
