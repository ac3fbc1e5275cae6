"""What a node keeps of each container, exec and local network: plain values, persisted as JSON beside the container's folders.

Owns shapes only. agent/containers.py is the only module that changes a Record (by replacing it); the engine converts it to the API's JSON.
Times are Unix nanoseconds, 0 = never. `status` is Docker's word: created, running, paused, restarting, removing, exited, dead.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cluster.model.specs import HealthCheck, IpamConfig, Mount, Pairs, Ulimit

DEFAULT_SHM_BYTES: Final = 64 * 1024 * 1024
OWN_RUNTIME: Final = "festoon"
NO_PIDS_LIMIT: Final = -1


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Base: encoded as JSON objects."""


class Config(Kept, frozen=True, kw_only=True):
    """The API's ContainerConfig after the image's own configuration has been merged in."""

    image: str  # as the user wrote it
    hostname: str = ""
    domainname: str = ""
    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None  # None: nobody has said anything; an empty one is none, also where the image has one
    cmd: tuple[str, ...] | None = None
    working_dir: str = ""
    labels: Pairs = ()
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: tuple[str, ...] = ()  # "80/tcp"
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    stop_timeout_s: int | None = None
    health: HealthCheck | None = None
    network_disabled: bool = False  # a network namespace of its own with nothing but its loopback


class PortBinding(Kept, frozen=True, kw_only=True):
    container_port: int
    protocol: str = "tcp"
    host_port: int = 0
    host_ip: str = ""
    host_port_last: int = 0  # any free one from host_port on to this one; 0: exactly host_port


class DeviceMapping(Kept, frozen=True, kw_only=True):
    path: str  # on the node
    target: str  # in the container
    permissions: str = "rwm"


class HostConfig(Kept, frozen=True, kw_only=True):
    network_mode: str = "default"
    port_bindings: tuple[PortBinding, ...] = ()
    restart: str = "no"
    restart_max: int = 0
    auto_remove: bool = False
    mounts: tuple[Mount, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    privileged: bool = False
    read_only: bool = False
    init: bool | None = None  # None: nobody has said anything
    sysctls: Pairs = ()
    ulimits: tuple[Ulimit, ...] = ()
    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    memory_reservation_bytes: int = 0
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    pids_limit: int = 0  # NO_PIDS_LIMIT: none, by an update
    shm_size_bytes: int = DEFAULT_SHM_BYTES
    oom_score_adj: int = 0
    log_driver: str = "local"
    log_options: Pairs = ()
    publish_all: bool = False
    devices: tuple[DeviceMapping, ...] = ()
    device_rules: tuple[str, ...] = ()  # "c 1:3 rwm"
    security_options: tuple[str, ...] = ()
    group_add: tuple[str, ...] = ()
    pid_mode: str = ""  # "", host, container:X
    ipc_mode: str = ""  # "", private, shareable, none, host, container:X
    uts_mode: str = ""  # "", host
    cgroup_mode: str = ""  # "", private, host
    userns_mode: str = ""  # "" the node's default, host, remap
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpuset_mems: str = ""
    blkio_weight: int = 0
    throttles: tuple[tuple[str, str, int], ...] = ()  # (read_bps | write_bps | read_iops | write_iops, path of the device, rate per second)
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    cgroup_parent: str = ""
    system_paths_open: bool = False  # nothing masked or read-only below /proc and /sys
    volume_driver: str = ""  # as the user named it; there is only local
    volumes_from: tuple[str, ...] = ()  # container[:ro|rw]
    links: tuple[tuple[str, str], ...] = ()  # (container's id, alias), on the default bridge: agent/links.py
    console_size: tuple[int, int] = (0, 0)  # rows, columns of its terminal from the start; zeros: whoever attaches says
    annotations: Pairs = ()  # for runtimes that know them, which ours does not: shown as they were given
    runtime: str = OWN_RUNTIME  # as the user named it: Docker's is as good a name for ours
    isolation: str = ""  # as the user named it; there is only the default


class NetworkWish(Kept, frozen=True, kw_only=True):
    """A network that a container shall be on, as its user or its task asks for it. All addresses are plain, but that of a task's overlay, which the
    cluster gave in CIDR form."""

    network: str  # id or name
    aliases: tuple[str, ...] = ()
    address: str = ""
    address6: str = ""
    mac: str = ""
    links: tuple[str, ...] = ()  # container:alias
    link_local: tuple[str, ...] = ()
    driver_opts: Pairs | None = None
    gateway_priority: int = 0  # of all its networks the container's way out is by the one with the highest
    assigned: bool = False  # by the cluster, to a task: no more is to be asked
    has_ipam: bool = False  # whether its user has said anything of addresses, be it nothing: shown as it was asked


class Attachment(Kept, frozen=True, kw_only=True):
    """One network of a container, with what was allocated there."""

    network_id: str
    network_name: str
    interface: str  # eth0, ...
    address: str  # CIDR; empty while not running
    gateway: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()
    endpoint_id: str = ""  # 64 hex digits
    hidden: bool = False  # docker_gwbridge: not shown in `inspect` of the container
    address6: str = ""  # CIDR
    gateway6: str = ""
    asked: NetworkWish | None = None  # None: nothing in particular
    default_route: bool = True  # whether the container's way out leads through `gateway`
    task_id: str = ""  # of the cluster's task that holds the address, where it is a container's of one's own


class HealthResult(Kept, frozen=True, kw_only=True):
    """One probe. `exit_code` -1: it did not end in time or could not be started."""

    start_ns: int
    end_ns: int
    exit_code: int
    output: str


class Health(Kept, frozen=True, kw_only=True):
    """`status`: starting, healthy, unhealthy. `log`: the last probes, oldest first."""

    status: str = "starting"
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


class State(Kept, frozen=True, kw_only=True):
    status: str = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at_ns: int = 0
    finished_at_ns: int = 0
    health: Health | None = None  # None: not watched


class Record(Kept, frozen=True, kw_only=True):
    id: str
    name: str  # without the leading slash
    created_at_ns: int
    image_id: str  # sha256:…
    path: str  # argv[0]
    args: tuple[str, ...]
    config: Config
    host: HostConfig
    state: State
    attachments: tuple[Attachment, ...] = ()
    restart_count: int = 0
    task_id: str = ""  # set for a cluster task's container
    node_id: str = ""
    service_id: str = ""
    mesh_ports: tuple[PortBinding, ...] = ()  # what it accepts on its ingress address: host_port is the published one
    ports: tuple[PortBinding, ...] = ()  # of the node, as bound now; host.port_bindings is what was asked for
    stopped_by_user: bool = False
    link_env: tuple[str, ...] = ()  # what it is told of the containers that it is linked to, since its last start
    mount_points: tuple[Mount, ...] = ()  # what it gets mounted: agent/mount_points.py; volumes by name
    dependencies: Pairs = ()  # of a task's container: secrets and configs, (path in it, name of the file in agent/dependency_files.py)


class ExecConfig(Kept, frozen=True, kw_only=True):
    container_id: str
    cmd: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = True
    attach_stderr: bool = True
    privileged: bool = False
    detach_keys: str = ""


class ExecRecord(Kept, frozen=True, kw_only=True):
    id: str  # 64 hex digits
    config: ExecConfig
    running: bool = False
    pid: int = 0
    exit_code: int | None = None


class LocalNetwork(Kept, frozen=True, kw_only=True):
    """A network of this node alone: bridge, host, none, docker_gwbridge, one a user made with the bridge driver, or this node's own of a swarm-scoped one."""

    id: str  # 64 hex digits; the cluster's where it is swarm-scoped
    name: str
    driver: str  # bridge, host, null
    created_at_ns: int
    subnet: str = ""
    gateway: str = ""
    interface: str = ""  # docker0, docker_gwbridge, br-<first 12 of id>
    internal: bool = False
    attachable: bool = False
    labels: Pairs = ()
    options: Pairs = ()
    ipv6: bool = False
    subnet6: str = ""
    gateway6: str = ""
    ipam: tuple[IpamConfig, ...] = ()  # as the user asked for it
    ipam_options: Pairs = ()
    config_only: bool = False
    config_from: str = ""
    swarm: bool = False  # made for one of the cluster's that each node makes for itself
