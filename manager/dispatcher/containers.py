"""Containers of users on attachable overlays: which a node has asked for, been given and left.

Owns the changes of a node's object only; the addresses are the planner's (manager/allocator/networks.py), the waiting
for them is the server's. Pure. Source: moby's daemon/cluster/networks.go for the sentences.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from cluster.model.errors import Internal, InvalidArgument, PermissionDenied
from cluster.model.ids import TaskId
from cluster.model.objects import ContainerAttachment, Network, Node
from cluster.model.twins import origin
from cluster.wire.calls import Attach, Attached
from manager.allocator.addresses import to_number

CONTAINERS_PER_NODE: Final = 4096  # attachments of one node


def check(request: Attach, network: Network) -> None:
    """Raises PermissionDenied for a network that is not attachable, InvalidArgument for what is no address."""
    if not network.spec.attachable:
        name = network.spec.name
        raise PermissionDenied(f"Could not attach to network {name}: network {name} not manually attachable")
    try:
        if request.address:
            to_number(request.address)
    except ValueError:
        raise InvalidArgument(f"invalid IPv4 address: {request.address}") from None
    _asked(request, network)


def _asked(request: Attach, network: Network) -> str:
    """The IPv4 address that the request asks for, by itself or by its twin. Raises InvalidArgument where there is none, or the two disagree."""
    if network.spec.driver != "overlay":
        return ""  # the node gives it
    if not request.address6:
        return request.address
    try:
        address = origin(network, request.address6)
    except ValueError:
        raise InvalidArgument(f"invalid IPv6 address: {request.address6}") from None
    if not address:
        raise InvalidArgument(f"Invalid address {request.address6}: It does not belong to any of this network's subnets")
    if request.address not in ("", address):
        given = f"{request.address6} goes with {address} on network {network.spec.name}, not with {request.address}"
        raise InvalidArgument(f"an endpoint's addresses on an overlay have the same host number: {given}")
    return address


def added(node: Node, request: Attach, network: Network) -> Node:
    """Asking again for the same changes nothing. Raises Internal when the node has too many."""
    if any(c.id == request.id for c in node.containers):
        return node
    if len(node.containers) >= CONTAINERS_PER_NODE:
        raise Internal(f"the node has {CONTAINERS_PER_NODE} containers on overlays already")
    new = ContainerAttachment(TaskId(request.id), network.id, request.container_id, _asked(request, network), request.names)
    return msgspec.structs.replace(node, containers=(*node.containers, new))


def without(node: Node, ids: Collection[str]) -> Node:
    return msgspec.structs.replace(node, containers=tuple(c for c in node.containers if c.id not in ids))


def only(node: Node, ids: Collection[str]) -> Node:
    return msgspec.structs.replace(node, containers=tuple(c for c in node.containers if c.id in ids))


def outcome(node: Node, attachment_id: str, network: Network) -> Attached | None:
    """What was given; None while nothing is decided. Raises Internal with the reason when nothing can be given."""
    found = next((c for c in node.containers if c.id == attachment_id), None)
    if found is None:
        raise Internal("the attachment was given up")
    if found.refused:
        text = "attaching to network failed, make sure your network options are correct and check manager logs"
        raise Internal(f"{text}: {found.refused}")
    if network.spec.driver != "overlay":
        return Attached(found.id, found.network_id, "")
    ready = any(a.network_id == found.network_id for a in node.attachments)
    return Attached(found.id, found.network_id, found.address) if found.address and ready else None
