"""`run`'s and `create`'s flags as the body of POST /containers/create: what the docker client posts for the same flags. Pure: files have been read.

Source: docker/cli's cli/command/container/opts.go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from cli import run_fields as fields
from cli import run_networks
from cli.api import API_VERSION
from cli.failures import MISUSED, CliFailure
from cli.service_fields import capability, pairs

_LOOPBACK: Final = re.compile(r"127\.([0-9]{1,3}\.){2}[0-9]{1,3}|::1$")
Flags = Mapping[str, Any]
Body = dict[str, Any]
_HEALTH: Final = (
    ("health_interval", "Interval"), ("health_timeout", "Timeout"), ("health_start_period", "StartPeriod"), ("health_start_interval", "StartInterval"),
    ("health_retries", "Retries"),
)  # fmt: skip
_NUMBERS: Final = (
    ("memory", "Memory"), ("memory_swap", "MemorySwap"), ("memory_reservation", "MemoryReservation"), ("cpus", "NanoCpus"), ("cpu_shares", "CpuShares"),
    ("cpu_period", "CpuPeriod"), ("cpu_quota", "CpuQuota"), ("blkio_weight", "BlkioWeight"), ("shm_size", "ShmSize"), ("oom_score_adj", "OomScoreAdj"),
    ("cpu_rt_period", "CpuRealtimePeriod"), ("cpu_rt_runtime", "CpuRealtimeRuntime"),
)  # fmt: skip
_TEXTS: Final = (
    ("cpuset_cpus", "CpusetCpus"), ("cpuset_mems", "CpusetMems"), ("cgroup_parent", "CgroupParent"), ("pid", "PidMode"), ("ipc", "IpcMode"),
    ("uts", "UTSMode"), ("cgroupns", "CgroupnsMode"), ("userns", "UsernsMode"), ("volume_driver", "VolumeDriver"), ("runtime", "Runtime"),
    ("isolation", "Isolation"), ("cidfile", "ContainerIDFile"),
)  # fmt: skip
_LISTS: Final = (
    ("dns_search", "DnsSearch"), ("dns_option", "DnsOptions"), ("group_add", "GroupAdd"),
    ("link", "Links"), ("volumes_from", "VolumesFrom"),
    ("add_host", "ExtraHosts"), ("dns", "Dns"), ("device_cgroup_rule", "DeviceCgroupRules"),
    ("ulimit", "Ulimits"), ("device_read_bps", "BlkioDeviceReadBps"), ("device_write_bps", "BlkioDeviceWriteBps"),
    ("device_read_iops", "BlkioDeviceReadIOps"), ("device_write_iops", "BlkioDeviceWriteIOps"), ("mount", "Mounts"),
    ("blkio_weight_device", "BlkioWeightDevice"),
)  # fmt: skip
_SWITCHES: Final = (
    ("privileged", "Privileged"), ("read_only", "ReadonlyRootfs"), ("publish_all", "PublishAllPorts"), ("rm", "AutoRemove"),
    ("oom_kill_disable", "OomKillDisable"),
)  # fmt: skip


def build(image: str, arguments: Sequence[str], flags: Flags, environment: Sequence[str], labels: Mapping[str, str], options: Sequence[str]) -> Body:
    """`environment`, `labels`: complete; `options`: the security options with their files' contents. Raises CliFailure for contradictions."""
    _check(flags)
    streams = set(flags["attach"])
    if not streams and not flags["detach"]:
        streams = {"stdout", "stderr"} | ({"stdin"} if flags["interactive"] else set())
    bindings: dict[str, list[dict[str, str]]] = {}
    for port, binding in _published(flags["publish"]):
        bindings.setdefault(port, []).append(binding)
    exposed: Body = {port: {} for port in (*bindings, *(p for text in flags["expose"] for p in _exposed(text)))}
    volumes, binds = _volumes(flags["volume"])
    body: Body = {
        "Hostname": flags["hostname"], "Domainname": flags["domainname"], "User": flags["user"], "AttachStdin": "stdin" in streams,
        "AttachStdout": "stdout" in streams, "AttachStderr": "stderr" in streams, "Tty": bool(flags["tty"]), "OpenStdin": bool(flags["interactive"]),
        "StdinOnce": bool(flags["interactive"]) and "stdin" in streams, "Env": list(environment), "Cmd": list(arguments), "Image": image,
        "WorkingDir": flags["workdir"], "Labels": dict(labels), "ExposedPorts": exposed, "Volumes": volumes,
    }  # fmt: skip
    if flags["entrypoint"] is not None:
        body["Entrypoint"] = [flags["entrypoint"]]
    if flags["stop_signal"]:
        body["StopSignal"] = flags["stop_signal"]
    if flags["stop_timeout"] is not None:
        body["StopTimeout"] = flags["stop_timeout"]
    if health := _health(flags):
        body["Healthcheck"] = health
    body["HostConfig"] = _host(flags, bindings, binds, options)
    body["NetworkingConfig"] = {"EndpointsConfig": run_networks.endpoints(flags, API_VERSION)}
    return body


_MODES = (
    ("pid", ("host",), "PID"), ("uts", ("host",), "UTS"), ("cgroupns", ("host", "private"), "CGROUP"), ("userns", ("host", "remap"), "USER"),
)  # fmt: skip


def _check(flags: Flags) -> None:
    if flags["attach"] and flags["detach"]:
        raise CliFailure("conflicting options: cannot specify both --attach and --detach")
    if flags["rm"] and _restart(flags["restart"]).get("Name", "no") not in ("", "no"):
        raise CliFailure("conflicting options: cannot specify both --restart and --rm", MISUSED)
    swappiness = flags["memory_swappiness"]
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise CliFailure(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100", MISUSED)
    for name, valid, what in _MODES:
        if flags[name] not in ("", *valid) and not (name == "pid" and flags[name].partition("container:")[2]):
            raise CliFailure(f"--{name}: invalid {what} mode", MISUSED)
    if flags["use_api_socket"]:
        raise CliFailure("--use-api-socket is not supported: mount the daemon's socket by -v, and know that it is as good as root", MISUSED)
    if flags["log_driver"] == "none" and flags["log_opt"]:
        raise CliFailure("invalid logging opts for driver none", MISUSED)


def _exposed(text: str) -> list[str]:
    if ":" in text:
        raise CliFailure(f"invalid port format for --expose: {text}", MISUSED)
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    try:
        if not numbers:
            raise ValueError("empty string specified for ports")
        low, high = (fields.port_number(word) for word in (first, last or first))
        if high < low:
            raise ValueError(f"invalid range specified for port: {numbers}")
    except ValueError as e:
        raise CliFailure(f"invalid range format for --expose: {text}, error: {e}", MISUSED) from e
    return [f"{n}/{protocol or 'tcp'}" for n in range(low, high + 1)]


def _volumes(texts: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Without a colon an anonymous volume, else a bind or a named one."""
    if "" in texts:
        raise CliFailure("invalid empty volume spec", MISUSED)
    for text in texts:
        if ":" in text and not all(text.split(":")):
            raise CliFailure(f"invalid spec: {text}: empty section between colons", MISUSED)
    return {t: {} for t in texts if ":" not in t}, list(dict.fromkeys(_from_here(t) for t in texts if ":" in t))


def _from_here(bind: str) -> str:
    """`./folder:/target` is meant from the working folder."""
    source, _, rest = bind.partition(":")
    return f"{os.path.abspath(source)}:{rest}" if source.startswith(".") else bind


def _health(flags: Flags) -> Body:
    given = {name: flags[flag] for flag, name in _HEALTH if flags[flag] is not None}
    if flags["no_healthcheck"]:
        if flags["health_cmd"] is not None or given:
            raise CliFailure("--no-healthcheck conflicts with --health-* options", MISUSED)
        return {"Test": ["NONE"]}
    for flag, _ in _HEALTH:
        if (flags[flag] or 0) < 0:
            raise CliFailure(f"--{flag.replace('_', '-')} cannot be negative", MISUSED)
    return ({"Test": ["CMD-SHELL", flags["health_cmd"]]} if flags["health_cmd"] else {}) | given


def _host(flags: Flags, bindings: Mapping[str, Any], binds: list[str], options: Sequence[str]) -> Body:
    host: Body = {"Binds": binds or None, "NetworkMode": run_networks.mode(flags), "PortBindings": bindings}
    host["RestartPolicy"] = _restart(flags["restart"]) or {"Name": "no", "MaximumRetryCount": 0}
    host["LogConfig"] = {"Type": flags["log_driver"], "Config": pairs(flags["log_opt"])}
    host |= {name: flags[flag] for flag, name in _NUMBERS if flags[flag] is not None}
    host |= {name: flags[flag] for flag, name in _TEXTS if flags[flag]}
    host |= {name: list(flags[flag]) for flag, name in _LISTS if flags[flag]}
    for flag, name in (("cap_add", "CapAdd"), ("cap_drop", "CapDrop")):
        if flags[flag]:
            host[name] = sorted({capability(text) for text in flags[flag]})
    host |= {name: bool(flags[flag]) for flag, name in _SWITCHES}
    if flags["ulimit"]:
        host["Ulimits"] = list({limit["Name"]: limit for limit in flags["ulimit"]}.values())  # the last of a name counts
    if flags["device"]:
        host["Devices"] = [_device(text) for text in flags["device"]]
    if flags["pids_limit"] is not None:
        host["PidsLimit"] = flags["pids_limit"]
    if flags["memory_swappiness"] is not None:
        host["MemorySwappiness"] = flags["memory_swappiness"]
    if flags["init"] is not None:
        host["Init"] = bool(flags["init"])
    if flags["gpus"]:
        host["DeviceRequests"] = [flags["gpus"]]
    if any("=" not in text for text in flags["storage_opt"]):
        raise CliFailure("invalid storage option", MISUSED)
    if flags["storage_opt"]:
        host["StorageOpt"] = pairs(flags["storage_opt"])
    if flags["sysctl"]:
        host["Sysctls"] = pairs(flags["sysctl"])
    if flags["annotation"]:
        host["Annotations"] = pairs(flags["annotation"])
    if flags["tmpfs"]:
        host["Tmpfs"] = {target: words for target, _, words in (text.partition(":") for text in flags["tmpfs"])}
    kept = [o for o in options if o != "systempaths=unconfined"]
    if len(kept) != len(options):
        host |= {"MaskedPaths": [], "ReadonlyPaths": []}
    if kept:
        host["SecurityOpt"] = kept
    return host


def warnings(host: Mapping[str, Any]) -> Iterator[str]:
    """What docker's client says of a HostConfig before it is posted."""
    for server in host.get("Dns") or ():
        if _LOOPBACK.search(server):
            yield f"Localhost DNS ({server}) may fail in containers."
            return


def _restart(text: str | None) -> Body:
    try:
        return fields.parse_restart(text) if text else {}
    except ValueError as error:
        raise CliFailure(str(error), MISUSED) from error


def _device(text: str) -> Body:
    try:
        device = fields.parse_device(text)
    except ValueError as error:
        raise CliFailure(str(error), MISUSED) from error
    if not device["PathInContainer"].startswith("/"):
        raise CliFailure(f"{device['PathInContainer']} is not an absolute path", MISUSED)
    return device


def _published(texts: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Raises CliFailure for what is no port."""
    for text in texts:
        try:
            yield from fields.parse_publish(text)
        except ValueError as e:
            raise CliFailure(str(e), MISUSED) from e
