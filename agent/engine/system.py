"""`/_ping`, `/version`, `/info`, `/system/df`, `/auth`: what this node says of itself."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from agent.engine import lookup, past_fields
from agent.engine.answers import json_answer, unserved
from agent.engine.call import Call, Filters
from agent.engine.containers import volumes_root
from agent.engine.convert import Json, time_text
from agent.engine.convert_containers import summary_json
from agent.engine.convert_generic import generic_json
from agent.engine.convert_host import RUNTIMES
from agent.engine.convert_images import image_summary_json
from agent.engine.convert_swarm import cluster_info_json
from agent.engine.convert_volumes import volume_json
from agent.engine.until import until_ns
from agent.events import pruned
from agent.log_settings import DEFAULT_DRIVER
from agent.records import OWN_RUNTIME
from cluster.model.changes import Kind
from cluster.model.errors import NO_LEADER, ClusterError, InvalidArgument, NotFound
from cluster.model.reference import DEFAULT_DOMAIN
from cluster.version import API_VERSION, MIN_API_VERSION
from cluster.wire.calls import Query
from cluster.wire.http import Response
from runtime.images.endpoints import LOOPBACK, Registries
from runtime.images.store import architecture
from runtime.storage.volumes import Volume

if TYPE_CHECKING:
    from agent.node import Node

_NO_CACHE: Final = (("Cache-Control", "no-cache, no-store, must-revalidate"), ("Pragma", "no-cache"))
RENAMED_PROFILE: Final = (1, 42)  # API
CHOSEN_USAGE: Final = (1, 42)
BUILD_PRUNE_FILTERS: Final = frozenset(
    {"description", "id", "inuse", "label", "label!", "parent", "private", "shared", "type", "until", "unused-for"}
)
_USAGES: Final = {"container": "Containers", "image": "Images", "volume": "Volumes", "build-cache": "BuildCache"}
_CGROUP2: Final = Path("/sys/fs/cgroup/cgroup.controllers")
BALANCING_LABEL: Final = "festoon.balancing"
"""Which of ipvs and nft balances the mesh here; a label, because that is what every client prints."""

_INDEX: Final = "https://index.docker.io/v1/"


async def ping(call: Call) -> Response:
    headers = (("Content-Type", "text/plain; charset=utf-8"), ("Builder-Version", "1"), ("Swarm", swarm_word(call.node)), *_NO_CACHE)
    return Response(200, headers, b"OK")


def swarm_word(node: Node) -> str:
    state = node.swarm.state
    return state if state != "active" else f"active/{'manager' if node.swarm.is_manager else 'worker'}"


async def version(call: Call) -> Response:
    node, kernel = call.node, os.uname().release
    built = time_text(0)
    details = {
        "ApiVersion": API_VERSION,
        "Arch": architecture(),
        "BuildTime": built,
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": f"Python {platform.python_version()}",
        "KernelVersion": kernel,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
    }
    return json_answer(
        {
            "Platform": {"Name": "Festoon"},
            "Components": [{"Name": "Engine", "Version": node.version, "Details": details}],
            "Version": node.version,
            "ApiVersion": API_VERSION,
            "MinAPIVersion": MIN_API_VERSION,
            "GitCommit": "",
            "GoVersion": f"Python {platform.python_version()}",
            "Os": "linux",
            "Arch": architecture(),
            "KernelVersion": kernel,
            "BuildTime": built,
        }
    )


async def info(call: Call) -> Response:
    node = call.node
    images = await trio.to_thread.run_sync(node.images.list)
    facts = await trio.to_thread.run_sync(machine_facts)
    security = [f"name=seccomp,profile={'default' if call.version < RENAMED_PROFILE else 'builtin'}"]
    security += ["name=userns"] if node.containers.user_namespaces.default else []
    more = {"SecurityOptions": security, "Swarm": await swarm_info(node), "Warnings": [*node.networks.obstacles(), *node.swarm.warnings]}
    return json_answer(past_fields.info_of(info_json(node, len(images), facts) | more, call.version))


def machine_facts() -> Json:
    """What is read from this machine's kernel and files."""
    kernel = os.uname()
    names = _os_release()
    return {
        "KernelVersion": kernel.release,
        "OperatingSystem": names.get("PRETTY_NAME", "Linux"),
        "OSVersion": names.get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": kernel.machine,
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2" if _CGROUP2.exists() else "1",
        "NFd": len(os.listdir("/proc/self/fd")),
        "IPv4Forwarding": _text("/proc/sys/net/ipv4/ip_forward") == "1",
    }


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _os_release() -> dict[str, str]:
    pairs = (line.partition("=")[::2] for line in _text("/etc/os-release").splitlines() if "=" in line)
    return {name: value.strip('"') for name, value in pairs}


def info_json(node: Node, images: int, facts: Json) -> Json:
    statuses = [record.state.status for record in node.containers.records()]
    running, paused = statuses.count("running"), statuses.count("paused")
    plugins: dict[str, list[str]] = {"Volume": [], "Network": [], "Log": []}
    for kind, name in node.description.plugins:
        plugins.setdefault(kind, []).append(name)
    return (
        {
            "ID": node.engine_id,
            "Containers": len(statuses),
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": len(statuses) - running - paused,
            "Images": images,
            "Driver": "overlay2",
            "DriverStatus": [["Supports d_type", "true"], ["Using metacopy", "false"]],
            "Plugins": plugins | {"Authorization": []},
            "MemoryLimit": True,
            "SwapLimit": True,
            "CpuCfsPeriod": True,
            "CpuCfsQuota": True,
            "CPUShares": True,
            "CPUSet": True,
            "PidsLimit": True,
            "OomKillDisable": not _CGROUP2.exists(),
            "Debug": False,
            "NGoroutines": 0,
            "SystemTime": time_text(time.time_ns()),
            "LoggingDriver": DEFAULT_DRIVER,
            "NEventsListener": 0,
            "IndexServerAddress": _INDEX,
            "RegistryConfig": registries_json(node.pulls.registries),
            "GenericResources": generic_json(node.description.resources.generic) or None,
            "DockerRootDir": str(node.root),
            "HttpProxy": "",
            "HttpsProxy": "",
            "NoProxy": "",
            "Name": node.hostname,
            "Labels": [f"{name}={value}" if value else name for name, value in (*node.labels, (BALANCING_LABEL, node.backend))],
            "ExperimentalBuild": False,
            "ServerVersion": node.version,
            "Runtimes": {name: {"path": OWN_RUNTIME} for name in RUNTIMES if name},
            "DefaultRuntime": OWN_RUNTIME,
            "LiveRestoreEnabled": True,
            "Isolation": "",
            "InitBinary": "festoon-init",
            "ContainerdCommit": {"ID": ""},
            "RuncCommit": {"ID": ""},
            "InitCommit": {"ID": ""},
            "FirewallBackend": {"Driver": "nftables"},
            "CDISpecDirs": [],
            "Warnings": [],
        }
        | facts
    )


def registries_json(registries: Registries) -> Json:
    """Docker Hub and those that are insecure, by the settings of the node. Pure."""
    addresses = [name for name in registries.insecure if "/" in name]
    names = [name for name in registries.insecure if "/" not in name]
    hub = {"Name": DEFAULT_DOMAIN, "Mirrors": [f"{url}/" for url in registries.mirrors], "Secure": True, "Official": True}
    known = {DEFAULT_DOMAIN: hub} | {name: {"Name": name, "Mirrors": [], "Secure": False, "Official": False} for name in names}
    return {"InsecureRegistryCIDRs": [*map(str, LOOPBACK), *addresses], "IndexConfigs": known, "Mirrors": hub["Mirrors"]}


async def swarm_info(node: Node) -> Json:
    """The Swarm part of info; a manager that can't be asked leaves its error there."""
    swarm = node.swarm
    out: Json = {
        "NodeID": swarm.node_id if swarm.state != "locked" else "",
        "NodeAddr": swarm.node_address,
        "LocalNodeState": swarm.state,
        "ControlAvailable": swarm.waits_for_leader or (swarm.is_manager and swarm.state == "active"),
        "Error": NO_LEADER if swarm.waits_for_leader else swarm.error,
        "RemoteManagers": [{"NodeID": "", "Addr": address} for address in swarm.managers if swarm.state != "locked"] or None,
    }
    if swarm.waits_for_leader or not out["ControlAvailable"]:
        return out
    try:
        nodes = (await lookup.query(node, Query(Kind.NODE))).nodes
        cluster = await lookup.cluster(node)
    except ClusterError as error:
        return out | {"Error": error.message}
    managers = [member for member in nodes if member.manager is not None]
    remotes = [{"NodeID": member.id, "Addr": member.manager.address} for member in managers if member.manager is not None]
    more: Json = {"RemoteManagers": remotes or None, "Nodes": len(nodes), "Managers": len(managers)}
    return out | more | {"Cluster": cluster_info_json(cluster)}


async def disk_usage(call: Call) -> Response:
    """Of all kinds of objects, or of the types asked for; the others are null."""
    node = call.node
    wanted = call.texts("type") if call.version >= CHOSEN_USAGE else ()
    for kind in wanted:
        if kind not in _USAGES:
            raise InvalidArgument(f"unknown object type: {kind}")
    images = await trio.to_thread.run_sync(node.images.list)
    records = node.containers.records()
    users, below = [record.image_id for record in records], {image.id: image.size_bytes for image in images}
    shared = await trio.to_thread.run_sync(node.images.shared_sizes)
    now_ns, root = time.time_ns(), volumes_root(node)
    own = {record.id: await node.files.size_bytes(record) for record in records}
    out: dict[str, Any] = {
        "LayersSize": await trio.to_thread.run_sync(node.images.layers_size_bytes),
        "Images": [
            past_fields.sized_of(image_summary_json(image, users.count(image.id)), call.version) | {"SharedSize": shared.get(image.id, 0)} for image in images
        ],
        "Containers": [
            summary_json(record, now_ns, root) | {"SizeRw": own[record.id], "SizeRootFs": own[record.id] + below.get(record.image_id, 0)} for record in records
        ],
        "Volumes": [await _volume_usage(node, volume) for volume in node.volumes.all()],
        "BuildCache": [],
    }
    left_out = {name: None for kind, name in _USAGES.items() if wanted and kind not in wanted}
    return json_answer(out | left_out | ({"LayersSize": 0} if "Images" in left_out else {}))


async def _volume_usage(node: Node, volume: Volume) -> Json:
    size = await node.volumes.size_bytes(volume.name)
    return volume_json(volume, str(node.volumes.data(volume.name)), (size, len(node.volumes.users_of(volume.name))))


async def build(_call: Call) -> Response:
    return unserved("building images is not served: build with buildah, podman or docker and load the archive (docker load -i)")


async def build_prune(call: Call) -> Response:
    """There is no cache of builds, but a misspelt filter of it is one. Raises InvalidArgument."""
    try:
        filters = call.filters(BUILD_PRUNE_FILTERS)
        if any(len(values) > 1 for name, values in filters.items() if not name.startswith("label")):
            raise InvalidArgument("filters expect only one value")
        _check_age(filters)
    except InvalidArgument as error:
        raise InvalidArgument(f"failed to prune build cache: {error.message}") from error
    call.node.events.publish(pruned("builder"))
    return json_answer({"CachesDeleted": [], "SpaceReclaimed": 0})


def _check_age(filters: Filters) -> None:
    try:
        until_ns(filters, 0)
    except InvalidArgument as error:
        raise InvalidArgument(f"\"until\" filter expects a duration (e.g., '24h'): time: invalid duration \"{filters['until'][0]}\"") from error


async def plugins(_call: Call) -> Response:
    return json_answer([])


async def plugin(call: Call) -> Response:
    """There are none: a client that inspects a name goes on to the next kind of object."""
    raise NotFound(f'plugin "{call.names["name"]}" not found')


async def plugin_install(_call: Call) -> Response:
    return unserved("plugins are not served")
