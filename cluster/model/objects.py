"""What the cluster knows: the objects of the managers' store, as they are replicated and sent to agents.

All times are Unix nanoseconds, UTC; 0 means never. All addresses of attachments are in CIDR form ("10.0.1.8/24").
"""

from __future__ import annotations

import enum

from cluster.model.ids import ClusterId, ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId
from cluster.model.specs import (
    ClusterSpec,
    DependencySpec,
    GenericResource,
    NetworkSpec,
    NodeSpec,
    Pairs,
    Platform,
    PortConfig,
    Resources,
    Role,
    ServiceSpec,
    TaskSpec,
    Value,
)
from cluster.model.task_state import TaskState


class Meta(Value, frozen=True):
    version: int = 0  # index of the log entry that last changed the object
    created_at_ns: int = 0
    updated_at_ns: int = 0
    created: int = 0  # index of the log entry that made the object: which of two is older, whatever the leaders' clocks said; 0 before it is in the store


class NodeState(enum.StrEnum):
    UNKNOWN = "unknown"
    DOWN = "down"
    READY = "ready"
    DISCONNECTED = "disconnected"


class NodeDescription(Value, frozen=True):
    """What an agent says of its machine when it opens its session."""

    hostname: str = ""
    platform: Platform = Platform()
    resources: Resources = Resources()
    engine_version: str = ""
    engine_labels: Pairs = ()
    plugins: Pairs = ()  # (type, name)
    routes: tuple[str, ...] = ()  # where its own routes lead (CIDR), without the default one: no overlay is put there by itself
    encrypts: bool = True  # whether its kernel can encrypt overlays between nodes


class NodeStatus(Value, frozen=True):
    state: NodeState = NodeState.UNKNOWN
    message: str = ""
    address: str = ""  # the address that its traffic comes from: VTEP of its overlays


class ManagerStatus(Value, frozen=True):
    raft_id: int = 0
    address: str = ""  # host:port
    leader: bool = False
    reachable: bool = True


class NodeAttachment(Value, frozen=True):
    """The load-balancer address of a node on an overlay (SwarmKit's Node.Attachments); on ingress it is ingress_sbox's own."""

    network_id: NetworkId
    address: str


class ContainerAttachment(Value, frozen=True):
    """A container that a user runs on a node, on an attachable overlay: what SwarmKit keeps as a task of the kind NetworkAttachment."""

    id: TaskId
    network_id: NetworkId
    container_id: str
    asked: str = ""  # the address that its user wants, plain
    names: tuple[str, ...] = ()  # what it answers to there
    address: str = ""  # CIDR; empty until it is given
    refused: str = ""  # why none could be given


class NodeTls(Value, frozen=True):
    """What a node uses, as it has said since a rotation of the root began."""

    issuer: str  # id of the key that signed its certificate (certificates.key_id)
    root: str  # digest of what it trusts, hex


class Node(Value, frozen=True):
    id: NodeId
    spec: NodeSpec
    meta: Meta = Meta()
    description: NodeDescription = NodeDescription()
    status: NodeStatus = NodeStatus()
    manager: ManagerStatus | None = None
    role: Role = Role.WORKER
    certificate_pem: str = ""
    attachments: tuple[NodeAttachment, ...] = ()
    containers: tuple[ContainerAttachment, ...] = ()
    tls: NodeTls | None = None  # None: as the cluster has it


class VirtualIp(Value, frozen=True):
    network_id: NetworkId
    address: str = ""  # CIDR; empty in dnsrr mode
    mark: int = 0  # firewall mark of the service on this network, from 256, unique per network


class Endpoint(Value, frozen=True):
    """A service's endpoint as allocated. `ports` have their published numbers filled in."""

    ports: tuple[PortConfig, ...] = ()
    virtual_ips: tuple[VirtualIp, ...] = ()


class UpdateState(enum.StrEnum):
    UPDATING = "updating"
    PAUSED = "paused"
    COMPLETED = "completed"
    ROLLBACK_STARTED = "rollback_started"
    ROLLBACK_PAUSED = "rollback_paused"
    ROLLBACK_COMPLETED = "rollback_completed"


class UpdateStatus(Value, frozen=True):
    state: UpdateState
    started_at_ns: int = 0
    completed_at_ns: int = 0
    message: str = ""

    @property
    def is_under_way(self) -> bool:
        """Whether an update or a rollback is going on."""
        return self.state in _UNDER_WAY


_UNDER_WAY = frozenset({UpdateState.UPDATING, UpdateState.ROLLBACK_STARTED})


class Service(Value, frozen=True):
    id: ServiceId
    spec: ServiceSpec
    meta: Meta = Meta()
    spec_version: int = 0  # index of the log entry that last changed the spec
    previous_spec: ServiceSpec | None = None
    endpoint: Endpoint | None = None
    update_status: UpdateStatus | None = None
    job_iteration: int = 0  # of a job: how often it was begun; 0 for what is none, and before the first run of a scheduled one
    pending_delete: bool = False
    job_begun_at_ns: int = 0  # when the job's present iteration was begun (of a scheduled one before its first run: when it was created)


class TaskStatus(Value, frozen=True):
    state: TaskState = TaskState.NEW
    timestamp_ns: int = 0
    message: str = ""
    err: str = ""
    container_id: str = ""
    pid: int = 0
    exit_code: int = 0
    host_ports: tuple[PortConfig, ...] = ()


class TaskNetwork(Value, frozen=True):
    network_id: NetworkId
    address: str  # CIDR
    aliases: tuple[str, ...] = ()


class Task(Value, frozen=True):
    id: TaskId
    service_id: ServiceId
    spec: TaskSpec
    meta: Meta = Meta()
    service_name: str = ""
    spec_version: int = 0  # Service.spec_version that it was made from
    slot: int = 0  # 0 for global services
    node_id: NodeId = NodeId("")  # empty: not assigned
    status: TaskStatus = TaskStatus()
    desired_state: TaskState = TaskState.READY
    networks: tuple[TaskNetwork, ...] = ()
    endpoint: Endpoint | None = None
    history: tuple[TaskStatus, ...] = ()  # earlier statuses, oldest first, at most TASK_HISTORY_STATUSES
    cause: str = ""  # why the planner made it, in words ("service created", "replaces test.1 id: container exited with 1")
    stop_cause: str = ""  # why its desired state was lowered ("scaled down", "node drained", ...)
    job_iteration: int = 0  # Service.job_iteration that it belongs to; 0: not a job's
    service_labels: Pairs = ()
    released_at_ns: int = 0  # a replacement with desired READY is released (-> RUNNING) at this time
    generic: tuple[GenericResource, ...] = ()  # of its node's, what it was given


TASK_HISTORY_STATUSES = 16


class NetworkSubnet(Value, frozen=True):
    """An IPv4 subnet that a network was given."""

    subnet: str  # CIDR
    gateway: str  # plain address


class Network(Value, frozen=True):
    id: NetworkId
    spec: NetworkSpec
    meta: Meta = Meta()
    vni: int = 0
    subnet: str = ""  # allocated, CIDR
    gateway: str = ""  # allocated, plain address
    subnet6: str = ""  # allocated, CIDR; empty where it has no IPv6. Addresses there: cluster/model/twins.py
    gateway6: str = ""  # allocated, plain address
    further: tuple[NetworkSubnet, ...] = ()  # allocated beside the first: who gets an address when the ones before have none left

    @property
    def subnets(self) -> tuple[str, ...]:
        """All that are allocated, IPv4's first."""
        return tuple(s for s in (self.subnet, *(one.subnet for one in self.further), self.subnet6) if s)


class Secret(Value, frozen=True):
    """Its data reaches the nodes whose tasks use it, and nobody else."""

    id: SecretId
    spec: DependencySpec
    meta: Meta = Meta()


class Config(Value, frozen=True):
    """As a secret, but for all to read."""

    id: ConfigId
    spec: DependencySpec
    meta: Meta = Meta()


class NetworkKey(Value, frozen=True):
    """One key of the ring that encrypts overlays between nodes."""

    tag: int
    secret: bytes
    created_at_ns: int = 0


class JoinTokens(Value, frozen=True):
    worker: str = ""
    manager: str = ""


class RootRotation(Value, frozen=True):
    """The root that is to come: certificates are signed by it already, and lead to the present one by `cross_signed_pem`."""

    root_ca_pem: str
    root_key_pem: str
    cross_signed_pem: str
    issuer: str  # id of its key


class Cluster(Value, frozen=True):
    id: ClusterId
    spec: ClusterSpec = ClusterSpec()
    meta: Meta = Meta()
    root_ca_pem: str = ""
    root_key_pem: str = ""
    join_tokens: JoinTokens = JoinTokens()
    unlock_key: str = ""
    default_address_pool: tuple[str, ...] = ("10.0.0.0/8",)
    subnet_size: int = 24
    data_path_port: int = 4789
    network_keys: tuple[NetworkKey, ...] = ()  # newest first
    rotation: RootRotation | None = None


def shown_slot(task: Task) -> int:
    """The slot's number as Docker's clients expect it: those of a job begin with 0, which they show as the node's id."""
    return task.slot - 1 if task.job_iteration and task.slot else task.slot


def task_name(task: Task) -> str:
    """`test.1` for a replicated task, `test.<node id>` for a global one: Docker's display name."""
    return f"{task.service_name}.{shown_slot(task) or task.node_id}"


def container_name(task: Task) -> str:
    """`test.1.<task id>`: the name of the task's container."""
    return f"{task_name(task)}.{task.id}"
