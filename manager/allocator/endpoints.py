"""A service's endpoint: its published ports, and per network a virtual address and a firewall mark.

Owns the rules; writes the service into the draft. What a service has it keeps as long as its spec asks for it: an
endpoint that could not be completed is left as it was, with the reason.
"""

from __future__ import annotations

import msgspec

from cluster.model.ids import NetworkId
from cluster.model.objects import Endpoint, Service, VirtualIp
from cluster.model.specs import NODE_NETWORKS, EndpointMode, PublishMode
from manager.allocator.networks import exhausted
from manager.allocator.ports import choose_ports
from manager.draft import Draft
from manager.orchestrator.one_off import asks_for_addresses


def networks_of(draft: Draft, service: Service) -> tuple[NetworkId, ...] | str:
    """The cluster's networks that the service's tasks attach to, the ingress first when it publishes ports there; or what
    is missing. Tasks on their node's own network are on no other."""
    if not asks_for_addresses(service):
        return ()
    spec = service.spec
    ports = spec.endpoint.ports if spec.endpoint is not None else ()
    targets = [n.target for n in spec.task.networks or spec.networks]
    if "host" in targets:
        return ()
    wanted = [NetworkId(target) for target in targets if target not in NODE_NETWORKS]
    if any(p.publish_mode is PublishMode.INGRESS for p in ports):
        if not draft.index.ingress:
            return "there is no ingress network to publish ports on"
        wanted = [*draft.index.ingress, *wanted]
    for network_id in wanted:
        network = draft.index.networks.get(network_id)
        if network is None:
            return f"network {network_id} not found"
        if network.spec.driver == "overlay" and not network.subnet:
            why = draft.index.refused.get(network_id, "not allocated yet")
            return f"network {network.spec.name}: {why}"
    return tuple(dict.fromkeys(wanted))


def allocate(draft: Draft, service: Service) -> Service:
    """The service with its endpoint as its spec asks for it; unchanged, and noted as unallocated, when that is
    impossible now."""
    index = draft.index
    if service.endpoint is None and not asks_for_addresses(service):
        index.unallocated.pop(service.id, None)
        return service
    endpoint = _endpoint(draft, service)
    if isinstance(endpoint, str):
        index.unallocated[service.id] = endpoint
        return service
    index.unallocated.pop(service.id, None)
    if endpoint == (service.endpoint or Endpoint()):
        return service
    draft.put(msgspec.structs.replace(service, endpoint=endpoint))
    return index.services[service.id]


def _endpoint(draft: Draft, service: Service) -> Endpoint | str:
    index, have = draft.index, service.endpoint or Endpoint()
    networks = networks_of(draft, service)
    if isinstance(networks, str):
        return networks
    ports = choose_ports(index.ports, service)
    if isinstance(ports, str):
        return ports
    spec = service.spec.endpoint
    vip_mode = spec is None or spec.mode is EndpointMode.VIP
    vips: list[VirtualIp] = []
    for network_id in networks:
        network = index.networks[network_id]
        known = next((v for v in have.virtual_ips if v.network_id == network_id), None)
        if not vip_mode or not network.subnet:
            vips.append(VirtualIp(network_id))
        elif known is not None and known.address:
            vips.append(known)
        else:
            address, mark = index.addresses.next_free(network_id), index.ports.next_mark(network_id)
            if address is None:
                return f"could not find an available IP while allocating VIP: {exhausted(network)}"
            if mark is None:
                return f"no firewall mark is free on network {network.spec.name}"
            vips.append(VirtualIp(network_id, address, mark))
    return Endpoint(ports, tuple(vips))
