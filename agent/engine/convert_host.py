"""HostConfig and ports of containers between the API's JSON and our values. Pure. Fields that nothing here acts on go out with Docker's default."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from agent import links
from agent.container_spec import HOST_GATEWAY
from agent.engine.convert import Json, filled, mapping
from agent.engine.convert_mounts import bind_of, binds_of, long_form, mount_of, tmpfs_json, tmpfs_of
from agent.engine.convert_resources import resources_json, resources_of
from agent.engine.convert_task_specs import ulimits_of
from agent.engine.fields import Fields
from agent.log_settings import UNAWARE_DRIVER, driver_for
from agent.mount_points import clean
from agent.records import DEFAULT_SHM_BYTES, OWN_RUNTIME, HostConfig, PortBinding
from cluster.model.decimals import is_natural
from cluster.model.errors import InvalidArgument, NotFound
from cluster.model.specs import Mount, Pairs

PROTOCOLS: Final = ("tcp", "udp", "sctp")
RUNTIMES: Final = ("", OWN_RUNTIME, "runc", "io.containerd.runc.v2")
MAX_PORT: Final = 65535
_MASKED: Final = (
    "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi", "/sys/firmware",
)  # fmt: skip
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def host_config_of(fields: Fields) -> HostConfig:
    """Raises InvalidArgument in Docker's words for what can't be."""
    restart, log = fields.section("RestartPolicy"), fields.section("LogConfig")
    _refuse_unserved(fields)
    return HostConfig(
        network_mode=fields.text("NetworkMode") or "default",
        port_bindings=bindings_of(fields),
        restart=restart.text("Name") or "no",
        restart_max=_retries(restart),
        auto_remove=fields.flag("AutoRemove"),
        mounts=_mounts_of(fields),
        cap_add=fields.strings_or_text("CapAdd"),
        cap_drop=fields.strings_or_text("CapDrop"),
        dns=fields.strings("Dns"),
        dns_search=fields.strings("DnsSearch"),
        dns_options=fields.strings("DnsOptions"),
        extra_hosts=tuple(_extra_host(text) for text in fields.strings("ExtraHosts")),
        privileged=fields.flag("Privileged"),
        read_only=fields.flag("ReadonlyRootfs"),
        init=fields.optional_flag("Init"),
        sysctls=fields.pairs("Sysctls"),
        volume_driver=fields.text("VolumeDriver"),
        ulimits=ulimits_of(fields, "Ulimits"),
        shm_size_bytes=_shm_size(fields),
        oom_score_adj=fields.integer("OomScoreAdj"),
        log_driver=log.text("Type") or (driver_for(name for name, _ in log.pairs("Config")) if fields.has("LogConfig") else UNAWARE_DRIVER),
        log_options=log.pairs("Config"),
        volumes_from=fields.strings("VolumesFrom"),
        links=tuple(map(links.split, fields.strings("Links"))),
        publish_all=fields.flag("PublishAllPorts"),
        security_options=fields.strings("SecurityOpt"),
        group_add=fields.strings("GroupAdd"),
        pid_mode=fields.text("PidMode"),
        ipc_mode=fields.text("IpcMode") or "private",
        uts_mode=fields.text("UTSMode"),
        cgroup_mode=fields.text("CgroupnsMode") or "private",
        userns_mode=fields.text("UsernsMode"),
        system_paths_open=fields.has("MaskedPaths") and not fields.strings("MaskedPaths"),
        console_size=_size(fields.naturals("ConsoleSize")),
        annotations=_annotations(fields),
        runtime=fields.text("Runtime") or OWN_RUNTIME,
        isolation=fields.text("Isolation"),
        **resources_of(fields),
    )


def _mounts_of(fields: Fields) -> tuple[Mount, ...]:
    mounts = [mount_of(item) for item in fields.objects("Mounts")]
    mounts += [bind_of(text) for text in fields.strings("Binds")]
    mounts += [tmpfs_of(target, options) for target, options in fields.pairs("Tmpfs")]
    seen: set[str] = set()
    for mount in mounts:
        target = clean(mount.target)
        if target in seen:
            raise InvalidArgument(f"Duplicate mount point: {target}")
        seen.add(target)
    return tuple(mounts)


def _shm_size(fields: Fields) -> int:
    if fields.integer("ShmSize") < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    return fields.natural("ShmSize") or DEFAULT_SHM_BYTES


def _extra_host(text: str) -> str:
    """`name:address`, checked. Raises InvalidArgument."""
    name, _, address = text.partition(":")
    if not name or not address:
        raise InvalidArgument(f'bad format for add-host: "{text}"')
    if address != HOST_GATEWAY:
        try:
            ip_address(address.strip("[]"))
        except ValueError:
            raise InvalidArgument(f'invalid IP address in add-host: "{address}"') from None
    return text


def bindings_of(fields: Fields) -> tuple[PortBinding, ...]:
    """PortBindings: `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`."""
    bindings = []
    for port, hosts in fields.lists("PortBindings"):
        number, protocol = parse_port(port)
        for host in hosts:
            text = host.text("HostPort") or "0"
            first, _, last = text.partition("/")[0].partition("-")  # a protocol behind it means nothing: it is the container port's
            if not all(is_natural(word) and int(word) <= MAX_PORT for word in (first, last or first)) or int(last or first) < int(first):
                raise InvalidArgument(f'invalid port specification: "{text}"')
            binding = PortBinding(
                container_port=number, protocol=protocol, host_port=int(first), host_ip=host.text("HostIp"), host_port_last=int(last or "0")
            )
            bindings.append(binding)
    return tuple(bindings)


def parse_port(text: str, *, bound: bool = True) -> tuple[int, str]:
    """`80/tcp` -> (80, "tcp"). Raises InvalidArgument; a port that is only exposed may name any protocol."""
    number, _, protocol = text.lower().partition("/")
    if not is_natural(number) or not int(number) <= MAX_PORT:
        raise InvalidArgument(f'invalid port specification: "{number}"')
    if bound and (protocol or "tcp") not in PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {protocol}")
    return int(number), protocol or "tcp"


def _refuse_unserved(fields: Fields) -> None:
    """One sentence each for what Docker has and this runtime has not."""
    runtime, isolation = fields.text("Runtime"), fields.text("Isolation")
    if runtime not in RUNTIMES:
        raise InvalidArgument(f"Unknown runtime specified {runtime}")
    if isolation not in ("", "default"):
        raise InvalidArgument(f"Invalid isolation: \"{isolation}\" - linux only supports 'default'")
    for key, _ in fields.pairs("StorageOpt"):
        if key != "size":
            raise InvalidArgument(f"Unknown option {key}")
        raise InvalidArgument("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
    if (driver := fields.text("VolumeDriver")) not in ("", "local"):
        raise NotFound(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
    if fields.text("UsernsMode") not in ("", "host", "remap"):
        raise InvalidArgument(f"invalid user namespace mode: {fields.text('UsernsMode')}")


def _size(numbers: tuple[int, ...]) -> tuple[int, int]:
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)  # noqa: PLR2004


def _annotations(fields: Fields) -> Pairs:
    found = fields.pairs("Annotations")
    if any(not name for name, _ in found):
        raise InvalidArgument("invalid Annotations: the empty string is not permitted as an annotation key")
    return found


def _retries(restart: Fields) -> int:
    """Old clients send a number without a policy."""
    count = restart.integer("MaximumRetryCount")
    return count if restart.text("Name") else 0


def _paths(host: HostConfig, paths: tuple[str, ...]) -> list[str] | None:
    if host.privileged:
        return None
    return [] if host.system_paths_open or "systempaths=unconfined" in host.security_options else list(paths)


def exposed_json(exposed: Iterable[str]) -> Json:
    return {port: {} for port in sorted(exposed)}


def port_map_json(bindings: Iterable[PortBinding], exposed: Iterable[str]) -> Json:
    """Ports of a running container: what is bound, and null for what is only exposed."""
    out: Json = dict.fromkeys(exposed)
    for binding in bindings:
        key = f"{binding.container_port}/{binding.protocol}"
        if out.get(key) is None:
            out[key] = []
        out[key].append({"HostIp": binding.host_ip or "0.0.0.0", "HostPort": str(binding.host_port)})  # noqa: S104
    return dict(sorted(out.items()))


def host_config_json(host: HostConfig) -> Json:
    bindings: Json = {}
    for binding in host.port_bindings:
        port = str(binding.host_port or "") + (f"-{binding.host_port_last}" if binding.host_port_last else "")
        bound = {"HostIp": binding.host_ip, "HostPort": port}
        bindings.setdefault(f"{binding.container_port}/{binding.protocol}", []).append(bound)
    return (
        {
            "Binds": binds_of(host.mounts) or None,
            "ContainerIDFile": "",
            "LogConfig": {"Type": host.log_driver, "Config": mapping(host.log_options)},
            "NetworkMode": host.network_mode,
            "PortBindings": bindings,
            "RestartPolicy": {"Name": host.restart, "MaximumRetryCount": host.restart_max},
            "AutoRemove": host.auto_remove,
            "VolumeDriver": host.volume_driver,
            "VolumesFrom": list(host.volumes_from) or None,
            "ConsoleSize": list(host.console_size),
            "CapAdd": list(host.cap_add) or None,
            "CapDrop": list(host.cap_drop) or None,
            "CgroupnsMode": host.cgroup_mode or "private",
            "Dns": list(host.dns),
            "DnsOptions": list(host.dns_options),
            "DnsSearch": list(host.dns_search),
            "ExtraHosts": list(host.extra_hosts) or None,
            "GroupAdd": list(host.group_add) or None,
            "IpcMode": host.ipc_mode or "private",
            "Cgroup": "",
            "Links": None,
            "OomScoreAdj": host.oom_score_adj,
            "PidMode": host.pid_mode,
            "Privileged": host.privileged,
            "PublishAllPorts": host.publish_all,
            "ReadonlyRootfs": host.read_only,
            "SecurityOpt": list(host.security_options) or None,
            "UTSMode": host.uts_mode,
            "UsernsMode": host.userns_mode,
            "ShmSize": host.shm_size_bytes,
            "Runtime": host.runtime,
            "Isolation": host.isolation,
            "MaskedPaths": _paths(host, _MASKED),
            "ReadonlyPaths": _paths(host, _READ_ONLY),
        }
        | resources_json(host)
        | filled(
            {
                "Mounts": long_form(host.mounts),
                "Tmpfs": tmpfs_json(host.mounts),
                "Sysctls": mapping(host.sysctls),
                "Annotations": mapping(host.annotations),
            }
        )
        | ({} if host.init is None else {"Init": host.init})
    )
