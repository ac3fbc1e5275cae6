"""`/containers`: what people do with this node's containers. agent/containers.py does it; this converts and filters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from agent import links, machine, mount_points
from agent.container_spec import signal_number
from agent.containers import NAME
from agent.engine import container_filters, limit_warnings, past_fields, platforms
from agent.engine.answers import NO_CONTENT, json_answer, message_of
from agent.engine.call import ApiVersion, Call, matches_labels
from agent.engine.convert import mapping
from agent.engine.convert_containers import inspect_json, summary_json
from agent.engine.convert_create import container_request_of
from agent.engine.until import until_ns
from agent.events import pruned
from agent.records import Record
from cluster.model.decimals import is_integer
from cluster.model.errors import ClusterError, Conflict, Internal, InvalidArgument, NotFound
from cluster.model.specs import Mount
from cluster.wire.http import Response
from netfabric.errors import FabricError
from runtime.errors import NoSuchImage, RuntimeFault

if TYPE_CHECKING:
    from agent.node import Node
    from runtime.images.store import ImageStore

FILTERS: Final = frozenset(
    {"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish", "since", "status", "volume"}
)  # fmt: skip
PRUNE_FILTERS: Final = frozenset({"label", "label!", "until"})
STATUSES: Final = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
HEALTHS: Final = ("none", "starting", "healthy", "unhealthy")
SHOWN: Final = ("running", "paused", "restarting")
PORTS_DISCARDED: Final = "Published ports are discarded when using host network mode"
KILL: Final = 9
READ_ONLY_BELOW: Final = (1, 44)  # the first version in which a bind says whether what is mounted below it is read-only too
ALWAYS: Final = (0, 0)
CONSOLE_SIZE: Final = (1, 42)  # before it a terminal's first size was for Windows alone
OWN_STOP_SIGNAL: Final = (1, 42)  # before it `stop` and `restart` did not read one
OWN_IPC: Final = (1, 40)  # before it every container's could be shared
ONE_ENDPOINT: Final = (1, 44)  # before it a container was made on one network


def volumes_root(node: Node) -> str:
    return str(node.root / "volumes")


async def list_(call: Call) -> Response:
    filters = call.filters(FILTERS)
    for status in filters.get("status", ()):
        if status not in STATUSES:
            raise call.bad_filter("status", status)
    for code in filters.get("exited", ()):
        if not is_integer(code):
            raise InvalidArgument(f'strconv.Atoi: parsing "{code}": invalid syntax')
    for word in filters.get("is-task", ()):
        if word.lower() not in ("true", "false", "1", "0"):
            raise call.bad_filter("is-task", f"[{word}]")
    for health in filters.get("health", ()):
        if health not in HEALTHS:
            raise InvalidArgument(f"Unrecognised filter value for health: {health}")
    container_filters.check(call.node, filters)
    limit = call.integer("limit", 0)
    everything = call.flag("all") or limit > 0 or "status" in filters or "exited" in filters
    records = sorted(call.node.containers.records(), key=lambda r: -r.created_at_ns)
    family = await trio.to_thread.run_sync(container_filters.family, call.node.images, filters.get("ancestor", ()))
    chosen = [r for r in records if (everything or r.state.status in SHOWN) and container_filters.chosen(call.node, r, filters, family)]
    if limit > 0:
        chosen = chosen[:limit]
    now_ns, root = time.time_ns(), volumes_root(call.node)
    sizes = [await _sizes(call.node, record) if call.flag("size") else {} for record in chosen]
    linked_as = _linked_as(call.node)
    moved = await trio.to_thread.run_sync(_moved, call.node.images, chosen)
    return json_answer([
        summary_json(record, now_ns, root, linked_as.get(record.id, ()), named=record.id not in moved) | size
        for record, size in zip(chosen, sizes, strict=True)
    ])


def _moved(images: ImageStore, records: list[Record]) -> frozenset[str]:
    """The containers whose image is no longer what they asked for by name. A digest never means another one."""
    meant = container_filters.ids_of(images, {record.config.image for record in records if "@" not in record.config.image})
    return frozenset(record.id for record in records if meant.get(record.config.image, record.image_id) != record.image_id)


def _linked_as(node: Node) -> dict[str, list[str]]:
    """What the containers are called by those that are linked to them."""
    found: dict[str, list[str]] = {}
    for record in node.containers.records():
        for link in links.of(record, node.containers.get):
            found.setdefault(link.child.id, []).append(link.name)
    return found


async def _sizes(node: Node, record: Record) -> dict[str, int]:
    own = await node.files.size_bytes(record)
    try:
        image = await trio.to_thread.run_sync(node.images.get, record.image_id)
    except NoSuchImage:
        return {"SizeRw": own, "SizeRootFs": own}
    return {"SizeRw": own, "SizeRootFs": own + image.size_bytes}


def _known_before(mount: Mount) -> Mount:
    """As a version before READ_ONLY_BELOW means it: read-only is what is mounted there, not what is mounted below. Raises InvalidArgument for a promise that
    it does not know."""
    if "read-only-below" in dict(mount.options):
        raise InvalidArgument("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
    kept = tuple((name, value) for name, value in mount.options if name != "writable-below")
    return msgspec.structs.replace(mount, options=(*kept, (mount_points.ONE_READ_ONLY, "true")) if mount.kind == "bind" else kept)


async def create(call: Call) -> Response:
    fields = await call.fields()
    if not fields.names - {"hostconfig", "networkingconfig"}:
        raise InvalidArgument("config cannot be empty in order to create a container")
    wish = container_request_of(fields)
    host, warnings = limit_warnings.kept(wish.host, fields.section("HostConfig"), block_weights=wish.host.blkio_weight > 0 and machine.has_block_weights())
    if call.version < OWN_IPC and not fields.section("HostConfig").text("IpcMode"):
        host = msgspec.structs.replace(host, ipc_mode="shareable")
    if call.version < CONSOLE_SIZE:
        host = msgspec.structs.replace(host, console_size=(0, 0))
    if call.version < READ_ONLY_BELOW:
        host = msgspec.structs.replace(host, mounts=tuple(_known_before(mount) for mount in host.mounts))
    if not wish.config.image:
        raise InvalidArgument("no command specified" if not wish.config.cmd else "invalid reference format")
    name = call.text("name").removeprefix("/")
    if name and not NAME.match(name):
        raise InvalidArgument(f"Invalid container name ({call.text('name')}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    endpoints = fields.section("NetworkingConfig").keys("EndpointsConfig")
    if call.version < ONE_ENDPOINT and len(endpoints) > 1:
        raise InvalidArgument(f"Container cannot be connected to network endpoints: {', '.join(endpoints)}")
    try:
        if (wanted := platforms.platform_of(call.text("platform"))) is not None:
            platforms.check(await trio.to_thread.run_sync(call.node.images.get, wish.config.image), wish.config.image, wanted)
        record = await call.node.containers.create(wish.config, host, name=name, networks=wish.networks)
    except NoSuchImage as error:
        raise NotFound(str(error)) from error
    discarded = wish.host.network_mode == "host" and bool(wish.host.port_bindings)
    return json_answer({"Id": record.id, "Warnings": [*warnings, *([PORTS_DISCARDED] if discarded else [])]}, 201)


async def inspect(call: Call) -> Response:
    containers = call.node.containers
    record = containers.find(call.names["id"])
    try:
        layers = await trio.to_thread.run_sync(containers.layers, record)
    except NoSuchImage:
        layers = ()
    shown = inspect_json(
        record,
        folder=str(call.node.root / "containers" / record.id),
        layers=layers,
        sandbox=call.node.networks.namespace(record.id),
        exec_ids=tuple(e.id for e in containers.execs.of_container(record.id) if e.running),
        volumes_root=volumes_root(call.node),
        linked=[f"/{link.child.name}:{link.name}" for link in links.of(record, containers.get)],
    )
    networks = shown["NetworkSettings"]["Networks"]
    networks |= {name: past_fields.endpoint_of(endpoint, call.version) for name, endpoint in networks.items()}
    return json_answer(shown | (await _sizes(call.node, record) if call.flag("size") else {}))


async def start(call: Call) -> Response:
    await call.node.containers.start(call.node.containers.find(call.names["id"]).id)
    return NO_CONTENT


def _patience(call: Call) -> int | None:
    return call.integer("t", 0) if call.text("t") else None


def _signal(call: Call, since: ApiVersion = ALWAYS) -> int:
    """0: none is named, or the API is older than that word of it."""
    text = call.text("signal")
    return signal_number(text) if text and call.version >= since else 0


async def stop(call: Call) -> Response:
    record = call.node.containers.find(call.names["id"])
    await call.node.containers.stop(record.id, _patience(call), _signal(call, OWN_STOP_SIGNAL))
    return NO_CONTENT


async def restart(call: Call) -> Response:
    record, patience = call.node.containers.find(call.names["id"]), _patience(call)
    try:
        await call.node.containers.restart(record.id, patience, _signal(call, OWN_STOP_SIGNAL))
    except (ClusterError, RuntimeFault, FabricError) as error:
        raise Internal(f"Cannot restart container {call.names['id']}: {message_of(error)}") from error
    return NO_CONTENT


async def kill(call: Call) -> Response:
    """With SIGKILL it answers when the container has ended, as Docker does."""
    containers, signal = call.node.containers, _signal(call) or KILL
    try:
        record = containers.find(call.names["id"])
        await containers.kill(record.id, signal)
    except (Conflict, InvalidArgument, NotFound) as error:
        raise type(error)(f"Cannot kill container: {call.names['id']}: {error.message}") from error
    if signal == KILL:
        await containers.wait(record.id, "not-running")
    return NO_CONTENT


async def pause(call: Call) -> Response:
    await call.node.containers.pause(call.names["id"])
    return NO_CONTENT


async def unpause(call: Call) -> Response:
    await call.node.containers.unpause(call.names["id"])
    return NO_CONTENT


async def rename(call: Call) -> Response:
    record, name = call.node.containers.find(call.names["id"]), call.text("name")
    if not name.removeprefix("/"):
        raise InvalidArgument("Neither old nor new names may be empty")
    if name.removeprefix("/") == record.name:
        raise InvalidArgument("Renaming a container with the same name as its current name")
    call.node.containers.rename(record.id, name)
    return NO_CONTENT


async def remove(call: Call) -> Response:
    if call.flag("link"):
        if "/" not in call.names["id"].removeprefix("/"):
            call.node.containers.find(call.names["id"])
            raise Internal("Conflict, cannot remove the default link name of the container")
        call.node.containers.unlink(call.names["id"])
        return NO_CONTENT
    record = call.node.containers.find(call.names["id"])
    await call.node.containers.remove(record.id, force=call.flag("force"), volumes=call.flag("v"))
    return NO_CONTENT


async def prune(call: Call) -> Response:
    filters = call.filters(PRUNE_FILTERS)
    limit_ns = until_ns(filters, time.time_ns())
    gone: list[str] = []
    reclaimed = 0
    for record in call.node.containers.records():
        if limit_ns is not None and record.created_at_ns > limit_ns:
            continue
        labels = mapping(record.config.labels)
        spared = any(matches_labels(labels, (unwanted,)) for unwanted in filters.get("label!", ()))
        if record.state.status not in ("created", "exited", "dead") or spared or not matches_labels(labels, filters.get("label", ())):
            continue
        size = await call.node.files.size_bytes(record)
        try:
            await call.node.containers.remove(record.id)
        except ClusterError:
            continue  # started or removed in between
        gone.append(record.id)
        reclaimed += size
    call.node.events.publish(pruned("container", reclaimed))
    return json_answer({"ContainersDeleted": gone, "SpaceReclaimed": reclaimed})


async def resize(call: Call) -> Response:
    height, width = call.needed_integer("h"), call.needed_integer("w")
    record = call.node.containers.find(call.names["id"])
    await call.node.containers.resize(record.id, height, width)
    return Response(200)
