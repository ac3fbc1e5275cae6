"""The limits in a HostConfig (and in the body of an update) between the API's JSON and our values. Pure; what may be asked for is decided by
agent/container_checks.py."""

from __future__ import annotations

from typing import Any, Final

from agent.engine import unread_fields
from agent.engine.convert import Json
from agent.engine.convert_task_specs import ulimits_json
from agent.engine.fields import Fields
from agent.records import DeviceMapping, HostConfig
from cluster.model.errors import InvalidArgument

_THROTTLES: Final = (
    ("read_bps", "BlkioDeviceReadBps"), ("write_bps", "BlkioDeviceWriteBps"), ("read_iops", "BlkioDeviceReadIOps"), ("write_iops", "BlkioDeviceWriteIOps"),
)  # fmt: skip
_REFUSED: Final = (
    ("CpuRealtimePeriod", "realtime scheduling is not limited here: --cpu-rt-period can't be kept"),
    ("CpuRealtimeRuntime", "realtime scheduling is not limited here: --cpu-rt-runtime can't be kept"),
    ("KernelMemoryTCP", "the memory of TCP buffers has no limit of its own here: use --memory"),
    ("IOMaximumIOps", "invalid option: Linux does not support IOMaximumIOps"),
    ("IOMaximumBandwidth", "invalid option: Linux does not support IOMaximumBandwidth"),
)  # fmt: skip
DEFAULT_PERMISSIONS: Final = "rwm"


def resources_of(fields: Fields) -> dict[str, Any]:
    """HostConfig's fields by our names. Raises InvalidArgument, also for limits that nothing here can keep."""
    for name, sentence in _REFUSED:
        if fields.truthy(name):
            raise InvalidArgument(sentence)
    for request in fields.objects("DeviceRequests"):
        wanted = " ".join(f"[{' '.join(words)}]" for words in request.text_lists("Capabilities"))
        raise InvalidArgument(f'could not select device driver "{request.text("Driver")}" with capabilities: [{wanted}]')
    unread_fields.checked(fields, unread_fields.RESOURCES)
    memory, swap = fields.integer("Memory"), fields.integer("MemorySwap")
    swappiness = fields.optional_integer("MemorySwappiness")
    return {
        "memory_bytes": memory,
        "memory_swap_bytes": swap,
        "memory_reservation_bytes": fields.integer("MemoryReservation"),
        "memory_swappiness": None if swappiness == -1 else swappiness,
        "oom_kill_disable": fields.flag("OomKillDisable"),
        "nano_cpus": fields.integer("NanoCpus"),
        "cpu_shares": fields.integer("CpuShares"),
        "cpu_period_us": fields.integer("CpuPeriod"),
        "cpu_quota_us": fields.integer("CpuQuota"),
        "cpuset_cpus": fields.text("CpusetCpus"),
        "cpuset_mems": fields.text("CpusetMems"),
        "pids_limit": max(0, fields.integer("PidsLimit")),
        "blkio_weight": fields.natural("BlkioWeight"),
        "cgroup_parent": fields.text("CgroupParent"),
        "devices": tuple(_device_of(item) for item in fields.objects("Devices")),
        "device_rules": fields.strings("DeviceCgroupRules"),
        "throttles": tuple((kind, item.text("Path"), item.natural("Rate")) for kind, name in _THROTTLES for item in fields.objects(name)),
    }


def _device_of(fields: Fields) -> DeviceMapping:
    path = fields.text("PathOnHost")
    return DeviceMapping(path=path, target=fields.text("PathInContainer") or path, permissions=fields.text("CgroupPermissions") or DEFAULT_PERMISSIONS)


def resources_json(host: HostConfig) -> Json:
    throttles = {name: [{"Path": path, "Rate": rate} for kind, path, rate in host.throttles if kind == wanted] for wanted, name in _THROTTLES}
    devices = [{"PathOnHost": d.path, "PathInContainer": d.target, "CgroupPermissions": d.permissions} for d in host.devices]
    return {
        "CpuShares": host.cpu_shares,
        "Memory": host.memory_bytes,
        "NanoCpus": host.nano_cpus,
        "CgroupParent": host.cgroup_parent,
        "BlkioWeight": host.blkio_weight,
        "BlkioWeightDevice": [],
        **throttles,
        "CpuPeriod": host.cpu_period_us,
        "CpuQuota": host.cpu_quota_us,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": host.cpuset_cpus,
        "CpusetMems": host.cpuset_mems,
        "Devices": devices,
        "DeviceCgroupRules": list(host.device_rules) or None,
        "DeviceRequests": None,
        "MemoryReservation": host.memory_reservation_bytes,
        "MemorySwap": host.memory_swap_bytes,
        **({} if host.memory_swappiness is None else {"MemorySwappiness": host.memory_swappiness}),
        "OomKillDisable": host.oom_kill_disable,
        "PidsLimit": max(0, host.pids_limit) if host.pids_limit else None,
        "Ulimits": ulimits_json(host.ulimits),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }
