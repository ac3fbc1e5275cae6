"""View -> State: what every namespace of a node has to look like. Pure: no kernel, no clock, no indexes.

The anatomy is Docker's, a module of anatomy/ for each kind of namespace: per overlay one with a bridge and a VXLAN link, a sandbox for
its balancer (on the ingress network ingress_sbox, which stands on the gateway bridge too), a sandbox per container, and
the node's own. A namespace whose inputs have not changed since the plan before is that plan's value itself, so that a diff
passes over it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from netfabric import encryption
from netfabric.anatomy.addresses import plain, with_prefix
from netfabric.anatomy.attachments import Attached, attached_by_sandbox, by_network
from netfabric.anatomy.balancer import Balancing, balanced_otherwise, balancer_sandboxes, local_sources, planned_balancer
from netfabric.anatomy.node import BRIDGE_MTU_BYTES, bridges_of, planned_node
from netfabric.anatomy.overlay import overlay_mtu, overlay_namespace, planned_overlay, reached_otherwise
from netfabric.anatomy.sandbox import kinds_of, planned_task
from netfabric.encryption import Sealing
from netfabric.reach import Reach, reached
from netfabric.state import NODE, Namespace, State
from netfabric.view import Overlay, Sandbox, View

Adapt = Callable[[Namespace, tuple[Any, ...], tuple[Any, ...]], Namespace | None]
"""(what was made, of what, what it is to be made of now) -> what it becomes; None: it has to be made anew."""


@dataclass(frozen=True)
class Plan:
    """A desired state and what it was made from, namespace by namespace; the attachments of each sandbox, what all tasks' sandboxes depend on, how an
    overlay's remote endpoints are reached, and what seals encrypted ones.
    """

    state: State
    inputs: Mapping[str, tuple[object, ...]] = field(repr=False)
    attached: Attached = field(repr=False)
    surroundings: tuple[object, ...] = field(repr=False)
    reaches: Mapping[str, Reach] = field(repr=False)
    sealing: Sealing = field(repr=False)


def plan(view: View, balancing: Balancing, previous: Plan | None = None, *, bridge_netfilter: bool = False, esp: bool = False) -> Plan:
    """The desired state of a node. Raises UnknownNetwork when an interface's network is not in the view.

    `bridge_netfilter`: this kernel leads bridged packets through the node's IP rules, which then isolate containers;
    otherwise the bridge's ports do. `esp`: this kernel encrypts; without, nothing of encrypted overlays leaves the node.
    """
    bridges = {bridge.name: bridge for bridge in bridges_of(view)}
    balancers = balancer_sandboxes(view)
    attached = attached_by_sandbox([*(sandbox for _, sandbox in balancers), *view.sandboxes], previous.attached if previous is not None else {})
    sizes = {overlay.id: overlay_mtu(view, overlay) for overlay in view.overlays}
    sizes |= {name: bridge.mtu or BRIDGE_MTU_BYTES for name, bridge in bridges.items()}
    attachments = by_network(attached, sizes)
    ingress = next((overlay for overlay in view.overlays if overlay.ingress), None)
    reaches = _reaches(view, previous.reaches if previous is not None else {}, esp=esp)
    ways_back = _ways_back(ingress, reaches[overlay_namespace(ingress.id)]) if ingress else ()
    vteps = frozenset().union(*(reaches[overlay_namespace(overlay.id)].vteps for overlay in view.overlays if overlay.encrypted))
    sealed = encryption.sealing(view, vteps, previous.sealing if previous is not None else None, esp=esp)
    subnets = {overlay.id: overlay.subnets for overlay in view.overlays}
    build = _Builder(previous, attached, (sizes, subnets, ingress.id if ingress else "", ways_back))

    ingress_ports = tuple(itertools.chain.from_iterable(map(attrgetter("ports"), ingress.balancers))) if ingress else ()
    ingress_address = plain(view.ingress_sandbox_address) if ingress and view.gateway_bridge else ""
    on_bridges = tuple((bridge, tuple(attachments[bridge.name])) for bridge in bridges.values())
    build(NODE, planned_node, on_bridges, view.gateway_bridge, view.host_ports, ingress_ports, ingress_address, bridge_netfilter, sealed)
    for overlay in view.overlays:
        name = overlay_namespace(overlay.id)
        size = (sizes[overlay.id], view.vxlan_port, overlay.vni)
        further = tuple(with_prefix(one.gateway, one.cidr) for one in overlay.further)
        gateways = (with_prefix(overlay.gateway, overlay.subnet), with_prefix(overlay.gateway6, overlay.subnet6), *further)
        build(name, planned_overlay, size, gateways, tuple(attachments[overlay.id]), reaches[name], adapt=reached_otherwise)
    for overlay, sandbox in balancers:
        kinds = kinds_of(sandbox, sizes, subnets)
        local = local_sources(view) if overlay.ingress else ()
        build(sandbox.id, planned_balancer, kinds, (overlay.subnets, overlay.subnet6), balancing, local, overlay.balancers, adapt=balanced_otherwise)
    for sandbox in view.sandboxes:
        if not build.kept(sandbox):
            kinds = kinds_of(sandbox, sizes, subnets)
            on_ingress = next((i for i in sandbox.interfaces if ingress and i.network == ingress.id), None)
            build(sandbox.id, planned_task, sandbox, kinds, on_ingress, ways_back if on_ingress else ())
    return build.plan(reaches, sealed)


class _Builder:
    """Collects namespaces, taking over from the plan before what was made from the same."""

    def __init__(self, previous: Plan | None, attached: Attached, surroundings: tuple[object, ...]) -> None:
        self._previous = previous
        self._attached = attached
        self._surroundings = surroundings
        self._state: dict[str, Namespace] = {}
        self._inputs: dict[str, tuple[object, ...]] = {}
        self._surrounded_as_before = previous is not None and previous.surroundings == surroundings

    def __call__(self, name: str, make: Callable[..., Namespace], *arguments: Any, adapt: Adapt | None = None) -> None:
        """`adapt` makes it from what it was when nothing but the last argument is another one."""
        inputs = (make, *arguments)
        before = self._previous.inputs.get(name) if self._previous is not None else None
        made = None
        if self._previous is not None and before is not None:
            known = self._previous.state[name]
            if before == inputs:
                made = known
            elif adapt is not None and before[:-1] == inputs[:-1]:
                made = adapt(known, before[1:], arguments)
        self._state[name] = made if made is not None else make(name, *arguments)
        self._inputs[name] = inputs

    def kept(self, sandbox: Sandbox) -> bool:
        """Takes a task's sandbox over as it was, where neither it nor what is around it has changed. One look at each: there may be hundreds."""
        before = self._previous
        if before is None or not self._surrounded_as_before or sandbox.id not in before.attached or before.attached[sandbox.id][0] is not sandbox:
            return False
        self._state[sandbox.id], self._inputs[sandbox.id] = before.state[sandbox.id], before.inputs[sandbox.id]
        return True

    def plan(self, reaches: Mapping[str, Reach], sealed: Sealing) -> Plan:
        return Plan(self._state, self._inputs, self._attached, self._surroundings, reaches, sealed)


def _reaches(view: View, before: Mapping[str, Reach], *, esp: bool) -> Mapping[str, Reach]:
    """How the endpoints of each overlay are reached, by its namespace."""
    found = {}
    for overlay in view.overlays:
        name = overlay_namespace(overlay.id)
        found[name] = reached(overlay.remotes if encryption.reachable(view, overlay, esp=esp) else (), before.get(name))
    return found


def _ways_back(ingress: Overlay, reach: Reach) -> tuple[str, ...]:
    """The balancers' addresses on the ingress network, this node's and the others'."""
    return tuple(sorted({plain(ingress.lb_address), *reach.balancers} - {""}))
