"""What a container may not be asked for, in Docker's words: pure; what this node has comes in.

Source: moby's daemon/container.go and daemon/daemon_unix.go (verifyContainerSettings, verifyPlatformContainerResources), runconfig's hostconfig_unix.go.
"""

from __future__ import annotations

from typing import Final

from agent import log_settings, security_options
from agent.container_spec import signal_number
from agent.machine import NodeResources
from agent.records import Config, HostConfig
from cluster.model.decimals import is_natural
from cluster.model.errors import Internal, InvalidArgument
from cluster.model.specs import HealthCheck

MIN_MEMORY_BYTES: Final = 6 * 1024 * 1024
NANO: Final = 1_000_000_000
MS_NS: Final = 1_000_000
RESTARTS: Final = ("", "no", "always", "unless-stopped", "on-failure")
PERIOD_US: Final = (1000, 1_000_000)
MIN_QUOTA_US: Final = 1000
WEIGHT: Final = (10, 1000)
CPU_SHARES: Final = (2, 262_144)
OOM_SCORE: Final = (-1000, 1000)
CONTAINER: Final = "container:"


def check(config: Config, host: HostConfig, node: NodeResources, *, remapped: bool = False) -> None:
    """`remapped`: it gets a user namespace. Raises InvalidArgument."""
    _check_config(config)
    _check_namespaces(config, host)
    if remapped:
        _check_user_namespace(host)
    _check_restart(host)
    check_limits(host, node)
    security_options.parse(host.security_options)
    log_settings.check(host)
    low, high = OOM_SCORE
    if not low <= host.oom_score_adj <= high:
        raise InvalidArgument(f"Invalid value {host.oom_score_adj}, range for oom score adj is [{low}, {high}]")
    for device in host.devices:
        if device.target == device.path:
            continue  # whether it is a device at all is told first, when the container starts
        if not device.target.startswith("/dev/") or ".." in device.target.split("/"):
            raise InvalidArgument(f"a device can only be placed below /dev in the container, not at {device.target}")


def _check_config(config: Config) -> None:
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidArgument(f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path")
    for entry in config.env:
        if not entry or entry.startswith("="):
            raise InvalidArgument(f"invalid environment variable: {entry}")
    if config.stop_signal:
        signal_number(config.stop_signal)
    if config.health is not None:
        check_health(config.health)


def check_health(health: HealthCheck) -> None:
    """Raises InvalidArgument for times under a millisecond and negative retries."""
    for name, value in (("Interval", health.interval_ns), ("Timeout", health.timeout_ns)):
        if value and value < MS_NS:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if health.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")
    for name, value in (("StartPeriod", health.start_period_ns), ("StartInterval", health.start_interval_ns)):
        if value and value < MS_NS:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")


def _check_namespaces(config: Config, host: HostConfig) -> None:
    if host.network_mode.startswith(CONTAINER):
        _check_shared_network(config, host)
    if host.uts_mode == "host" and config.hostname:
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if host.ipc_mode not in ("", "private", "shareable", "none", "host") and not host.ipc_mode.startswith(CONTAINER):
        raise InvalidArgument(f"Invalid IPC mode: {host.ipc_mode}")
    if host.pid_mode not in ("", "host") and not host.pid_mode.startswith(CONTAINER):
        raise InvalidArgument(f"invalid PID mode: {host.pid_mode}")
    if host.uts_mode not in ("", "host"):
        raise InvalidArgument(f"invalid UTS mode: {host.uts_mode}")
    if host.cgroup_mode not in ("", "private", "host"):
        raise InvalidArgument(f"invalid cgroup namespace mode: {host.cgroup_mode}")


def _check_user_namespace(host: HostConfig) -> None:
    """What is the host's can't be had without the host's rights."""
    if host.privileged:
        raise InvalidArgument("privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running "
                              "privileged mode")  # fmt: skip
    if host.network_mode == "host":
        raise InvalidArgument("cannot share the host's network namespace when user namespaces are enabled")
    if host.pid_mode == "host":
        raise InvalidArgument("cannot share the host PID namespace when user namespaces are enabled")


def _check_shared_network(config: Config, host: HostConfig) -> None:
    for given, what in (
        (config.hostname, "hostname"),
        (host.dns, "dns"),
        (host.extra_hosts, "custom host-to-IP mapping"),
    ):
        if given:
            raise InvalidArgument(f"conflicting options: {what} and the network mode")
    if host.port_bindings or host.publish_all:
        raise InvalidArgument("conflicting options: port publishing and the container type network mode")
    if config.exposed_ports:
        raise InvalidArgument("conflicting options: port exposing and the container type network mode")


def _check_restart(host: HostConfig) -> None:
    if host.restart not in RESTARTS:
        raise InvalidArgument(f"invalid restart policy '{host.restart}'")
    if host.restart_max and host.restart != "on-failure":
        raise InvalidArgument(f"maximum retry count cannot be used with restart policy '{host.restart}'")
    if host.restart_max < 0:
        raise InvalidArgument("maximum retry count cannot be negative")
    if host.auto_remove and host.restart not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def check_limits(host: HostConfig, node: NodeResources, *, updating: bool = False) -> None:
    """Also for an update: then the limits are those that it would lead to."""
    memory, swap, reservation = host.memory_bytes, host.memory_swap_bytes, host.memory_reservation_bytes
    if memory and memory < MIN_MEMORY_BYTES:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if memory == 0 and swap > 0 and not updating:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if host.memory_swappiness is not None and not -1 <= host.memory_swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {host.memory_swappiness}, valid memory swappiness range is 0-100")
    if 0 < reservation < MIN_MEMORY_BYTES:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    _check_cpu(host, node)
    _check_cpuset("cpuset cpus", "CPUs", host.cpuset_cpus, node.cpus)
    _check_cpuset("cpuset mems", "memory nodes", host.cpuset_mems, node.memory_nodes)
    low, high = WEIGHT
    if host.blkio_weight and not low <= host.blkio_weight <= high:
        raise InvalidArgument(f"Range of blkio weight is from {low} to {high}")


def check_start(config: Config, host: HostConfig) -> None:
    """What Docker's runtime refuses when the container starts, and no sooner. Raises Internal."""
    if config.domainname and host.uts_mode == "host":
        raise Internal('sysctl "kernel.domainname" is not in a separate kernel namespace')
    refused = "error during container init: error setting cgroup config for procHooks process: "
    low, high = CPU_SHARES
    if host.cpu_shares and not low <= host.cpu_shares <= high:
        limit = f"minimum allowed cpu-shares is {low}" if host.cpu_shares < low else f"maximum allowed cpu-shares is {high}"
        raise Internal("shares: invalid argument" if host.cpu_shares < 0 else f"{refused}the {limit}")


def _check_cpu(host: HostConfig, node: NodeResources) -> None:
    if host.nano_cpus > 0 and host.cpu_period_us > 0:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if host.nano_cpus > 0 and host.cpu_quota_us > 0:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if not 0 <= host.nano_cpus <= node.processors * NANO:
        count = node.processors
        raise InvalidArgument(f"Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
    if host.cpu_period_us and not PERIOD_US[0] <= host.cpu_period_us <= PERIOD_US[1]:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < host.cpu_quota_us < MIN_QUOTA_US:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")


def _check_cpuset(name: str, what: str, text: str, available: str) -> None:
    if not text:
        return
    try:
        asked = numbers_of(text)
    except ValueError:
        raise InvalidArgument(f"Invalid value {text} for {name}: invalid format: {text}") from None
    if available and not asked <= numbers_of(available):
        raise InvalidArgument(f"Requested {what} are not available - requested {text}, available: {available}")


def numbers_of(text: str) -> frozenset[int]:
    """`0-2,5` -> {0, 1, 2, 5}. Raises ValueError."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not is_natural(first) or (dash and not is_natural(last)) or int(last or first) < int(first) or int(last or first) > 8192:
            raise ValueError(text)
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)
