"""What a manager process is started with: its command line, and for a new cluster the options on standard input.

Owns their shapes and whether they can be; reads no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

import msgspec

from cluster.model.errors import InvalidArgument
from cluster.model.specs import Availability, ClusterSpec
from cluster.wire import versions
from cluster.wire.peer import split_address
from manager.control import validate

OPTIONS_BYTES: Final = 1024 * 1024
SMALLEST_SUBNET_BITS: Final = 29
DEFAULT_SUBNET_BITS: Final = 24  # as Cluster.subnet_size
PORT_MINIMUM: Final = 1024
PORT_MAXIMUM: Final = 49151


class BootstrapOptions(msgspec.Struct, frozen=True, kw_only=True):
    """JSON on standard input; what is left out, 0 or empty means the default. `cluster_spec` is an array, as encoded."""

    hostname: str = ""
    routes: tuple[str, ...] = ()
    cluster_spec: ClusterSpec | None = None
    availability: Availability = Availability.ACTIVE
    default_address_pool: tuple[str, ...] = ()
    subnet_size: int = 0
    data_path_port: int = 0
    force_new_cluster: bool = False
    unlock_key: str = ""  # the swarm's, where its present state is locked
    restore: str = ""  # the path of a saved snapshot that the cluster is made anew from, and the key that opens it
    restore_key: str = ""

    @property
    def restores(self) -> bool:
        return bool(self.restore)


@dataclass(frozen=True, slots=True)
class Options:
    """The command line. `listen` and `advertise` are host:port; `bootstrap` is None when the state exists already;
    `unlocking` is the swarm's unlock key, where one was given; `speak`: the version of the protocol (cluster/wire/versions.py)."""

    state: Path
    identity: Path
    listen: str
    advertise: str
    ready_fd: int
    bootstrap: BootstrapOptions | None = None
    unlocking: bytes | None = None
    speak: int = versions.VERSION


def check(options: Options) -> Options:
    """The options, if they can be. Raises InvalidArgument."""
    split_address(options.listen)
    host, _ = split_address(options.advertise)
    try:
        unspecified = ip_address(host).is_unspecified
    except ValueError as error:
        raise InvalidArgument(f"invalid advertise address {options.advertise}: an IP address is needed") from error
    if unspecified:
        raise InvalidArgument("advertise address must be a non-zero IP address")
    if options.bootstrap is not None:
        _check_bootstrap(options.bootstrap)
    return options


def decode_bootstrap(data: bytes) -> BootstrapOptions:
    """The options in JSON text. Raises InvalidArgument."""
    if len(data) > OPTIONS_BYTES:
        raise InvalidArgument(f"bootstrap options of more than {OPTIONS_BYTES} bytes")
    try:
        return msgspec.json.decode(data, type=BootstrapOptions)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"invalid bootstrap options: {error}") from error


def _check_bootstrap(options: BootstrapOptions) -> None:
    if options.cluster_spec is not None:
        try:
            validate.cluster_spec(options.cluster_spec)
        except InvalidArgument as error:
            raise InvalidArgument(f"error updating cluster settings: {error.message}") from error
    if options.data_path_port and not PORT_MINIMUM <= options.data_path_port <= PORT_MAXIMUM:
        raise InvalidArgument(f"invalid dataPathPort value: Datapath port {options.data_path_port} is not in the range of {PORT_MINIMUM} to {PORT_MAXIMUM}")
    for pool in options.default_address_pool:
        try:
            network = ip_network(pool)
        except ValueError as error:
            raise InvalidArgument(f"invalid CIDR address: {pool}") from error
        size = options.subnet_size or DEFAULT_SUBNET_BITS
        if not network.prefixlen <= size <= SMALLEST_SUBNET_BITS:
            raise InvalidArgument(f'invalid CIDR: "{pool}". Subnet size is too small for pool: {size}')
