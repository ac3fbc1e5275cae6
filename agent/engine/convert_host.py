"""HostConfig and ports of containers between the API's JSON and our values. Pure. Fields that nothing here acts on go out with Docker's default."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from agent.engine.convert import Json, filled, mapping
from agent.engine.convert_mounts import bind_of, binds_of, long_form, mount_of, tmpfs_json, tmpfs_of
from agent.engine.convert_task_specs import ulimits_json, ulimits_of
from agent.engine.fields import Fields
from agent.records import HostConfig, PortBinding
from cluster.model.errors import InvalidArgument
from cluster.model.specs import Mount

PROTOCOLS: Final = ("tcp", "udp", "sctp")
RESTART_NAMES: Final = ("no", "always", "unless-stopped", "on-failure")
MIN_MEMORY_BYTES: Final = 6 * 1024 * 1024  # as Docker since 20.10
DEFAULT_SHM_BYTES: Final = 64 * 1024 * 1024
_MASKED: Final = (
    "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi", "/sys/firmware",
)  # fmt: skip
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def host_config_of(fields: Fields) -> HostConfig:
    """Raises InvalidArgument in Docker's words for what can't be."""
    restart, log = fields.section("RestartPolicy"), fields.section("LogConfig")
    name = restart.text("Name") or "no"
    if name not in RESTART_NAMES:
        known = "', '".join(RESTART_NAMES)
        raise InvalidArgument(f"invalid restart policy: unknown policy '{name}'; use one of '{known}'")
    auto_remove = fields.flag("AutoRemove")
    if auto_remove and name != "no":
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")
    memory = fields.integer("Memory")
    if 0 < memory < MIN_MEMORY_BYTES:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    return HostConfig(
        network_mode=fields.text("NetworkMode") or "default",
        port_bindings=bindings_of(fields),
        restart=name,
        restart_max=restart.natural("MaximumRetryCount"),
        auto_remove=auto_remove,
        mounts=_mounts_of(fields),
        cap_add=fields.strings("CapAdd"),
        cap_drop=fields.strings("CapDrop"),
        dns=fields.strings("Dns"),
        dns_search=fields.strings("DnsSearch"),
        dns_options=fields.strings("DnsOptions"),
        extra_hosts=fields.strings("ExtraHosts"),
        privileged=fields.flag("Privileged"),
        read_only=fields.flag("ReadonlyRootfs"),
        init=fields.flag("Init"),
        sysctls=fields.pairs("Sysctls"),
        ulimits=ulimits_of(fields, "Ulimits"),
        memory_bytes=memory,
        memory_swap_bytes=fields.integer("MemorySwap"),
        memory_reservation_bytes=fields.integer("MemoryReservation"),
        nano_cpus=fields.integer("NanoCpus"),
        cpu_shares=fields.integer("CpuShares"),
        cpuset_cpus=fields.text("CpusetCpus"),
        pids_limit=max(0, fields.integer("PidsLimit")),
        shm_size_bytes=fields.natural("ShmSize") or DEFAULT_SHM_BYTES,
        oom_score_adj=fields.integer("OomScoreAdj"),
        log_driver=log.text("Type") or "local",
        log_options=log.pairs("Config"),
        volumes_from=fields.strings("VolumesFrom"),
    )


def _mounts_of(fields: Fields) -> tuple[Mount, ...]:
    mounts = [mount_of(item) for item in fields.objects("Mounts")]
    mounts += [bind_of(text) for text in fields.strings("Binds")]
    mounts += [tmpfs_of(target, options) for target, options in fields.pairs("Tmpfs")]
    seen: set[str] = set()
    for mount in mounts:
        if mount.target in seen:
            raise InvalidArgument(f"Duplicate mount point: {mount.target}")
        seen.add(mount.target)
    return tuple(mounts)


def bindings_of(fields: Fields) -> tuple[PortBinding, ...]:
    """PortBindings: `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`."""
    bindings = []
    for port, hosts in fields.lists("PortBindings"):
        number, protocol = parse_port(port)
        for host in hosts:
            text = host.text("HostPort") or "0"
            if not text.isdigit() or int(text) > 65535:
                raise InvalidArgument(f"invalid hostPort: {text}")
            bindings.append(PortBinding(container_port=number, protocol=protocol, host_port=int(text), host_ip=host.text("HostIp")))
    return tuple(bindings)


def parse_port(text: str) -> tuple[int, str]:
    """`80/tcp` -> (80, "tcp"). Raises InvalidArgument."""
    number, _, protocol = text.partition("/")
    if not number.isdigit() or not 0 < int(number) <= 65535:
        raise InvalidArgument(f'invalid port specification: "{text}"')
    if (protocol or "tcp") not in PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {protocol}")
    return int(number), protocol or "tcp"


def exposed_json(exposed: Iterable[str]) -> Json:
    return {port: {} for port in exposed}


def port_map_json(bindings: Iterable[PortBinding], exposed: Iterable[str]) -> Json:
    """Ports of a running container: what is bound, and null for what is only exposed."""
    out: Json = dict.fromkeys(exposed)
    for binding in bindings:
        key = f"{binding.container_port}/{binding.protocol}"
        if out.get(key) is None:
            out[key] = []
        out[key].append({"HostIp": binding.host_ip or "0.0.0.0", "HostPort": str(binding.host_port)})  # noqa: S104
    return out


def host_config_json(host: HostConfig) -> Json:
    bindings: Json = {}
    for binding in host.port_bindings:
        bound = {"HostIp": binding.host_ip, "HostPort": str(binding.host_port or "")}
        bindings.setdefault(f"{binding.container_port}/{binding.protocol}", []).append(bound)
    return (
        {
            "Binds": binds_of(host.mounts),
            "ContainerIDFile": "",
            "LogConfig": {"Type": host.log_driver, "Config": mapping(host.log_options)},
            "NetworkMode": host.network_mode,
            "PortBindings": bindings,
            "RestartPolicy": {"Name": host.restart, "MaximumRetryCount": host.restart_max},
            "AutoRemove": host.auto_remove,
            "VolumeDriver": "",
            "VolumesFrom": list(host.volumes_from),
            "ConsoleSize": [0, 0],
            "CapAdd": list(host.cap_add),
            "CapDrop": list(host.cap_drop),
            "CgroupnsMode": "private",
            "Dns": list(host.dns),
            "DnsOptions": list(host.dns_options),
            "DnsSearch": list(host.dns_search),
            "ExtraHosts": list(host.extra_hosts),
            "GroupAdd": [],
            "IpcMode": "private",
            "Cgroup": "",
            "Links": [],
            "OomScoreAdj": host.oom_score_adj,
            "PidMode": "",
            "Privileged": host.privileged,
            "PublishAllPorts": False,
            "ReadonlyRootfs": host.read_only,
            "SecurityOpt": [],
            "UTSMode": "",
            "UsernsMode": "",
            "ShmSize": host.shm_size_bytes,
            "Runtime": "festoon",
            "Isolation": "",
            "MaskedPaths": [] if host.privileged else list(_MASKED),
            "ReadonlyPaths": [] if host.privileged else list(_READ_ONLY),
        }
        | _resources_json(host)
        | filled({"Mounts": long_form(host.mounts), "Tmpfs": tmpfs_json(host.mounts), "Sysctls": mapping(host.sysctls), "Init": host.init})
    )


def _resources_json(host: HostConfig) -> Json:
    return {
        "CpuShares": host.cpu_shares,
        "Memory": host.memory_bytes,
        "NanoCpus": host.nano_cpus,
        "CgroupParent": "",
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [],
        "BlkioDeviceWriteIOps": [],
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": host.cpuset_cpus,
        "CpusetMems": "",
        "Devices": [],
        "DeviceCgroupRules": [],
        "DeviceRequests": [],
        "MemoryReservation": host.memory_reservation_bytes,
        "MemorySwap": host.memory_swap_bytes,
        "OomKillDisable": False,
        "PidsLimit": host.pids_limit or None,
        "Ulimits": ulimits_json(host.ulimits),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }
