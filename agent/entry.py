"""How a node enters a swarm: what people say of it, and which addresses follow from that. Owns the options and the decision; enters nothing.

Sentences and defaults are Docker's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent import addresses
from agent.assigned_networks import VXLAN_PORT
from agent.membership_files import Identity
from cluster.identity import tokens
from cluster.model.errors import InvalidArgument
from cluster.model.specs import ClusterSpec, Pairs

SUBNET_SIZE_MAX: Final = 29  # bits; a smaller network has room for nobody
DATA_PATH_PORT_MIN: Final = 1024
DATA_PATH_PORT_MAX: Final = 49151


@dataclass(frozen=True, slots=True)
class InitOptions:
    listen_address: str = "0.0.0.0:2377"  # noqa: S104  Docker's default
    advertise_address: str = ""
    data_path_address: str = ""
    force_new_cluster: bool = False
    spec: ClusterSpec = field(default_factory=ClusterSpec)
    availability: str = "active"
    default_address_pool: tuple[str, ...] = ()
    subnet_size: int = 0
    data_path_port: int = 0
    restore: Path | None = None  # a saved snapshot that the cluster is made anew from, and the key that opens it
    restore_key: str = ""

    def check_numbers(self) -> None:
        """Raises InvalidArgument."""
        if self.subnet_size > SUBNET_SIZE_MAX:
            raise InvalidArgument(f"subnet size is out of range: {self.subnet_size}")
        if not DATA_PATH_PORT_MIN <= (self.data_path_port or VXLAN_PORT) <= DATA_PATH_PORT_MAX:
            raise InvalidArgument(f"Datapath port number is not in valid range ({DATA_PATH_PORT_MIN}-{DATA_PATH_PORT_MAX}) : {self.data_path_port}")


@dataclass(frozen=True, slots=True)
class JoinOptions:
    token: str
    remote_addresses: tuple[str, ...]
    listen_address: str = "0.0.0.0:2377"  # noqa: S104
    advertise_address: str = ""
    data_path_address: str = ""
    availability: str = "active"
    labels: Pairs = ()  # that the cluster's node begins with


def as_first(options: InitOptions, kept_address: str, bridges: Collection[str]) -> Identity:
    """Who the node is as the first manager of a cluster, before that has given it an id. `kept_address`: what it advertised so far, empty where it
    did not; `bridges`: interfaces that are for containers. Raises InvalidArgument.
    """
    own = addresses.interfaces()
    listen_port = addresses.split_port(options.listen_address)[1] or addresses.DEFAULT_PORT
    listen_host = addresses.choose(options.listen_address, own, "listen")[0] if not addresses.is_any(options.listen_address) else "0.0.0.0"  # noqa: S104
    host, port = addresses.choose(options.advertise_address or kept_address, own, bridges=bridges)
    data_path = addresses.choose(options.data_path_address, own, "data path")[0] if options.data_path_address else host
    options.check_numbers()
    advertise = f"{host}:{port or listen_port}"
    return Identity(
        node_id="", cluster_id="", role="manager", managers=(advertise,), advertise_address=host, manager_address=advertise,
        listen_address=f"{listen_host}:{listen_port}", data_path_address=data_path, data_path_port=options.data_path_port or VXLAN_PORT,
    )  # fmt: skip


def as_joining(options: JoinOptions, bridges: Collection[str]) -> Identity:
    """Who a node that joins is, before the managers have given it an id and a role; they are reached at its `managers`. Raises InvalidArgument."""
    own = addresses.interfaces()
    remotes = tuple(addresses.remote(text) for text in options.remote_addresses)
    if not remotes:
        raise InvalidArgument("at least 1 RemoteAddr is required to join")
    if not addresses.is_any(options.listen_address):
        addresses.choose(options.listen_address, own, "listen")
    data_path = addresses.choose(options.data_path_address, own, "data path")[0] if options.data_path_address else ""
    tokens.parse(options.token)
    one = options.advertise_address or len(addresses.usable(own, bridges)) == 1
    host, port = addresses.choose(options.advertise_address, own, bridges=bridges) if one else (addresses.toward(remotes[0]), 0)
    port = port or addresses.split_port(options.listen_address)[1] or addresses.DEFAULT_PORT
    return Identity(
        node_id="", cluster_id="", role="", managers=remotes, advertise_address=host, manager_address=f"{host}:{port}",
        listen_address=options.listen_address, data_path_address=data_path or host,
    )  # fmt: skip
