"""What each object of the store contributes to the table of a network: addresses of tasks and balancers, backends of
services.

Owns the rules only (who has an endpoint, who gets connections); assignments.py keeps the tables. Pure functions of
objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Final

from cluster.model.assignments import Backend, BalancerItem, EndpointItem, PortSettings
from cluster.model.errors import InvalidArgument
from cluster.model.ids import NetworkId
from cluster.model.objects import Network, Node, Service, Task, TaskNetwork, VirtualIp, container_name
from cluster.model.placeholders import context, expand
from cluster.model.port_labels import said
from cluster.model.specs import PortConfig, PublishMode
from cluster.model.task_state import ASSIGNED, COMPLETE, RUNNING, is_final

_BY_ADDRESS: Final = attrgetter("address", "task_id")
SHORT_ID: Final = 12  # characters of a container's id that are a name of it


def holds_networks(task: Task) -> bool:
    """Whether the task makes its node take part in its networks: it is placed and has not finished."""
    return bool(task.node_id) and not is_final(task.status.state)


def may_serve(task: Task) -> bool:
    """Whether the task is meant to go on (a job is meant to complete)."""
    return task.desired_state <= COMPLETE


def has_endpoint(task: Task) -> bool:
    """Whether others should reach the task's addresses: one that may run, and one that still runs while its
    connections drain."""
    state = task.status.state
    if not task.node_id or not ASSIGNED <= state <= RUNNING:
        return False
    return may_serve(task) or state is RUNNING


def task_endpoints(task: Task, node: Node | None) -> Iterator[EndpointItem]:
    """The task's addresses, on every network that it is attached to, behind its node's tunnel address. None while
    that is unknown."""
    if node is None or not node.status.address or not has_endpoint(task):
        return
    for attachment in task.networks:
        if not attachment.address:
            continue  # the node's own to give: nobody else reaches it
        yield EndpointItem(attachment.network_id, attachment.address, node.id, node.status.address, task.id, _names(task, attachment, node))


def _names(task: Task, attachment: TaskNetwork, node: Node) -> tuple[str, ...]:
    """What the task is called on a network while it is live. A service's aliases stand for the service, a container's own for itself."""
    if task.status.state is not RUNNING or not may_serve(task):
        return ()
    aliases = () if task.service_id else attachment.aliases
    return tuple(name for name in (container_name(task), *aliases, task.status.container_id[:SHORT_ID], _hostname(task, node)) if name)


def _hostname(task: Task, node: Node) -> str:
    """Empty where the container has none of its own, or one that can't be made out."""
    text = task.spec.container.hostname
    if "{{" not in text:
        return text
    try:
        return expand(text, context(task, node.description, node.id))
    except InvalidArgument:
        return ""


def node_endpoints(node: Node) -> Iterator[EndpointItem]:
    """The node's load-balancer addresses, and those of the containers that its users have put on overlays."""
    if node.status.address:
        for attachment in node.attachments:
            yield EndpointItem(attachment.network_id, attachment.address, node.id, node.status.address)
        for container in node.containers:
            if container.address:
                yield EndpointItem(container.network_id, container.address, node.id, node.status.address, container.id, container.names)


def backends(task: Task) -> Iterator[tuple[NetworkId, Backend]]:
    """Where connections to the task's service may go: weight 1 while it is meant to run, 0 while it drains, nothing
    before it runs."""
    if task.status.state is RUNNING and task.service_id:
        for attachment in task.networks:
            if not attachment.address:
                continue
            yield attachment.network_id, Backend(_plain(attachment.address), 1 if may_serve(task) else 0, task.id)


def virtual_ips(service: Service | None) -> tuple[VirtualIp, ...]:
    return service.endpoint.virtual_ips if service is not None and service.endpoint is not None else ()


def balancer(service: Service, network: Network | None, vip: VirtualIp, live: Iterable[Backend]) -> BalancerItem:
    """The service on one network. Its published ports are the ingress network's only. Backends come sorted by
    address."""
    ports = _ingress_ports(service) if network is not None and network.spec.ingress else ()
    return BalancerItem(
        network_id=vip.network_id,
        service_id=service.id,
        service_name=service.spec.name,
        virtual_ip=_plain(vip.address),
        mark=vip.mark,
        ports=ports,
        backends=tuple(sorted(live, key=_BY_ADDRESS)),
        aliases=tuple(alias for a in service.spec.task.networks if a.target == vip.network_id for alias in a.aliases),
        declared=service.endpoint.ports if service.endpoint is not None else (),
        settings=tuple(_settings(dict(service.spec.labels), port) for port in ports),
    )


def _settings(labels: dict[str, str], port: PortConfig) -> PortSettings:
    """What the service's labels say of its port. Clients' addresses are kept, but for UDP and SCTP: a server that is bound to no
    address answers from another one."""
    source = said(labels, port.published_port, port.protocol, "source-ip", "preserve" if port.protocol == "tcp" else "masquerade")
    return PortSettings(said(labels, port.published_port, port.protocol, "affinity", "none") == "client-ip", source == "masquerade")


def _ingress_ports(service: Service) -> tuple[PortConfig, ...]:
    ports = service.endpoint.ports if service.endpoint is not None else ()
    return tuple(p for p in ports if p.publish_mode is PublishMode.INGRESS)


def _plain(address: str) -> str:
    return address.partition("/")[0]
