"""Whether what a user asks for can be: the rules of service, network, node and cluster specs that need nothing but
the spec.

Owns the sentences of refusal; never reads the store (rules that compare with other objects are in services.py,
networks.py, nodes.py). Source: SwarmKit controlapi/service.go, common.go, network.go, cluster.go and agent/exec's
validation, whose wording is kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from itertools import combinations
from typing import Final

from cluster.model import depends_on, placeholders, placement_labels, port_labels, reference, reserved_labels, schedule
from cluster.model.errors import InvalidArgument, PermissionDenied
from cluster.model.ids import ServiceId, TaskId
from cluster.model.objects import NodeDescription, Task
from cluster.model.specs import (
    SWARM_DRIVERS,
    ClusterSpec,
    ContainerSpec,
    EndpointMode,
    EndpointSpec,
    HealthCheck,
    IpamConfig,
    NetworkSpec,
    PortConfig,
    PublishMode,
    Resources,
    RestartPolicy,
    ServiceMode,
    ServiceModeKind,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from manager.orchestrator import constraints

NAME_LENGTH_LIMIT: Final = 63  # characters, a DNS label's
CPU_MINIMUM_NANO: Final = 1_000_000
MEMORY_MINIMUM_BYTES: Final = 4 * 1024 * 1024
HEALTH_MINIMUM_NS: Final = 1_000_000
CERTIFICATE_MINIMUM_NS: Final = 3600 * 1_000_000_000
REPLICAS_LIMIT: Final = 1_000_000  # tasks of one service
PORTS_LIMIT: Final = 65_535
PREDEFINED_NETWORKS: Final = frozenset({"bridge", "host", "none"})
PROTOCOLS: Final = frozenset({"tcp", "udp", "sctp"})
CLUSTER_NAME: Final = "default"

_DNS_NAME: Final = re.compile(r"[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*", re.ASCII)
_NETWORK_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)


def name(text: str) -> None:
    """A name that users give to a service. Raises InvalidArgument."""
    if not text:
        raise InvalidArgument("meta: name must be provided")
    if len(text) > NAME_LENGTH_LIMIT:
        raise InvalidArgument(f"name must be {NAME_LENGTH_LIMIT} characters or fewer")
    if not _DNS_NAME.fullmatch(text):
        raise InvalidArgument("name must be valid as a DNS name component")


def service_spec(spec: ServiceSpec) -> None:
    """Everything about a service that its spec alone decides. Raises InvalidArgument with the first fault."""
    name(spec.name)
    _templates(spec)
    _task_spec(spec.task)
    _mode(spec.mode)
    if spec.mode.kind.is_job and spec.update is not None:
        raise InvalidArgument("Jobs may not have an update config")
    _schedule(spec)
    _update_config(spec.update)
    _update_config(spec.rollback)
    if spec.endpoint is not None:
        endpoint_spec(spec.endpoint)
    placement_labels.wish_of(spec.labels)
    if any(dependency.name == spec.name for dependency in depends_on.of(spec.labels)):
        raise InvalidArgument(f"invalid label {depends_on.LABEL}: service {spec.name} can't wait for itself")
    try:
        port_labels.check(spec.labels)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error


def _templates(spec: ServiceSpec) -> None:
    """Whether they fit some task."""
    task = Task(TaskId("taskid"), ServiceId("serviceid"), spec.task, service_name=spec.name, slot=1, service_labels=spec.labels)
    placeholders.expanded(spec.task.container, placeholders.context(task, NodeDescription(hostname="nodeHostname"), "nodeid"))


def _schedule(spec: ServiceSpec) -> None:
    if not any(key == schedule.LABEL for key, _ in spec.labels):
        return
    if not spec.mode.kind.is_job:
        raise InvalidArgument("schedule can only be used with replicated-job or global-job mode")
    try:
        schedule.parse(schedule.of(spec.labels))
    except ValueError as error:
        raise InvalidArgument(str(error)) from error


def _task_spec(spec: TaskSpec) -> None:
    for resources in (spec.reservations, spec.limits):
        if resources is not None:
            _resources(resources)
    _generic(spec)
    if spec.restart is not None:
        _restart_policy(spec.restart)
    if spec.placement is not None:
        if spec.placement.max_replicas < 0:
            raise InvalidArgument("TaskSpec: max replicas per node cannot be negative")
        constraints.parse_all(spec.placement.constraints)
    if spec.runtime != "container":
        raise InvalidArgument(f"RuntimeUnsupported: unrecognized runtime type {spec.runtime}")
    _container_spec(spec.container)


def _container_spec(spec: ContainerSpec) -> None:
    if not spec.image:
        raise InvalidArgument("ContainerSpec: image reference must be provided")
    try:
        reference.parse(spec.image)
    except ValueError as error:
        raise InvalidArgument(f'ContainerSpec: "{spec.image}" is not a valid repository/tag') from error
    targets: set[str] = set()
    for mount in spec.mounts:
        if mount.target in targets:
            raise InvalidArgument(f"ContainerSpec: duplicate mount point: {mount.target}")
        targets.add(mount.target)
    if spec.health is not None:
        _health_check(spec.health)
    reserved_labels.extras(spec.labels)


def _health_check(check: HealthCheck) -> None:
    for label, value in (
        ("Interval", check.interval_ns),
        ("Timeout", check.timeout_ns),
        ("StartPeriod", check.start_period_ns),
    ):
        if value != 0 and value < HEALTH_MINIMUM_NS:
            raise InvalidArgument(f"ContainerSpec: {label} in HealthConfig cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidArgument("ContainerSpec: Retries in HealthConfig cannot be negative")


def _resources(resources: Resources) -> None:
    if resources.nano_cpus != 0 and resources.nano_cpus < CPU_MINIMUM_NANO:
        raise InvalidArgument(f"invalid cpu value {resources.nano_cpus / 1e9:g}: Must be at least {CPU_MINIMUM_NANO / 1e9:g}")
    if resources.memory_bytes != 0 and resources.memory_bytes < MEMORY_MINIMUM_BYTES:
        raise InvalidArgument(f"invalid memory value {resources.memory_bytes}: Must be at least 4MiB")


def _generic(spec: TaskSpec) -> None:
    """Only so many of a kind can be asked for, and they can't be limited: nothing but the scheduler knows them."""
    for one in (spec.reservations or Resources()).generic:
        if one.name or one.count < 0 or not one.kind:
            raise InvalidArgument(f"invalid argument for resource {one.kind}")


def _restart_policy(policy: RestartPolicy) -> None:
    if policy.delay_ns is not None and policy.delay_ns < 0:
        raise InvalidArgument("TaskSpec: restart-delay cannot be negative")
    if policy.window_ns is not None and policy.window_ns < 0:
        raise InvalidArgument("TaskSpec: restart-window cannot be negative")
    if policy.max_attempts is not None and policy.max_attempts < 0:
        raise InvalidArgument("TaskSpec: restart-max-attempts cannot be negative")


def _update_config(config: UpdateConfig | None) -> None:
    if config is None:
        return
    if config.delay_ns < 0:
        raise InvalidArgument("TaskSpec: update-delay cannot be negative")
    if config.parallelism < 0:
        raise InvalidArgument("TaskSpec: update-parallelism cannot be negative")
    if config.monitor_ns is not None and config.monitor_ns < 0:
        raise InvalidArgument("TaskSpec: update-monitor cannot be negative")
    if not 0 <= config.max_failure_ratio <= 1:
        raise InvalidArgument("TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1")


def _mode(mode: ServiceMode) -> None:
    counted = mode.kind in (ServiceModeKind.REPLICATED, ServiceModeKind.REPLICATED_JOB)
    if counted and mode.replicas is not None and mode.replicas < 0:
        job = mode.kind is ServiceModeKind.REPLICATED_JOB
        raise InvalidArgument("Total completed jobs must not be negative" if job else "Number of replicas must be non-negative")
    if counted and mode.replicas is not None and mode.replicas > REPLICAS_LIMIT:
        raise InvalidArgument(f"Number of replicas must be at most {REPLICAS_LIMIT}")
    if mode.max_concurrent is not None and mode.max_concurrent < 0:
        raise InvalidArgument("Maximum concurrent jobs must not be negative")


def endpoint_spec(spec: EndpointSpec) -> None:
    """The published ports of a service among themselves. Raises InvalidArgument."""
    seen: set[tuple[str, int]] = set()
    for port in spec.ports:
        _port(port)
        if port.publish_mode is PublishMode.INGRESS and spec.mode is EndpointMode.DNSRR:
            raise InvalidArgument("EndpointSpec: port published with ingress mode can't be used with dnsrr mode")
        if port.published_port == 0:
            continue
        key = (port.protocol, port.published_port)
        if key in seen:
            raise InvalidArgument("EndpointSpec: duplicate published ports provided")
        seen.add(key)


def _port(port: PortConfig) -> None:
    if port.protocol not in PROTOCOLS:
        raise InvalidArgument(f"EndpointSpec: invalid protocol '{port.protocol}'")
    if not 0 < port.target_port <= PORTS_LIMIT:
        raise InvalidArgument(f"EndpointSpec: invalid target port '{port.target_port}'")
    if not 0 <= port.published_port <= PORTS_LIMIT:
        raise InvalidArgument(f"EndpointSpec: invalid published port '{port.published_port}'")


def network_spec(spec: NetworkSpec) -> None:
    """Everything about a network that its spec alone decides. Raises InvalidArgument, PermissionDenied for Docker's
    own names."""
    if not spec.name:
        raise InvalidArgument("name must be provided")
    if spec.name in PREDEFINED_NETWORKS:
        raise PermissionDenied(f"operation is not permitted on predefined {spec.name} network ")
    if len(spec.name) > NAME_LENGTH_LIMIT:
        raise InvalidArgument(f"name must be {NAME_LENGTH_LIMIT} characters or fewer")
    if not _NETWORK_NAME.fullmatch(spec.name):
        raise InvalidArgument("name must be valid as a DNS name component")
    if spec.ingress and spec.driver != "overlay":
        raise InvalidArgument("only overlay driver is currently supported for ingress network")
    if spec.driver not in SWARM_DRIVERS:
        raise InvalidArgument(f"network driver {spec.driver} cannot be used for a network of the swarm: only {', '.join(SWARM_DRIVERS)} can")
    if spec.ingress and spec.attachable:
        raise InvalidArgument("ingress network cannot be attachable")
    _ipam(spec.ipam)
    if spec.ipv6 and sum(":" not in config.subnet for config in spec.ipam) > 1:
        raise InvalidArgument("an overlay with IPv6 has one IPv4 subnet: its IPv6 addresses follow from that one's")


def _ipam(configs: Sequence[IpamConfig]) -> None:
    for config in configs:
        if not config.subnet:
            if config.ip_range or config.gateway:
                raise InvalidArgument("ipam configuration: subnet must be provided")
            continue
        try:
            subnet = ip_network(config.subnet)
        except ValueError as error:
            raise InvalidArgument(f"ipam configuration: invalid subnet {config.subnet}") from error
        _ipam_range(config, subnet.with_prefixlen)
        _ipam_addresses(config, subnet.with_prefixlen)
    subnets = [ip_network(config.subnet) for config in configs if config.subnet]
    if any(one.overlaps(other) for one, other in combinations(subnets, 2)):
        raise InvalidArgument("multiple overlapping subnet configuration is not supported")


def _ipam_range(config: IpamConfig, subnet: str) -> None:
    if not config.ip_range:
        return
    try:
        part = ip_network(config.ip_range)
    except ValueError as error:
        raise InvalidArgument(f"ipam configuration: invalid range {config.ip_range}") from error
    whole = ip_network(subnet)
    if part.version != whole.version or part.network_address not in whole or part.prefixlen < whole.prefixlen:
        raise InvalidArgument(f"ipam configuration: subnet {config.subnet} does not contain range {config.ip_range}")


def _ipam_addresses(config: IpamConfig, subnet: str) -> None:
    named = [("gateway", config.gateway)] if config.gateway else []
    named += [("reserved address", address) for _, address in config.reserved]
    for label, text in named:
        try:
            address = ip_address(text)
        except ValueError as error:
            raise InvalidArgument(f"ipam configuration: invalid {label} {text}") from error
        if address not in ip_network(subnet):
            raise InvalidArgument(f"ipam configuration: subnet {config.subnet} does not contain {label} {text}")


def cluster_spec(spec: ClusterSpec) -> None:
    """A cluster's settings. Raises InvalidArgument."""
    if spec.name != CLUSTER_NAME:
        raise InvalidArgument("modification of cluster name is not allowed")
    if spec.node_cert_expiry_ns < CERTIFICATE_MINIMUM_NS:
        raise InvalidArgument("minimum certificate expiry time is: 1h0m0s")
    if spec.dispatcher_heartbeat_ns < 0:
        raise InvalidArgument("heartbeat time period cannot be a negative duration")
    reserved_labels.cert_grace_s(spec.labels)
