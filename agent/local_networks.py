"""The networks of this node alone: bridge, host, none, docker_gwbridge and those that a user made. Owns their file and their addresses.

Addresses are leased from a pool per bridge and family, in memory: who runs is known from the containers' records, which hold their leases.
What a user may ask for is judged in agent/network_requests.py.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from agent import network_requests
from agent.network_requests import DEFAULT_POOLS, HOST_BINDING, ICC, MASQUERADE, MTU, Subnets, options_of
from agent.records import LocalNetwork
from cluster.durable import write_atomically
from cluster.model.errors import Conflict, InvalidArgument, NotFound, PermissionDenied
from cluster.model.objects import Network
from cluster.model.specs import IpamConfig, NetworkSpec, Pairs
from netfabric import ipam
from netfabric.view import Bridge

GATEWAY_BRIDGE: Final = "docker_gwbridge"
DEFAULT_BRIDGE: Final = "bridge"
PREDEFINED: Final = ("bridge", "host", "none")
INGRESS_SANDBOX_HOST: Final = 2  # ingress_sbox is always the second address of docker_gwbridge: 172.18.0.2
BRIDGE_NAME: Final = "com.docker.network.bridge.name"
SHORT_ID_LENGTH: Final = 12  # of an id as lists show it
ID_LENGTH: Final = 64  # hex digits of the id of a network of this node's own; the cluster's are shorter
TAKEN: Final = "the interface {} is there already and is not Festoon's: remove it, or choose other names with festoond's --bridge and --gateway-bridge"
_DEFAULT_OPTIONS: Final = (
    ("com.docker.network.bridge.default_bridge", "true"), (ICC, "true"), (MASQUERADE, "true"), (HOST_BINDING, "0.0.0.0"),  # noqa: S104
    (MTU, "1500"),
)  # fmt: skip
replace = msgspec.structs.replace


class BridgeNames(NamedTuple):
    """Of the interfaces that are as Docker's own: another program on the node may have them."""

    default: str = "docker0"
    gateway: str = "docker_gwbridge"


DOCKERS_NAMES: Final = BridgeNames()


class LocalNetworks:
    """State: the networks by id, and an address pool per bridge and family."""

    def __init__(self, path: Path, now_ns: int, interfaces: BridgeNames = DOCKERS_NAMES, there: Iterable[str] = (), routes: Iterable[str] = ()) -> None:
        """`there`, `routes`: the node's interfaces and the destinations (CIDR) of its routes. Raises Conflict when an interface that is to be made new is
        there already: it is another program's."""
        self._path, self._interfaces = path, interfaces
        self._networks: dict[str, LocalNetwork] = {}
        self._pools: dict[tuple[str, int], ipam.Pool] = {}
        self._next_default = 0  # of the default pools, the one after the last that was taken
        if path.exists():
            for network in msgspec.json.decode(path.read_bytes(), type=tuple[LocalNetwork, ...]):
                self._networks[network.id] = network
        taken = frozenset(there)
        before = {n.name: n.interface for n in self._networks.values()}
        for name, interface in ((DEFAULT_BRIDGE, interfaces.default), (GATEWAY_BRIDGE, interfaces.gateway)):
            if before.get(name) != interface and (name in before or DEFAULT_BRIDGE not in before) and interface in taken:
                raise Conflict(TAKEN.format(interface))
        known = set(before)
        if DEFAULT_BRIDGE not in known:
            subnets = self._choose(NetworkSpec(DEFAULT_BRIDGE), routes)
            options = (*_DEFAULT_OPTIONS, (BRIDGE_NAME, interfaces.default))
            self._add(_made(DEFAULT_BRIDGE, "bridge", now_ns, subnets, interface=interfaces.default, options=options))
        for name, interface in ((DEFAULT_BRIDGE, interfaces.default), (GATEWAY_BRIDGE, interfaces.gateway)):
            self._rename(name, interface)
        for name, driver in (("host", "host"), ("none", "null")):
            if name not in known:
                self._add(_made(name, driver, now_ns, Subnets()))
        self._save()

    def bridges(self) -> frozenset[str]:
        """The interfaces of all of them."""
        return frozenset(network.interface for network in self._networks.values() if network.interface)

    def _rename(self, name: str, interface: str) -> None:
        """The bridge of that network as festoond is configured now."""
        for network in tuple(self._networks.values()):
            if network.name == name and network.interface != interface:
                options = tuple((k, interface if k == BRIDGE_NAME else v) for k, v in network.options)
                self._networks[network.id] = replace(network, interface=interface, options=options)

    def all(self) -> tuple[LocalNetwork, ...]:
        return tuple(self._networks.values())

    def gives(self, network_id: str) -> bool:
        """Whether addresses on that network are given here, not by the cluster."""
        return len(network_id) == ID_LENGTH or network_id in self._networks

    def get(self, network_id: str) -> LocalNetwork | None:
        return self._networks.get(network_id)

    def own(self, network_id: str) -> bool:
        """Whether that network is this node's alone, and none of a cluster's."""
        network = self._networks.get(network_id)
        return network is not None and not network.swarm

    def find(self, reference: str, *, whole: bool = False) -> LocalNetwork:
        """By full id, name, or unique id prefix; one of the cluster's by its id only. `whole`: not by a prefix that could be a name as well, since the
        cluster may have a network of that name. Raises NotFound, or InvalidArgument when the prefix is ambiguous."""
        if found := self._networks.get(reference):
            return found
        own = [n for n in self._networks.values() if not n.swarm]
        for network in own:
            if network.name == reference:
                return network
        matches = [n for n in own if reference and n.id.startswith(reference)] if not whole or len(reference) >= SHORT_ID_LENGTH else []
        if len(matches) > 1:
            raise InvalidArgument(f"network {reference} is ambiguous ({len(matches)} matches found based on ID prefix)")
        if not matches:
            raise NotFound(f"network {reference} not found")
        return matches[0]

    def create(self, spec: NetworkSpec, now_ns: int, routes: Iterable[str], *, config_only: bool = False, config_from: str = "",
               swarm_id: str = "", default6: bool = False) -> LocalNetwork:  # fmt: skip
        """A user's bridge network, or this node's own of the cluster's `swarm_id`. `routes`: destinations of the node's routes, which no default pool may hide;
        `default6`: IPv6 has a default pool, too.

        Raises Conflict for a taken name, PermissionDenied for a subnet or bridge that others have, InvalidArgument for what can't be.
        """
        if any(n.name == spec.name and not n.swarm for n in self._networks.values()):
            raise Conflict(f"network with name {spec.name} already exists")
        if config_from:
            taken = network_requests.config_of(self._networks.values(), config_from)
            spec = replace(spec, ipam=taken.ipam, ipv6=taken.ipv6, internal=taken.internal, attachable=taken.attachable, driver_opts=taken.options,
                           labels=(*taken.labels, *spec.labels))  # fmt: skip
        options = options_of(spec.driver_opts)
        network_requests.check_internal(spec)
        subnets = Subnets() if config_only else self._choose(spec, routes, default6=default6)
        driver, interface = ("null", "") if config_only else ("bridge", options.name)
        made = _made(spec.name, driver, now_ns, subnets, interface=interface, options=spec.driver_opts, network_id=swarm_id)
        for other in self._networks.values():
            if made.interface and made.interface == other.interface:
                this, that = f"{made.id} ({made.interface})", f"{other.id} ({other.interface})"
                raise PermissionDenied(f"cannot create network {this}: conflicts with network {that}: networks have same bridge name")
        made = replace(made, internal=spec.internal, attachable=spec.attachable, labels=spec.labels, ipv6=spec.ipv6, ipam=spec.ipam,
                       ipam_options=spec.ipam_options, config_only=config_only, config_from=config_from, swarm=bool(swarm_id))  # fmt: skip
        self._add(made)
        self._save()
        return made

    def ensure_of_swarm(self, network: Network, now_ns: int, routes: Iterable[str]) -> LocalNetwork:
        """This node's own of a swarm-scoped network that each node makes for itself. Raises as `create`, NotFound for a configuration that is not here."""
        if (there := self._networks.get(network.id)) is not None:
            return there
        spec = network.spec
        if spec.driver != "bridge":
            raise PermissionDenied(network_requests.ONE_INSTANCE.format(spec.driver))
        return self.create(spec, now_ns, routes, config_from=spec.config_from, swarm_id=network.id)

    def drop_of_swarm(self, used: Callable[[str], bool]) -> None:
        """Forget those made for the cluster's that no container is on any more: by their ids."""
        for network in self.all():
            if network.swarm and not used(network.id):
                self.remove(network.id)

    def check_removable(self, network_id: str) -> LocalNetwork:
        """The network. Raises PermissionDenied for a predefined one, or a configuration that others use."""
        network = self._networks[network_id]
        if network.name in PREDEFINED:
            raise PermissionDenied(f"{network.name} is a pre-defined network and cannot be removed")
        if network.config_only and any(n.config_from == network.name for n in self._networks.values()):
            raise PermissionDenied(f'error while removing network: configuration network "{network.name}" is in use')
        return network

    def remove(self, network_id: str) -> LocalNetwork:
        """Forget it. Raises as `check_removable`."""
        network = self.check_removable(network_id)
        del self._networks[network_id]
        for family in (4, 6):
            self._pools.pop((network_id, family), None)
        self._save()
        return network

    def ensure_gateway_bridge(self, now_ns: int, routes: Iterable[str]) -> LocalNetwork:
        """docker_gwbridge, made when the node enters its first swarm (172.18.0.0/16 where that is free)."""
        for network in self._networks.values():
            if network.name == GATEWAY_BRIDGE:
                return network
        options = ((ICC, "false"), (MASQUERADE, "true"), (BRIDGE_NAME, self._interfaces.gateway))
        subnets = self._choose(NetworkSpec(GATEWAY_BRIDGE), routes)
        network = _made(GATEWAY_BRIDGE, "bridge", now_ns, subnets, interface=self._interfaces.gateway, options=options)
        self._add(network)
        self._save()
        return network

    def check_gateway_bridge(self, there: Iterable[str]) -> None:
        """Before a node enters a swarm. Raises Conflict when another program has the interface's name."""
        if self.gateway_bridge() is None and self._interfaces.gateway in there:
            raise Conflict(TAKEN.format(self._interfaces.gateway))

    def gateway_bridge(self) -> LocalNetwork | None:
        return next((n for n in self._networks.values() if n.name == GATEWAY_BRIDGE), None)

    # -- addresses ------------------------------------------------------------------------------------------------

    def lease(self, network: LocalNetwork, address: str = "", family: int = 4) -> str:
        """A free address of the network in CIDR form; `address` (plain) asks for that one. Raises Conflict when there is none."""
        pool = self._pool(network, family)
        try:
            if address:
                pool, chosen = ipam.take(pool, address), address
            else:
                pool, chosen = ipam.allocate(pool)
        except ipam.PoolExhausted:
            raise Conflict(f"no available IPv{family} addresses on this network's address pools: {network.name} ({network.id})") from None
        except ipam.AddressTaken:
            raise PermissionDenied("Address already in use") from None
        except ipam.PoolError:
            if ipaddress.ip_address(address) in pool.subnet:  # the network's own or its broadcast address
                raise PermissionDenied("Address already in use") from None
            raise InvalidArgument(f"Invalid address {address}: It does not belong to any of this network's subnets") from None
        self._pools[network.id, family] = pool
        return pool.cidr(chosen)

    def release(self, network_id: str, address: str) -> None:
        """Give a leased address (CIDR) back; one that is not leased is ignored."""
        family = 6 if ":" in address else 4
        if address and (network := self._networks.get(network_id)):
            self._pools[network_id, family] = ipam.release(self._pool(network, family), address.partition("/")[0])

    def has_own_subnet(self, network: LocalNetwork, family: int) -> bool:
        """Whether its user chose the subnet: only there addresses may be asked for."""
        return any(c.subnet and (":" in c.subnet) == (family == 6) for c in network.ipam) and bool(network.subnet6 if family == 6 else network.subnet)

    def host_address(self, network_id: str) -> str:
        """Where ports of its containers are published that name no address; empty: everywhere."""
        return options_of(self._networks[network_id].options).host_address

    def bridge(self, network: LocalNetwork) -> Bridge:
        """What the fabric has to build for it."""
        options = options_of(network.options)
        gateway6 = _with_prefix(network.gateway6, network.subnet6)
        return Bridge(network.interface, network.subnet, _with_prefix(network.gateway, network.subnet), options.masquerade and not network.internal,
                      not options.icc, network.subnet6, gateway6, network.internal, options.mtu, options.addressed, options.addressed6,
                      options.sources)  # fmt: skip

    # -- inside ---------------------------------------------------------------------------------------------------

    def _choose(self, spec: NetworkSpec, routes: Iterable[str], *, default6: bool = False) -> Subnets:
        chosen = network_requests.choose(spec, self._networks.values(), routes, self._next_default, self._pool6() if default6 else "")
        if chosen.subnet in DEFAULT_POOLS and not any(config.subnet == chosen.subnet for config in spec.ipam):
            self._next_default = DEFAULT_POOLS.index(chosen.subnet) + 1
        return chosen

    def _pool6(self) -> str:
        """This node's own /48 of unique local addresses (RFC 4193): its 40 random bits are of an id that no other node has."""
        bridge = self.find(DEFAULT_BRIDGE)
        return str(ipaddress.IPv6Network((0xFD << 120 | int(bridge.id[:10], 16) << 80, 48)))

    def _pool(self, network: LocalNetwork, family: int) -> ipam.Pool:
        pool = self._pools.get((network.id, family))
        if pool is None:
            subnet, gateway = (network.subnet6, network.gateway6) if family == 6 else (network.subnet, network.gateway)
            config = next((c for c in network.ipam if (":" in c.subnet) == (family == 6)), IpamConfig())
            reserved = [gateway, *(address for _, address in config.reserved)]
            if network.name == GATEWAY_BRIDGE:
                reserved.append(str(ipaddress.ip_network(subnet)[INGRESS_SANDBOX_HOST]))
            pool = self._pools[network.id, family] = ipam.pool(subnet, reserved=reserved, part=config.ip_range)
        return pool

    def _add(self, network: LocalNetwork) -> None:
        self._networks[network.id] = network

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, msgspec.json.encode(self.all()))


def _with_prefix(address: str, subnet: str) -> str:
    return f"{address}/{subnet.partition('/')[2]}" if address else ""


def _made(name: str, driver: str, now_ns: int, subnets: Subnets, *, interface: str = "", options: Pairs = (), network_id: str = "") -> LocalNetwork:
    network_id = network_id or os.urandom(ID_LENGTH // 2).hex()
    interface = interface or (f"br-{network_id[:12]}" if driver == "bridge" else "")
    return LocalNetwork(id=network_id, name=name, driver=driver, created_at_ns=now_ns, subnet=subnets.subnet, gateway=subnets.gateway,
                        subnet6=subnets.subnet6, gateway6=subnets.gateway6, interface=interface, options=options)  # fmt: skip
