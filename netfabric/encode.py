"""Operations -> netlink messages: names of links become numbers, namespaces descriptors. No sockets;
netfabric/perform.py sends them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netfabric.diff import Change, Drop, Operation, Put
from netfabric.indexes import LOOPBACK_INDEX, Indexes
from netfabric.links import neighbours
from netfabric.links.bridge import new_bridge, set_port
from netfabric.links.veth import new_veth
from netfabric.netlink import ipvs, messages, policy
from netfabric.netlink.messages import Message
from netfabric.state import (
    FABRIC_GROUP,
    NODE,
    Address,
    Connected,
    Forwarding,
    Link,
    LinkKind,
    Neighbour,
    RealServer,
    ReturnPath,
    Route,
    Timeouts,
    VirtualService,
)

Descriptor = Callable[[str], int]
"""The descriptor of a namespace by its name; raises FileNotFoundError."""


def configuring(indexes: Indexes, descriptor: Descriptor, operation: Operation) -> Iterator[Message]:
    """The messages of one operation. Raises FileNotFoundError when it needs a namespace that is not there."""
    assert isinstance(operation, Put | Change | Drop)
    namespace, item = operation.namespace, operation.item
    match item:
        case Link() if isinstance(operation, Put):
            yield from _made(indexes, descriptor, namespace, item)
        case Link():
            yield from changed(indexes, namespace, item)
        case Address(link=link, cidr=cidr):
            act = messages.delete_address if isinstance(operation, Drop) else messages.add_address
            yield act(indexes.of(namespace, link), cidr)
        case Connected(link=link, cidr=cidr):
            yield messages.put_connected(indexes.of(namespace, link), cidr)
        case Route(link=link, destination=destination, gateway=gateway):
            index = indexes.of(namespace, link)
            if isinstance(operation, Drop):
                yield messages.delete_route(destination, gateway=gateway, index=index)
            else:
                yield messages.add_route(destination, gateway=gateway, index=index)
        case ReturnPath():
            act_on = policy.delete_return if isinstance(operation, Drop) else policy.add_return
            yield from act_on(indexes.of(namespace, item.link), item.gateway, item.mark, item.table)
        case Neighbour() | Forwarding():
            yield _entry(indexes.of(namespace, item.link), item, drop=isinstance(operation, Drop))
        case _:
            raise AssertionError(operation)


def _entry(index: int, item: Neighbour | Forwarding, *, drop: bool) -> Message:
    if isinstance(item, Neighbour):
        return (neighbours.delete_neighbour if drop else neighbours.put_neighbour)(index, item.address, item.mac)
    if item.vtep:
        return (neighbours.delete_forwarding if drop else neighbours.put_forwarding)(index, item.mac, item.vtep)
    return (neighbours.delete_bridge_entry if drop else neighbours.put_bridge_entry)(index, item.mac)


def _made(indexes: Indexes, descriptor: Descriptor, namespace: str, link: Link) -> Iterator[Message]:
    if link.kind is LinkKind.BRIDGE:
        index = indexes.assign(namespace, link.name)
        yield new_bridge(link.name, index=index, mac=link.mac, group=FABRIC_GROUP)
    elif link.kind is LinkKind.VETH:
        assert link.peer is not None
        end = link.peer
        target = descriptor(end.namespace)
        index = indexes.assign(namespace, link.name)
        yield new_veth(
            link.name,
            end.link,
            target,
            index=index,
            peer_index=indexes.of(end.namespace, end.link) or indexes.assign(end.namespace, end.link),
            mtu=link.mtu,
            master=indexes.of(namespace, link.master),
            peer_mac=end.mac,
            group=FABRIC_GROUP,
        )
        if link.isolated or link.hairpin or not link.learning:
            yield set_port(index, learning=link.learning, isolated=link.isolated, hairpin=link.hairpin)
        yield from _known(namespace, link, index)
    else:  # lo, and the end that the other one has made
        index = LOOPBACK_INDEX if link.kind is LinkKind.LOOPBACK else indexes.of(namespace, link.name)
        yield messages.set_link(index, up=True)


def _known(namespace: str, link: Link, index: int) -> Iterator[Message]:
    """An overlay's bridge is told who is behind a port: it has not heard of who is silent, or asked from afar, and would send what is theirs to all ports."""
    if namespace != NODE and link.peer is not None:
        yield neighbours.put_bridge_entry(index, link.peer.mac)


def changed(indexes: Indexes, namespace: str, link: Link) -> Iterator[Message]:
    """Makes an existing link what is wanted of it."""
    index = LOOPBACK_INDEX if link.kind is LinkKind.LOOPBACK else indexes.of(namespace, link.name)
    master = indexes.of(namespace, link.master) if link.master else None
    group = FABRIC_GROUP if link.kind in {LinkKind.BRIDGE, LinkKind.VXLAN, LinkKind.VETH} else None
    yield messages.set_link(index, up=True, mtu=link.mtu, master=master, mac=link.mac, group=group)
    if link.master:
        yield set_port(index, learning=link.learning, isolated=link.isolated, hairpin=link.hairpin)
        yield from _known(namespace, link, index)


def balancing(family: int, operation: Operation) -> Message:
    """The message of an operation on a virtual service or a real server."""
    assert isinstance(operation, Put | Change | Drop)
    change = isinstance(operation, Change)
    match operation:
        case Put(item=Timeouts(tcp_s=tcp_s, tcp_fin_s=tcp_fin_s, udp_s=udp_s)):
            return ipvs.put_timeouts(family, tcp_s, tcp_fin_s, udp_s)
        case Drop(item=VirtualService(mark=mark, ipv6=ipv6)):
            return ipvs.delete_service(family, mark, ipv6=ipv6)
        case Drop(item=RealServer(mark=mark, address=address)):
            return ipvs.delete_server(family, mark, address)
        case Put(item=VirtualService() as service) | Change(item=VirtualService() as service):
            return ipvs.put_service(family, service.mark, service.scheduler, ipv6=service.ipv6, change=change)
        case Put(item=RealServer() as server) | Change(item=RealServer() as server):
            return ipvs.put_server(family, server.mark, server.address, server.weight, change=change)
    raise AssertionError(operation)
