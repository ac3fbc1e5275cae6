"""What the managers tell one agent: its tasks, the secrets and configs that those use, and the tables of each network that it takes part in, as one
ordered stream.

The first message of a session is complete, or it is empty (`applies_to` = `results_in` = the version that the agent said it has): then what the agent
missed follows. Each further one is a delta with `applies_to` = the version before and `results_in` = the one after. An agent that sees a gap closes
the session and opens it again, without a version. A node takes part in a network when a task of its own that is not finished is attached
to it; every node takes part in the ingress network as soon as that exists.
"""

from __future__ import annotations

import msgspec

from cluster.model.ids import NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import Config, Network, NetworkKey, NodeTls, Secret, Task
from cluster.model.specs import PortConfig


class _Item(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=True):
    """Base of the stream's items; the tag is the class's name."""


class TaskItem(_Item, frozen=True):
    task: Task

    @property
    def key(self) -> str:
        return f"task/{self.task.id}"


class SecretItem(_Item, frozen=True):
    """One that a task of this node uses. In a delta it comes no later than the task, in a complete set after it."""

    secret: Secret

    @property
    def key(self) -> str:
        return f"secret/{self.secret.id}"


class ConfigItem(_Item, frozen=True):
    """As a secret."""

    config: Config

    @property
    def key(self) -> str:
        return f"config/{self.config.id}"


class NetworkItem(_Item, frozen=True):
    """A network that this node takes part in, and the node's own load-balancer address there (CIDR)."""

    network: Network
    lb_address: str

    @property
    def key(self) -> str:
        return f"network/{self.network.id}"


class EndpointItem(_Item, frozen=True):
    """One address on a network: of a task that may run, or of a node's load balancer (task_id empty). `node_address` is the VTEP that it lives behind."""

    network_id: NetworkId
    address: str  # CIDR
    node_id: NodeId
    node_address: str
    task_id: TaskId = TaskId("")
    names: tuple[str, ...] = ()  # of the task while it is live: its container's name, the container's short id, its hostname

    @property
    def key(self) -> str:
        return f"endpoint/{self.network_id}/{self.address}"


class Backend(msgspec.Struct, array_like=True, frozen=True, gc=False):
    address: str  # plain
    weight: int = 1  # 0: draining
    task_id: TaskId = TaskId("")


class PortSettings(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """`affinity`: a client's connections go to one task. `masquerade`: tasks see the ingress node instead of the client."""

    affinity: bool = False
    masquerade: bool = False


class BalancerItem(_Item, frozen=True):
    """One service on one network: its virtual address, firewall mark and live tasks. On ingress also its published ports, and in the same order
    what the service's labels say of them."""

    network_id: NetworkId
    service_id: ServiceId
    service_name: str
    virtual_ip: str  # plain address; empty for dnsrr
    mark: int
    ports: tuple[PortConfig, ...] = ()
    backends: tuple[Backend, ...] = ()
    aliases: tuple[str, ...] = ()
    declared: tuple[PortConfig, ...] = ()  # all ports of the service, on every network: SRV records speak of them
    settings: tuple[PortSettings, ...] = ()

    @property
    def key(self) -> str:
        return f"balancer/{self.network_id}/{self.service_id}"


Item = TaskItem | NetworkItem | EndpointItem | BalancerItem | SecretItem | ConfigItem


class Assignments(msgspec.Struct, array_like=True, frozen=True, tag=True):
    complete: bool
    applies_to: int
    results_in: int
    upserts: tuple[Item, ...] = ()
    removals: tuple[str, ...] = ()  # keys

    @property
    def begins(self) -> bool:
        """Whether this is the first of a session."""
        return self.complete or self.applies_to == self.results_in


class SessionState(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """Sent first in a session and when it changes: where managers are, what the node's own object says."""

    node_id: NodeId
    managers: tuple[str, ...]  # host:port, leader first
    heartbeat_ns: int
    role: str = "worker"
    availability: str = "active"
    root_ca_pem: str = ""
    data_path_port: int = 0  # of the cluster's overlays; 0: the usual one
    network_keys: tuple[NetworkKey, ...] = ()
    issuer: str = ""  # while the root is being rotated: the key that has to have signed the node's certificate
    tls: NodeTls | None = None  # what the managers know of what the node uses
    stream: str = ""  # whose versions the session's are: to be named, with the last version, when the next session is opened


SessionMessage = SessionState | Assignments
