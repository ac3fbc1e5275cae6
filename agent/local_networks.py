"""The networks of this node alone: bridge, host, none, docker_gwbridge and those that a user made. Owns their file and their addresses.

Addresses are leased from a pool per bridge, in memory: who runs is known from the containers' records, which hold their leases.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Final

import msgspec

from agent.records import LocalNetwork
from cluster.model.errors import Conflict, InvalidArgument, NotFound, PermissionDenied
from cluster.model.specs import Pairs
from netfabric import ipam
from netfabric.view import Bridge

GATEWAY_BRIDGE: Final = "docker_gwbridge"
DEFAULT_BRIDGE: Final = "bridge"
DEFAULT_POOLS: Final = tuple(f"172.{n}.0.0/16" for n in range(17, 32)) + tuple(f"192.168.{n}.0/20" for n in range(0, 256, 16))
PREDEFINED: Final = ("bridge", "host", "none")
INGRESS_SANDBOX_HOST: Final = 2  # ingress_sbox is always the second address of docker_gwbridge: 172.18.0.2


class LocalNetworks:
    """State: the networks by id, and one address pool per bridge."""

    def __init__(self, path: Path, now_ns: int) -> None:
        self._path = path
        self._networks: dict[str, LocalNetwork] = {}
        self._pools: dict[str, ipam.Pool] = {}
        if path.exists():
            for network in msgspec.json.decode(path.read_bytes(), type=tuple[LocalNetwork, ...]):
                self._networks[network.id] = network
        for name, driver in (("bridge", "bridge"), ("host", "host"), ("none", "null")):
            if not any(n.name == name for n in self._networks.values()):
                subnet = DEFAULT_POOLS[0] if driver == "bridge" else ""
                self._add(name, driver, now_ns, subnet, "docker0" if driver == "bridge" else "")
        self._save()

    def all(self) -> tuple[LocalNetwork, ...]:
        return tuple(self._networks.values())

    def find(self, reference: str) -> LocalNetwork:
        """By full id, name, or unique id prefix. Raises NotFound, or InvalidArgument when the prefix is ambiguous."""
        if reference == "default":
            reference = DEFAULT_BRIDGE
        if found := self._networks.get(reference):
            return found
        for network in self._networks.values():
            if network.name == reference:
                return network
        matches = [n for n in self._networks.values() if reference and n.id.startswith(reference)]
        if len(matches) > 1:
            raise InvalidArgument(f"network {reference} is ambiguous ({len(matches)} matches found based on ID prefix)")
        if not matches:
            raise NotFound(f"network {reference} not found")
        return matches[0]

    def create(self, name: str, now_ns: int, *, subnet: str = "", gateway: str = "", labels: Pairs = (), options: Pairs = (),
               internal: bool = False, attachable: bool = False) -> LocalNetwork:  # fmt: skip
        """A user's bridge network. Raises Conflict for a taken name, PermissionDenied for a subnet that overlaps."""
        if any(n.name == name for n in self._networks.values()):
            raise Conflict(f"network with name {name} already exists")
        if subnet:
            self._refuse_overlap(subnet)
        network = self._add(name, "bridge", now_ns, subnet or self._free_subnet(), "", gateway, labels, options, internal, attachable)
        self._save()
        return network

    def remove(self, network_id: str) -> LocalNetwork:
        """Forget it. Raises PermissionDenied for a predefined one."""
        network = self._networks[network_id]
        if network.name in PREDEFINED:
            raise PermissionDenied(f"{network.name} is a pre-defined network and cannot be removed")
        del self._networks[network_id]
        self._pools.pop(network_id, None)
        self._save()
        return network

    def ensure_gateway_bridge(self, now_ns: int) -> LocalNetwork:
        """docker_gwbridge, made when the node enters its first swarm (172.18.0.0/16 where that is free)."""
        for network in self._networks.values():
            if network.name == GATEWAY_BRIDGE:
                return network
        options = (("com.docker.network.bridge.enable_icc", "false"), ("com.docker.network.bridge.enable_ip_masquerade", "true"),
                   ("com.docker.network.bridge.name", GATEWAY_BRIDGE))  # fmt: skip
        network = self._add(GATEWAY_BRIDGE, "bridge", now_ns, self._free_subnet(), GATEWAY_BRIDGE, options=options)
        self._save()
        return network

    def gateway_bridge(self) -> LocalNetwork | None:
        return next((n for n in self._networks.values() if n.name == GATEWAY_BRIDGE), None)

    # -- addresses ------------------------------------------------------------------------------------------------

    def lease(self, network: LocalNetwork, address: str = "") -> str:
        """A free address of the network in CIDR form; `address` (plain) asks for that one. Raises Conflict when there is none."""
        pool = self._pool(network)
        try:
            if address:
                self._pools[network.id], chosen = ipam.take(pool, address), address
            else:
                self._pools[network.id], chosen = ipam.allocate(pool, serial=network.name != GATEWAY_BRIDGE)
        except ipam.PoolExhausted:
            raise Conflict(f"no available IPv4 addresses on this network's address pools: {network.name} ({network.id})") from None
        except ipam.AddressTaken:
            raise Conflict("Address already in use") from None
        except ipam.PoolError as error:
            raise InvalidArgument(str(error)) from None
        return pool.cidr(chosen)

    def release(self, network_id: str, address: str) -> None:
        """Give a leased address (CIDR) back; one that is not leased is ignored."""
        if network := self._networks.get(network_id):
            self._pools[network_id] = ipam.release(self._pool(network), address.partition("/")[0])

    def bridge(self, network: LocalNetwork) -> Bridge:
        """What the fabric has to build for it."""
        prefix = ipaddress.ip_network(network.subnet).prefixlen
        gateway = network.name == GATEWAY_BRIDGE
        return Bridge(network.interface, network.subnet, f"{network.gateway}/{prefix}", masquerade=not network.internal, isolate=gateway)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _pool(self, network: LocalNetwork) -> ipam.Pool:
        pool = self._pools.get(network.id)
        if pool is None:
            reserved = [network.gateway]
            if network.name == GATEWAY_BRIDGE:
                reserved.append(str(ipaddress.ip_network(network.subnet)[INGRESS_SANDBOX_HOST]))
            pool = self._pools[network.id] = ipam.pool(network.subnet, reserved=reserved)
        return pool

    def _add(self, name: str, driver: str, now_ns: int, subnet: str, interface: str, gateway: str = "", labels: Pairs = (), options: Pairs = (),
             internal: bool = False, attachable: bool = False) -> LocalNetwork:  # fmt: skip
        network_id = os.urandom(32).hex()
        if driver == "bridge":
            gateway = gateway or str(ipaddress.ip_network(subnet)[1])
            interface = interface or f"br-{network_id[:12]}"
        network = LocalNetwork(id=network_id, name=name, driver=driver, created_at_ns=now_ns, subnet=subnet, gateway=gateway, interface=interface,
                               internal=internal, attachable=attachable, labels=labels, options=options)  # fmt: skip
        self._networks[network_id] = network
        return network

    def _free_subnet(self) -> str:
        used = [ipaddress.ip_network(n.subnet) for n in self._networks.values() if n.subnet]
        for candidate in DEFAULT_POOLS:
            if not any(ipaddress.ip_network(candidate).overlaps(u) for u in used):
                return candidate
        raise Conflict("could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network")

    def _refuse_overlap(self, subnet: str) -> None:
        try:
            asked = ipaddress.ip_network(subnet)
        except ValueError as error:
            raise InvalidArgument(f"invalid subnet {subnet}: {error}") from None
        for network in self._networks.values():
            if network.subnet and asked.overlaps(ipaddress.ip_network(network.subnet)):
                raise PermissionDenied("Pool overlaps with other one on this address space")

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(self.all()))
        temporary.replace(self._path)
