"""Networks between the API's JSON and our values: the cluster's, and those of this node alone. Pure.

Two shapes go out: the network of `docker network ls|inspect` (the API's Network), and the one inside a task's NetworksAttachments (swarm.Network).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.engine.convert import Json, filled, mapping, meta_json, time_text
from agent.engine.fields import Fields
from agent.records import Attachment, LocalNetwork, Record
from cluster.model.assignments import BalancerItem, EndpointItem
from cluster.model.errors import InvalidArgument, PermissionDenied
from cluster.model.ids import make_id
from cluster.model.objects import Network
from cluster.model.specs import NODE_NETWORKS, IpamConfig, NetworkSpec, Pairs

GATEWAY_BRIDGE: Final = "docker_gwbridge"
PREDEFINED: Final = ("bridge", "host", "none")
INGRESS_ENDPOINT: Final = "ingress-sbox"
NO_ADDRESS: Final = "<nil>"  # as Go prints it
VNI_OPTION: Final = "com.docker.network.driver.overlay.vxlanid_list"

Members = Iterable[tuple[Record | None, Attachment]]
"""Who is on a network on this node: (container or None for the ingress sandbox and a load balancer's endpoint, its attachment)."""


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """`POST /networks/create`: `driver` empty means bridge; `scope` as given."""

    spec: NetworkSpec
    driver: str
    scope: str
    config_only: bool = False
    config_from: str = ""


def network_request_of(fields: Fields) -> NetworkRequest:
    ipam = fields.section("IPAM")
    driver = fields.text("Driver")
    if fields.optional_flag("EnableIPv4") is False:
        raise InvalidArgument("IPv4 can't be switched off: every network here has it")
    spec = NetworkSpec(
        name=fields.text("Name"),
        labels=fields.pairs("Labels"),
        driver=driver or "bridge",
        driver_opts=fields.pairs("Options"),
        ipv6=fields.flag("EnableIPv6"),
        internal=fields.flag("Internal"),
        attachable=fields.flag("Attachable"),
        ingress=fields.flag("Ingress"),
        ipam_driver=ipam.text("Driver") or "default",
        ipam=tuple(_ipam_of(item) for item in ipam.objects("Config")),
        ipam_options=ipam.pairs("Options"),
    )
    source = fields.section("ConfigFrom").text("Network")
    return NetworkRequest(spec, driver or "bridge", fields.text("Scope"), fields.flag("ConfigOnly"), source)


def check_configuration(request: NetworkRequest) -> None:
    """What a configuration, and a network that takes one over, may not say. Raises PermissionDenied in Docker's words."""
    spec = request.spec
    if request.config_only and (spec.ingress or spec.internal or spec.attachable or request.scope):
        raise PermissionDenied("configuration network can only contain network specific fields. Network operator fields like "
                               "[ ingress | internal | attachable | scope ] are not supported.")  # fmt: skip
    if not request.config_from:
        return
    if request.config_only:
        raise PermissionDenied("a configuration network cannot depend on another configuration network")
    if spec.ipam or spec.ipam_options or spec.ipv6 or spec.labels or spec.ipam_driver != "default":
        raise PermissionDenied("user specified configurations are not supported if the network depends on a configuration network")
    if spec.driver_opts:
        raise PermissionDenied("network driver options are not supported if the network depends on a configuration network")


def _ipam_of(fields: Fields) -> IpamConfig:
    reserved = fields.pairs("AuxiliaryAddresses") or fields.pairs("AuxAddress")
    return IpamConfig(fields.text("Subnet"), fields.text("IPRange"), fields.text("Gateway"), reserved)


def _ipam_json(config: IpamConfig) -> Json:
    return filled(
        {
            "Subnet": config.subnet,
            "IPRange": config.ip_range,
            "Gateway": config.gateway,
            "AuxiliaryAddresses": mapping(config.reserved),
        }
    )


def _ipam_of_network(network: Network) -> list[Json]:
    """The allocated subnets and gateways over what was asked for, IPv4's first."""
    out: list[Json] = []
    own = ((network.subnet, network.gateway), *((one.subnet, one.gateway) for one in network.further))
    for six, allocated in ((False, own), (True, ((network.subnet6, network.gateway6),))):
        configs = [_ipam_json(config) for config in network.spec.ipam if (":" in config.subnet) is six] or [{}]
        for config, (subnet, gateway) in zip(configs, allocated, strict=False):
            config.update(filled({"Subnet": subnet, "Gateway": gateway}))
        out += [config for config in configs if config]
    return out


def network_json(network: Network, members: Members | None = None, peers: Mapping[str, str] | None = None, own: LocalNetwork | None = None) -> Json:
    """A cluster's network. `members` where this node takes part in it; `peers`: node name -> address; `own`: what this node has made for one that each node
    makes for itself."""
    spec = network.spec
    if own is not None:
        made = local_network_json(own, members or ())
        return made | {"Created": time_text(network.meta.created_at_ns), "Scope": "swarm", "IPAM": made["IPAM"] | {"Options": None}}
    if spec.driver != "overlay":
        ipam: Json = {"Driver": "", "Options": None, "Config": []}
    else:
        ipam = {"Driver": spec.ipam_driver, "Options": mapping(spec.ipam_options) or None, "Config": _ipam_of_network(network)}
    out: Json = {
        "Name": spec.name,
        "Id": network.id,
        "Created": time_text(network.meta.created_at_ns),
        "Scope": "swarm",
        "Driver": spec.driver,
        "EnableIPv4": True,
        "EnableIPv6": spec.ipv6,
        "IPAM": ipam,
        "Internal": spec.internal,
        "Attachable": spec.attachable,
        "Ingress": spec.ingress,
        "ConfigFrom": {"Network": spec.config_from},
        "ConfigOnly": False,
        "Containers": members_json(members or (), spec.name, ingress=spec.ingress) or None,
        "Options": (({VNI_OPTION: str(network.vni)} if network.vni else {}) | mapping(spec.driver_opts)) or None,
        "Labels": mapping(spec.labels) or (None if members is None else {}),
    }
    if peers:
        out["Peers"] = [{"Name": name, "IP": address} for name, address in peers.items()]
    return out


def local_network_json(network: LocalNetwork, members: Members = ()) -> Json:
    own = network.name not in (*PREDEFINED, GATEWAY_BRIDGE)
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": time_text(network.created_at_ns),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": True,
        "EnableIPv6": network.ipv6,
        "IPAM": {"Driver": "default", "Options": mapping(network.ipam_options) if own else None, "Config": _local_ipam(network)},
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": network.config_from},
        "ConfigOnly": network.config_only,
        "Containers": members_json(members, network.name),
        "Options": dict(sorted(network.options)),
        "Labels": dict(sorted(network.labels)),
    }


def _local_ipam(network: LocalNetwork) -> list[Json]:
    """What was asked for, as it was asked for, IPv4's first; a subnet that was chosen here is shown with its gateway."""
    asked = [_ipam_json(config) for config in sorted(network.ipam, key=lambda config: ":" in config.subnet)]
    if network.subnet and not any(config.subnet and ":" not in config.subnet for config in network.ipam):
        asked.insert(0, {"Subnet": network.subnet, "Gateway": network.gateway})
    if network.subnet6 and not any(":" in config.subnet for config in network.ipam):
        asked.append({"Subnet": network.subnet6, "Gateway": network.gateway6})
    return [config for config in asked if config]


def members_json(members: Members, network_name: str, *, ingress: bool = False) -> dict[str, Json]:
    out: dict[str, Json] = {}
    for record, attachment in members:
        if record is not None:
            key, name = record.id, record.name
            if network_name == GATEWAY_BRIDGE:
                name = f"gateway_{record.id[:12]}"
        elif network_name == GATEWAY_BRIDGE:
            key, name = INGRESS_ENDPOINT, f"gateway_{INGRESS_ENDPOINT}"
        else:
            key, name = INGRESS_ENDPOINT if ingress else f"lb-{network_name}", f"{network_name}-endpoint"
        out[key] = {
            "Name": name,
            "EndpointID": attachment.endpoint_id,
            "MacAddress": attachment.mac,
            "IPv4Address": attachment.address,
            "IPv6Address": attachment.address6,
        }
    return out


def node_network_id(name: str) -> str:
    """What the API says in place of the name of a network that every node has (NODE_NETWORKS): Docker has an object of the cluster for it."""
    return make_id(hashlib.sha256(f"predefined {name}".encode()).digest())


def node_network(reference: str) -> str:
    """The name of the nodes' own network that has this id; else what was given."""
    return next((name for name in NODE_NETWORKS if reference == node_network_id(name)), reference)


def node_network_json(network: LocalNetwork) -> Json:
    """One that every node has, as the cluster's."""
    ipam: Json = {"Driver": "", "Options": None, "Config": []}
    swarm: Json = {"Id": node_network_id(network.name), "Scope": "swarm", "IPAM": ipam, "Options": None, "Labels": {"com.docker.swarm.predefined": "true"}}
    return local_network_json(network) | swarm


def sandbox_endpoint_id(network_id: str, address: str) -> str:
    """Of what is no container's: the ingress sandbox or a node's load balancer on a network. It follows from what it is, so that every node shows the same
    without being told."""
    return hashlib.sha256(f"{network_id} {address.partition('/')[0]}".encode()).hexdigest()


def services_json(network: Network, balancers: Iterable[BalancerItem], endpoints: Iterable[EndpointItem], own_ids: Mapping[str, str]) -> dict[str, Json]:
    """`network inspect --verbose`: the services that have live tasks on an overlay, and under no name what is of no service. `own_ids`: the ids of this node's
    endpoints, by plain address; those of other nodes' containers are theirs."""
    by_address = {item.address.partition("/")[0]: item for item in endpoints if item.network_id == network.id}

    def task(name: str, address: str) -> Json:
        item = by_address[address]
        known = own_ids.get(address, "") if item.task_id else sandbox_endpoint_id(network.id, address)
        return {"Name": name, "EndpointID": known, "EndpointIP": address, "Info": {"Host IP": item.node_address}}

    balanced = [(b, [one.address for one in b.backends if one.address in by_address]) for b in balancers if b.network_id == network.id]
    served = {address for _, live in balanced for address in live}
    alone = [task(item.names[0], address) for address, item in by_address.items() if item.names and address not in served]
    if network.spec.ingress:
        alone = [task(f"{network.spec.name}-endpoint", address) for address, item in by_address.items() if not item.task_id]
    out: dict[str, Json] = {"": {"VIP": NO_ADDRESS, "Ports": [], "LocalLBIndex": 0, "Tasks": alone}} if alone else {}
    for balancer, live in balanced:
        if live:
            out[balancer.service_name] = {
                "VIP": balancer.virtual_ip or NO_ADDRESS,
                "Ports": [f"Target: {port.target_port}, Publish: {port.published_port}" for port in balancer.ports],
                "LocalLBIndex": balancer.mark,
                "Tasks": [task(next(iter(by_address[address].names), ""), address) for address in live],
            }
    return out


def attached_network_json(network: Network) -> Json:
    """The network inside a task's NetworksAttachments."""
    spec = network.spec
    options: Pairs = (*((VNI_OPTION, str(network.vni)),), *spec.driver_opts) if network.vni else spec.driver_opts
    asked = filled({"Driver": {"Name": spec.ipam_driver}, "Configs": [_ipam_json(config) for config in spec.ipam]})
    given: Json = {"Driver": {"Name": spec.ipam_driver}, "Configs": _ipam_of_network(network)} if spec.driver == "overlay" else {"Driver": {}}
    return (
        {"ID": network.id}
        | meta_json(network.meta)
        | {
            "Spec": {"Name": spec.name, "Labels": mapping(spec.labels)}
            | filled(
                {
                    "DriverConfiguration": filled({"Name": spec.driver, "Options": mapping(spec.driver_opts)}),
                    "IPv6Enabled": spec.ipv6,
                    "Internal": spec.internal,
                    "Attachable": spec.attachable,
                    "Ingress": spec.ingress,
                    "IPAMOptions": asked,
                    "Scope": "swarm",
                }
            ),
            "DriverState": filled({"Name": spec.driver, "Options": mapping(options)}),
            "IPAMOptions": given,
        }
    )
