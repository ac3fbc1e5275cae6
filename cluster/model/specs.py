"""What users ask for. Specs are immutable values; what a user left out stays None so that `inspect` can say so.

Shapes: everything is a tuple, never a list or dict, so that decoded objects stay out of the garbage collector's sight (gc=False). Maps of
labels are tuples of (key, value) pairs in the order given. Units are last in the names. New fields go last and have defaults; types never change.
Encoded positionally (array_like) by cluster/wire/codec.py.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

Pairs = tuple[tuple[str, str], ...]
"""A map from text to text: (key, value) pairs without duplicate keys."""


class Value(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of every spec and object."""


class Role(enum.StrEnum):
    WORKER = "worker"
    MANAGER = "manager"


class Availability(enum.StrEnum):
    ACTIVE = "active"
    PAUSE = "pause"
    DRAIN = "drain"


class ServiceModeKind(enum.StrEnum):
    REPLICATED = "replicated"
    GLOBAL = "global"
    REPLICATED_JOB = "replicated-job"
    GLOBAL_JOB = "global-job"

    @property
    def is_job(self) -> bool:
        return self in (ServiceModeKind.REPLICATED_JOB, ServiceModeKind.GLOBAL_JOB)


class RestartCondition(enum.StrEnum):
    NONE = "none"
    ON_FAILURE = "on-failure"
    ANY = "any"


class EndpointMode(enum.StrEnum):
    VIP = "vip"
    DNSRR = "dnsrr"


class PublishMode(enum.StrEnum):
    INGRESS = "ingress"
    HOST = "host"


class FailureAction(enum.StrEnum):
    PAUSE = "pause"
    CONTINUE = "continue"
    ROLLBACK = "rollback"


class UpdateOrder(enum.StrEnum):
    STOP_FIRST = "stop-first"
    START_FIRST = "start-first"


class Mount(Value, frozen=True):
    kind: str  # bind, volume, tmpfs
    source: str
    target: str
    read_only: bool = False
    options: Pairs = ()  # propagation, tmpfs-size, tmpfs-mode, volume-nocopy, volume-driver, ...


class HealthCheck(Value, frozen=True):
    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    retries: int = 0
    start_interval_ns: int = 0


class Ulimit(Value, frozen=True):
    name: str
    soft: int
    hard: int


class DependencySpec(Value, frozen=True):
    """A secret or a config: bytes under a name, which tasks get as a file. `templating` golang: placeholders in `data` are filled in for each task."""

    name: str
    labels: Pairs = ()
    data: bytes = b""
    templating: str = ""
    templating_options: Pairs = ()


class DependencyFile(Value, frozen=True):
    """How a task gets a secret or a config. `target`: a path, or a name in the usual folder (/run/secrets; / for configs); `uid` and `gid` are decimal."""

    id: str
    name: str
    target: str
    uid: str = "0"
    gid: str = "0"
    mode: int = 0o444


class Privileges(Value, frozen=True):
    """`seccomp`: empty, default, unconfined, or custom with the JSON text of `seccomp_profile`. `apparmor`: empty, default or disabled."""

    seccomp: str = ""
    seccomp_profile: str = ""
    apparmor: str = ""
    no_new_privileges: bool = False


class ContainerSpec(Value, frozen=True):
    """The process of a task, as in the API's TaskSpec.ContainerSpec. `command` replaces the image's entrypoint, `args` its command."""

    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    hostname: str = ""
    env: tuple[str, ...] = ()
    dir: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    labels: Pairs = ()
    tty: bool = False
    open_stdin: bool = False
    read_only: bool = False
    init: bool | None = None
    stop_signal: str = ""
    stop_grace_ns: int | None = None
    mounts: tuple[Mount, ...] = ()
    hosts: tuple[str, ...] = ()
    dns_nameservers: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    health: HealthCheck | None = None
    sysctls: Pairs = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    isolation: str = ""
    registry_auth: str = ""  # an X-Registry-Auth, for the nodes that pull; never shown
    oom_score_adj: int = 0
    privileges: Privileges | None = None
    secrets: tuple[DependencyFile, ...] = ()
    configs: tuple[DependencyFile, ...] = ()


class GenericResource(Value, frozen=True):
    """So many of a kind that a node's administrator has declared; or one of them, with a name."""

    kind: str
    count: int = 1
    name: str = ""


class Resources(Value, frozen=True):
    nano_cpus: int = 0
    memory_bytes: int = 0
    pids: int = 0
    generic: tuple[GenericResource, ...] = ()


class RestartPolicy(Value, frozen=True):
    """None fields mean Docker's defaults: any, 5 s, unlimited, no window."""

    condition: RestartCondition | None = None
    delay_ns: int | None = None
    max_attempts: int | None = None
    window_ns: int | None = None


class Platform(Value, frozen=True):
    architecture: str = ""
    os: str = ""


class Placement(Value, frozen=True):
    constraints: tuple[str, ...] = ()
    spread: tuple[str, ...] = ()  # spread descriptors, e.g. node.labels.zone
    max_replicas: int = 0
    platforms: tuple[Platform, ...] = ()


NODE_NETWORKS: Final = ("host", "bridge")
"""Networks that every node has of its own: a service may name them, the cluster gives no addresses there."""
SWARM_DRIVERS: Final = ("overlay", "bridge", "host")
"""What a network of the cluster may be: an overlay across the nodes, or one that each node makes for itself."""


class NetworkAttachmentConfig(Value, frozen=True):
    target: str  # network id once it has passed manager/control
    aliases: tuple[str, ...] = ()
    driver_opts: Pairs = ()


class TaskSpec(Value, frozen=True):
    container: ContainerSpec
    limits: Resources | None = None
    reservations: Resources | None = None
    restart: RestartPolicy | None = None
    placement: Placement | None = None
    networks: tuple[NetworkAttachmentConfig, ...] = ()
    force_update: int = 0
    log_driver: str = ""
    log_options: Pairs = ()
    runtime: str = "container"


class ServiceMode(Value, frozen=True):
    kind: ServiceModeKind = ServiceModeKind.REPLICATED
    replicas: int | None = None  # replicated: number of tasks (None = 1); replicated-job: total completions
    max_concurrent: int | None = None


class UpdateConfig(Value, frozen=True):
    parallelism: int = 1
    delay_ns: int = 0
    failure_action: FailureAction = FailureAction.PAUSE
    monitor_ns: int | None = None
    max_failure_ratio: float = 0.0
    order: UpdateOrder = UpdateOrder.STOP_FIRST


class PortConfig(Value, frozen=True):
    protocol: str = "tcp"
    target_port: int = 0
    published_port: int = 0  # 0: the allocator chooses
    publish_mode: PublishMode = PublishMode.INGRESS
    name: str = ""


class EndpointSpec(Value, frozen=True):
    mode: EndpointMode = EndpointMode.VIP
    ports: tuple[PortConfig, ...] = ()


class ServiceSpec(Value, frozen=True):
    name: str
    task: TaskSpec
    labels: Pairs = ()
    mode: ServiceMode = ServiceMode()
    update: UpdateConfig | None = None
    rollback: UpdateConfig | None = None
    endpoint: EndpointSpec | None = None
    networks: tuple[NetworkAttachmentConfig, ...] = ()  # the deprecated service-level list; task.networks wins


class NodeSpec(Value, frozen=True):
    name: str = ""
    labels: Pairs = ()
    role: Role = Role.WORKER
    availability: Availability = Availability.ACTIVE


class IpamConfig(Value, frozen=True):
    subnet: str = ""  # CIDR, empty: the allocator chooses
    ip_range: str = ""
    gateway: str = ""
    reserved: Pairs = ()  # auxiliary addresses: name -> address


class NetworkSpec(Value, frozen=True):
    name: str
    labels: Pairs = ()
    driver: str = "overlay"
    driver_opts: Pairs = ()
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    ipam_driver: str = "default"
    ipam: tuple[IpamConfig, ...] = ()
    ipam_options: Pairs = ()
    config_from: str = ""  # name of the configuration that each node has for it; of the drivers of a node only


class ClusterSpec(Value, frozen=True):
    name: str = "default"
    labels: Pairs = ()
    task_history_limit: int = 5
    snapshot_interval: int = 10_000
    keep_old_snapshots: int = 0
    log_entries_for_slow_followers: int = 500
    heartbeat_tick: int = 1
    election_tick: int = 10
    dispatcher_heartbeat_ns: int = 5_000_000_000
    node_cert_expiry_ns: int = 90 * 24 * 3600 * 1_000_000_000
    autolock: bool = False
    log_driver: str = ""
    log_options: Pairs = ()
    force_rotate: int = 0  # another number asks for another root
