"""What a user asks of a new network of this node, judged: address pools and the bridge driver's options. Pure.

Sources: moby's libnetwork (network.go, drivers/bridge, ipam) for the rules and the sentences.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from agent.records import LocalNetwork
from cluster.model.errors import Conflict, Internal, InvalidArgument, NotFound, PermissionDenied
from cluster.model.specs import IpamConfig, NetworkSpec

BRIDGE_NAME: Final = "com.docker.network.bridge.name"
ICC: Final = "com.docker.network.bridge.enable_icc"
MASQUERADE: Final = "com.docker.network.bridge.enable_ip_masquerade"
HOST_BINDING: Final = "com.docker.network.bridge.host_binding_ipv4"
SOURCES: Final = ("com.docker.network.host_ipv4", "com.docker.network.host_ipv6")
"""The node's address that others see of a network's containers, in place of the one of the interface by which a packet leaves."""
MTU: Final = "com.docker.network.driver.mtu"
INHIBIT: Final = "com.docker.network.bridge.inhibit_ipv4"
GATEWAY_MODES: Final = ("com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6")
DEFAULT_POOLS: Final = tuple(f"172.{n}.0.0/16" for n in range(17, 32)) + tuple(f"192.168.{n}.0/20" for n in range(0, 256, 16))
NO_POOL: Final = "could not find an available, non-overlapping IPv{} address pool among the defaults to assign to the network"
OVERLAP: Final = "Pool overlaps with other one on this address space"
ONE_INSTANCE: Final = 'only one instance of "{}" network is allowed'
LINK_NAME_BYTES: Final = 15
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})

Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network
Host = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Subnets:
    """CIDR and plain gateway of each family; empty where there is none."""

    subnet: str = ""
    gateway: str = ""
    subnet6: str = ""
    gateway6: str = ""


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """The bridge driver's options with their defaults."""

    name: str = ""
    icc: bool = True
    masquerade: bool = True
    host_address: str = ""  # where ports are published that name no address
    mtu: int = 0
    addressed: bool = True  # whether the bridge has the gateway's address itself
    addressed6: bool = True
    sources: tuple[str, str] = ("", "")  # as in netfabric.view.Bridge


def options_of(options: Iterable[tuple[str, str]]) -> BridgeOptions:
    """Raises InvalidArgument for a value that can't be read; options that nobody knows are kept and mean nothing."""
    found = dict(options)
    address = found.get(HOST_BINDING, "")
    if address:
        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            raise InvalidArgument(f"failed to parse {HOST_BINDING} value: {address} (nil ip)") from None
    sources = found.get(SOURCES[0], ""), found.get(SOURCES[1], "")
    for key, kind, source in zip(SOURCES, (ipaddress.IPv4Address, ipaddress.IPv6Address), sources, strict=True):
        try:
            kind(source or kind(0))
        except ValueError:
            raise InvalidArgument(f"failed to parse {key} value: {source} (nil ip)") from None
    name = found.get(BRIDGE_NAME, "")
    if len(name.encode()) > LINK_NAME_BYTES:
        raise Internal("failed to check bridge interface existence: numerical result out of range")
    if "/" in name or name in {".", ".."} or any(c.isspace() for c in name):
        raise InvalidArgument(f"invalid bridge name {name!r}: a name of at most {LINK_NAME_BYTES} bytes without spaces and slashes")
    isolated, isolated6 = (_isolated(found.get(key, "")) for key in GATEWAY_MODES)
    return BridgeOptions(name, _flag(found, ICC), _flag(found, MASQUERADE), "" if address == "0.0.0.0" else address, _mtu(found),  # noqa: S104
                         not _flag(found, INHIBIT, "false") and not isolated, not isolated6, sources)  # fmt: skip


def _flag(options: dict[str, str], key: str, otherwise: str = "true") -> bool:
    text = options.get(key, otherwise)
    if text not in _TRUE | _FALSE:
        raise InvalidArgument(f'failed to parse {key} value: {text} (strconv.ParseBool: parsing "{text}": invalid syntax)')
    return text in _TRUE


def _isolated(mode: str) -> bool:
    """A gateway mode: whether the bridge is no address of its network's."""
    if mode not in ("", "nat", "isolated", "routed", "nat-unprotected"):
        raise InvalidArgument(f"unknown gateway mode {mode}")
    if mode in ("routed", "nat-unprotected"):
        raise InvalidArgument(f"gateway mode {mode} is not served: it is nat or isolated")
    return mode == "isolated"


def _mtu(options: dict[str, str]) -> int:
    text = options.get(MTU, "0")
    if text.startswith("-") and text[1:].isdecimal():
        raise InvalidArgument(f"invalid MTU number: {text}")
    if not text.isascii() or not text.isdigit() or len(text) > 5:
        raise InvalidArgument(f'failed to parse {MTU} value: {text} (strconv.Atoi: parsing "{text}": invalid syntax)')
    return int(text)


def subnet_of(text: str) -> Subnet:
    """Raises InvalidArgument in Docker's words for what is no subnet."""
    try:
        if "/" not in text:
            raise ValueError
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidArgument(f"Invalid subnet {text} : invalid CIDR address: {text}") from None


def config_of(networks: Iterable[LocalNetwork], name: str) -> LocalNetwork:
    """The configuration-only network of that name. Raises NotFound."""
    for network in networks:
        if network.name == name and network.config_only:
            return network
    raise NotFound(f'configuration network "{name}" does not exist')


def check_internal(spec: NetworkSpec) -> None:
    """Raises InvalidArgument in Docker's words for a mode that has no sense where containers are to reach the outside."""
    if not spec.internal and any(value == "isolated" for key, value in spec.driver_opts if key in GATEWAY_MODES):
        raise InvalidArgument("gateway mode 'isolated' can only be used for an internal network")


def choose(spec: NetworkSpec, networks: Iterable[LocalNetwork], routes: Iterable[str], first: int = 0, pool6: str = "") -> Subnets:
    """The subnets and gateways of a new bridge network. `routes`: destinations (CIDR) of the node's routes, which no default pool may hide; `first`: where
    among the default pools the search begins (Docker's goes on from the last that it has given); `pool6`: what IPv6's default subnets are taken from
    (CIDR); empty: there are none.

    Raises InvalidArgument, PermissionDenied (a subnet that overlaps) or Conflict (no default pool is left) in Docker's words.
    """
    used = [ipaddress.ip_network(s, strict=False) for n in networks for s in (n.subnet, n.subnet6) if s]
    by_family = {4: [c for c in spec.ipam if ":" not in c.subnet], 6: [c for c in spec.ipam if ":" in c.subnet]}
    for configs in by_family.values():
        for config in configs:
            if config.subnet:
                subnet_of(config.subnet)
        if len(configs) > 1:
            raise PermissionDenied("bridge driver doesn't support multiple subnets")
    own, own6 = (next(iter(by_family[family]), None) for family in (4, 6))
    if spec.ipv6 and (own6 is None or not own6.subnet) and not pool6:
        raise Conflict(NO_POOL.format(6))
    subnet = _asked(own, used) if own is not None and own.subnet else _free(used, routes, first)
    subnet6 = (_asked(own6, used) if own6 is not None and own6.subnet else _free6(used, pool6)) if spec.ipv6 else None
    return Subnets(str(subnet), _gateway(own, subnet), str(subnet6) if subnet6 else "", _gateway(own6, subnet6) if subnet6 else "")


def _asked(config: IpamConfig, used: list[Subnet]) -> Subnet:
    subnet = subnet_of(config.subnet)
    if not subnet.prefixlen or any(subnet.version == u.version and subnet.overlaps(u) for u in used):
        raise PermissionDenied(OVERLAP)
    if config.ip_range and not _inside(part := subnet_of(config.ip_range), subnet) and not _inside(subnet, part):
        raise InvalidArgument(f"invalid ip-range {config.ip_range}: it is not within subnet {subnet}")
    return subnet


def _inside(part: Subnet, whole: Subnet) -> bool:
    return part.version == whole.version and part.network_address in whole and part.broadcast_address in whole


def _free(used: list[Subnet], routes: Iterable[str], first: int) -> Subnet:
    taken = [u for u in (*used, *map(ipaddress.ip_network, routes)) if u.version == 4]
    for candidate in map(ipaddress.ip_network, (*DEFAULT_POOLS[first:], *DEFAULT_POOLS[:first])):
        if not any(candidate.overlaps(u) for u in taken):
            return candidate
    raise Conflict(NO_POOL.format(4))


def _free6(used: list[Subnet], pool: str) -> Subnet:
    taken = {u for u in used if u.version == 6}
    for candidate in ipaddress.IPv6Network(pool).subnets(new_prefix=64):
        if not any(candidate.overlaps(u) for u in taken):
            return candidate
    raise Conflict(NO_POOL.format(6))


def _gateway_address(text: str) -> Host:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise InvalidArgument(f"invalid gateway address {text} in Ipam configuration") from None


def _gateway(config: IpamConfig | None, subnet: Subnet) -> str:
    """The gateway asked for, else the first address: of the range where there is one. It is given before those that the user keeps."""
    try:
        gateway = _asked_gateway(config, subnet) if config is not None and config.gateway else _first(config, subnet)
        given = {gateway}
        for name, address in config.reserved if config is not None else ():
            kept = ipaddress.ip_address(address)
            if kept not in subnet:
                raise PermissionDenied(f"auxiliary address: ({name}:{address}) must belong to the master pool: {subnet}")
            if kept in given:
                raise PermissionDenied(f"failed to allocate secondary ip address ({name}:{address}): Address already in use")
            given.add(kept)
    except ValueError as error:
        raise InvalidArgument(f"invalid address: {error}") from None
    return str(gateway)


def _asked_gateway(config: IpamConfig, subnet: Subnet) -> Host:
    gateway = _gateway_address(config.gateway)
    if gateway not in subnet:
        raise InvalidArgument(f"no matching subnet for gateway {config.gateway}")
    if subnet.version == 4 and gateway in (subnet.network_address, subnet.broadcast_address):
        raise PermissionDenied(f"failed to allocate gateway ({config.gateway}): Address already in use")
    return gateway


def _first(config: IpamConfig | None, subnet: Subnet) -> Host:
    part = subnet_of(config.ip_range) if config is not None and config.ip_range else subnet
    number = max(int(subnet.network_address) + 1, int(part.network_address))
    if number >= min(int(subnet.broadcast_address), int(part.broadcast_address) + 1):
        raise Internal("failed to allocate gateway (): No available addresses on this pool")
    return ipaddress.IPv4Address(number) if subnet.version == 4 else ipaddress.IPv6Address(number)
