"""Filters: may this task go to this node, and if not, why not.

Owns what each filter means and its words; never ranks. The order and the words of the summary are SwarmKit's
(`manager/scheduler/filter.go`, `pipeline.go`); unlike there, every filter that turns a node down is named, not only
the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from cluster.model.ids import ServiceId
from cluster.model.objects import Node, NodeState, Service, Task
from cluster.model.placement_labels import NOTHING, Strategy, Wish
from cluster.model.specs import Availability, Platform, Resources
from manager.orchestrator import constraints
from manager.orchestrator.constraints import Constraint
from manager.scheduler import generic
from manager.scheduler.usage import HostPort, NodeUse, host_ports

NANO: Final = 1_000_000_000


class Ask(msgspec.Struct, frozen=True):
    """What the tasks of one group (service, spec version) ask of a node."""

    service_id: ServiceId
    spec_version: int
    reserve: Resources
    constraints: tuple[Constraint, ...]
    platforms: tuple[Platform, ...]
    ports: tuple[HostPort, ...]
    max_replicas: int
    spread: tuple[str, ...]
    sealed: Callable[[Node], str] | None = None  # of encrypted networks: scheduler/seals.py
    priority: int = 0
    pack: bool = False
    generic: tuple[tuple[str, int], ...] = ()  # (kind, how many)
    fits_anywhere: bool = False  # it asks for nothing that a node may run out of

    @property
    def load(self) -> Load:
        """What counts of a node's load for these tasks."""
        return Load(bool(self.reserve.nano_cpus), bool(self.reserve.memory_bytes))

    @property
    def static(self) -> Static:
        return Static(self.constraints, self.platforms)


class Load(msgspec.Struct, frozen=True):
    """Which of a node's resources tasks reserve, so that their node is chosen by what is left of those."""

    cpus: bool
    memory: bool

    def of(self, node: Node, use: NodeUse) -> int:
        """How much of the node is reserved, in thousandths, of the resource that is the scarcer; 0 when nothing counts."""
        have = node.description.resources
        cpus = use.cpus * 1000 // have.nano_cpus if self.cpus and have.nano_cpus else 0
        memory = use.memory * 1000 // have.memory_bytes if self.memory and have.memory_bytes else 0
        return max(cpus, memory)


class Static(msgspec.Struct, frozen=True):
    """The part of an Ask that only a change of the node's own attributes can affect: the key of a class of nodes."""

    constraints: tuple[Constraint, ...]
    platforms: tuple[Platform, ...]


def ask_of(task: Task, parsed: tuple[Constraint, ...], service: Service | None, wish: Wish = NOTHING) -> Ask:
    """What this task asks of a node; `parsed` are its constraints, `wish` what its service's labels say. Only replicated services limit replicas per
    node."""
    placement = task.spec.placement
    replicated = service is not None and task.slot > 0
    reserve = task.spec.reservations or _NOTHING
    ports, at_most = host_ports(task), placement.max_replicas if placement and replicated else 0
    return Ask(
        task.service_id,
        task.spec_version,
        reserve,
        parsed,
        placement.platforms if placement else (),
        ports,
        at_most,
        placement.spread if placement else (),
        priority=wish.priority,
        pack=wish.strategy is Strategy.PACK,
        generic=generic.sums(reserve.generic) if reserve.generic else (),
        fits_anywhere=not (ports or at_most or reserve.nano_cpus or reserve.memory_bytes or reserve.generic),
    )


def of_no_service(ask: Ask) -> Ask:
    """The same for several services of which no node has a task: how many a node may have of one limits none of them."""
    return msgspec.structs.replace(ask, service_id=ServiceId(""), max_replicas=0)


_NOTHING: Final = Resources()
PORT_TAKEN: Final = "host-mode port already in use"


def is_ready(node: Node) -> bool:
    """Whether the node takes new tasks."""
    return node.status.state is NodeState.READY and node.spec.availability is Availability.ACTIVE


def on_platform(platforms: tuple[Platform, ...], node: Node) -> bool:
    """Whether one of the platforms is the node's; an empty field fits any."""
    have = node.description.platform
    return not platforms or any(
        (not p.os or p.os.lower() == have.os.lower())
        and (
            not p.architecture
            or constraints.architecture(p.architecture) == constraints.architecture(have.architecture)
        )
        for p in platforms
    )


def suits(static: Static, node: Node) -> bool:
    """The filters that depend on the node's own attributes alone: ready, constraints, platform."""
    return (
        is_ready(node) and constraints.satisfied(static.constraints, node) and on_platform(static.platforms, node)
    )


def fits(ask: Ask, node: Node, use: NodeUse) -> bool:
    """The filters that depend on what the node carries: resources, host ports, replicas per node."""
    if ask.fits_anywhere:
        return True
    have = node.description.resources
    if ask.reserve.nano_cpus and use.cpus + ask.reserve.nano_cpus > have.nano_cpus:
        return False
    if ask.reserve.memory_bytes and use.memory + ask.reserve.memory_bytes > have.memory_bytes:
        return False
    if ask.generic and generic.lacking(ask.generic, have.generic, use.generic):
        return False
    if ask.ports and any(port in use.ports for port in ask.ports):
        return False
    if ask.sealed is not None and ask.sealed(node):
        return False
    return not ask.max_replicas or use.by_service.get(ask.service_id, 0) < ask.max_replicas


def _ready(ask: Ask, node: Node, use: NodeUse) -> str:
    if node.status.state is not NodeState.READY:
        return f"node is {node.status.state.value}"
    if node.spec.availability is not Availability.ACTIVE:
        return "node is drained" if node.spec.availability is Availability.DRAIN else "node is paused"
    return ""


def _resources(ask: Ask, node: Node, use: NodeUse) -> str:
    have, words = node.description.resources, []
    if ask.reserve.nano_cpus and use.cpus + ask.reserve.nano_cpus > have.nano_cpus:
        free = max(0, have.nano_cpus - use.cpus)
        words.append(
            f"CPUs: {ask.reserve.nano_cpus / NANO:g} asked, {free / NANO:g} of {have.nano_cpus / NANO:g} free"
        )
    if ask.reserve.memory_bytes and use.memory + ask.reserve.memory_bytes > have.memory_bytes:
        free = max(0, have.memory_bytes - use.memory)
        words.append(f"memory: {_size(ask.reserve.memory_bytes)} asked, {_size(free)} of {_size(have.memory_bytes)} free")
    words += generic.lacking(ask.generic, have.generic, use.generic)
    return f"insufficient resources ({'; '.join(words)})" if words else ""


def _size(count: float) -> str:
    """`64MiB`, as Docker's client writes sizes of memory."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024:
            return f"{count:.4g}{unit}"
        count /= 1024
    return f"{count:.4g}PiB"


def _constraints(ask: Ask, node: Node, use: NodeUse) -> str:
    return "; ".join(constraints.verdict(c, node) for c in ask.constraints if not constraints.matches(c, node))


def _platform(ask: Ask, node: Node, use: NodeUse) -> str:
    if on_platform(ask.platforms, node):
        return ""
    have = node.description.platform
    return f"unsupported platform (node has {have.os or '?'}/{have.architecture or '?'})"


def _host_ports(ask: Ask, node: Node, use: NodeUse) -> str:
    taken = [f"{number}/{protocol}" for protocol, number in ask.ports if (protocol, number) in use.ports]
    return f"host-mode port {', '.join(taken)} already in use" if taken else ""


def _max_replicas(ask: Ask, node: Node, use: NodeUse) -> str:
    have = use.by_service.get(ask.service_id, 0)
    return f"max replicas per node: {have} of {ask.max_replicas}" if 0 < ask.max_replicas <= have else ""


def _encryption(ask: Ask, node: Node, use: NodeUse) -> str:
    return ask.sealed(node) if ask.sealed is not None else ""


class Filter(msgspec.Struct, frozen=True):
    """`verdict` says in words why the node is turned down, empty when it is not; the phrases count nodes."""

    verdict: Callable[[Ask, Node, NodeUse], str]
    one: str
    many: str


FILTERS: Final = (
    Filter(_ready, "1 node not available for new tasks", "{} nodes not available for new tasks"),
    Filter(_resources, "insufficient resources on 1 node", "insufficient resources on {} nodes"),
    Filter(
        _constraints,
        "scheduling constraints not satisfied on 1 node",
        "scheduling constraints not satisfied on {} nodes",
    ),
    Filter(_platform, "unsupported platform on 1 node", "unsupported platform on {} nodes"),
    Filter(_host_ports, f"{PORT_TAKEN} on 1 node", f"{PORT_TAKEN} on {{}} nodes"),
    Filter(_max_replicas, "max replicas per node limit exceed", "max replicas per node limit exceed"),
    Filter(_encryption, "encrypted network cut off on 1 node", "encrypted network cut off on {} nodes"),
)


def verdicts(ask: Ask, node: Node, use: NodeUse) -> tuple[tuple[int, str], ...]:
    """Every filter that turns this node down: (position in FILTERS, words). Empty when the node is fine."""
    return tuple((i, words) for i, f in enumerate(FILTERS) if (words := f.verdict(ask, node, use)))


def summary(first: dict[int, int]) -> str:
    """Docker's sentence, from the number of nodes by the filter that turned them down first (most nodes first)."""
    parts = [
        FILTERS[i].one if n == 1 else FILTERS[i].many.format(n)
        for i, n in sorted(first.items(), key=lambda item: (-item[1], item[0]))
    ]
    return f"no suitable node ({'; '.join(parts)})" if parts else "no suitable node"
