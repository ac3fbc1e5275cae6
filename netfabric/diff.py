"""desired - observed -> ordered operations. Pure.

Order: new namespaces with their sysctls and rules; what goes, entries before links; links, then what stands on
them; rules and services of what exists; namespaces that go. A link that must be made anew takes with it what stood
on it, so that it is put again. diff(x, x) is empty, and diff(a, b) followed by diff(b, c) ends where diff(a, c)
does (tests/property). A sysctl that is no longer wanted keeps its value: nobody knows what it was before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import TypeVar

from netfabric.alike import alike
from netfabric.firewall import nftables
from netfabric.state import (
    NODE,
    Address,
    Association,
    Connected,
    Forwarding,
    Guard,
    HeldPort,
    Link,
    LinkKind,
    Namespace,
    Neighbour,
    Policy,
    RealServer,
    ReturnPath,
    Route,
    State,
    Sysctl,
    Target,
    Timeouts,
    VirtualService,
    is_of_link,
    link_of,
)

Entry = TypeVar("Entry", Neighbour, Forwarding)
Item = (
    Link | Address | Connected | Route | ReturnPath | Neighbour | Forwarding | Sysctl | VirtualService | RealServer | Timeouts | Target
    | HeldPort | Association | Policy | Guard
)


@dataclass(frozen=True, slots=True)
class CreateNamespace:
    """`links` are the names of the PEER links that it will get, in their order."""

    namespace: str
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoveNamespace:
    namespace: str


@dataclass(frozen=True, slots=True)
class Put:
    """Makes the item. A PEER link was made by its other end: it is set up."""

    namespace: str
    item: Item


@dataclass(frozen=True, slots=True)
class Change:
    """Makes a link, real server or virtual service that exists what `item` says. `before` is of the same type and
    identity.
    """

    namespace: str
    before: Link | RealServer | VirtualService | Guard
    item: Link | RealServer | VirtualService | Guard


@dataclass(frozen=True, slots=True)
class Drop:
    namespace: str
    item: Item


@dataclass(frozen=True, slots=True)
class Transact:
    """One nftables transaction. Where it does no more than give the chains of some services, in the table of this `family`, other servers, those are
    `repicked`.
    """

    namespace: str
    commands: str
    repicked: tuple[nftables.Chain, ...] = ()
    family: str = ""


Operation = CreateNamespace | RemoveNamespace | Put | Change | Drop | Transact
Operations = tuple[Operation, ...]

_MAKE_NAMESPACE, _MAKE_SYSCTL, _MAKE_RULES, _DROP, _DROP_LINK, _MAKE_LINK, _CONFIGURE, _LATE, _REMOVE_NAMESPACE = range(9)
_LINK_RANK = {LinkKind.BRIDGE: 0, LinkKind.VXLAN: 1, LinkKind.VETH: 2}
_CONFIGURED = (Link, Address, Connected, Route, ReturnPath, Neighbour, Forwarding, Sysctl)
_LATE_RANK: dict[type, int] = {Timeouts: 0, VirtualService: 1, RealServer: 2, HeldPort: 3}


def diff(desired: State, observed: State) -> Operations:
    """The operations that turn `observed` into `desired`, in the order in which they have to be carried out."""
    lost = _lost_links(desired, observed)
    operations: list[tuple[tuple[int, int, str, int], Operation]] = []

    def at(phase: int, rank: int, namespace: str, operation: Operation) -> None:
        operations.append(((phase, rank, namespace, len(operations)), operation))

    for name, wanted in desired.items():
        before = observed.get(name)
        if before is wanted and name not in lost:
            continue
        losses = lost.get(name, frozenset())
        if before is None and name != NODE:
            at(_MAKE_NAMESPACE, 0, name, CreateNamespace(name, tuple(link.name for link in wanted.links if link.kind is LinkKind.PEER)))
        for operation in _namespace(name, wanted, before or Namespace(), losses):
            phase, rank = _place(operation, existed=before is not None)
            at(phase, rank, name, operation)
    for name, before in observed.items():
        if name not in desired:
            for link in before.links:
                if link.kind not in {LinkKind.PEER, LinkKind.LOOPBACK}:
                    at(_DROP_LINK, 0, name, Drop(name, link))
            if name != NODE:
                at(_REMOVE_NAMESPACE, 0, name, RemoveNamespace(name))
    operations.sort(key=lambda pair: pair[0])
    return tuple(operation for _, operation in operations)


def _place(operation: Operation, *, existed: bool) -> tuple[int, int]:
    """The phase of an operation within a namespace, and its rank in the phase."""
    match operation:
        case Put(item=Guard() | Association() | Policy()):
            return _MAKE_RULES, 1
        case Change(item=Guard()) | Drop(item=Guard() | Association() | Policy()):
            return _LATE, 5
        case Transact():
            return (_LATE, 0) if existed else (_MAKE_RULES, 0)
        case Drop(item=HeldPort()):
            return _DROP, 0
        case Drop(item=VirtualService()):
            return _LATE, 4
        case Drop(item=RealServer() | Target()):
            return _LATE, 3
        case Drop(item=Link()):
            return _DROP_LINK, 0
        case Drop():
            return _DROP, 0
        case Put(item=Sysctl(key=key)) if not is_of_link(key):
            return _MAKE_SYSCTL, 0
        case Put(item=Link(kind=kind)) | Change(item=Link(kind=kind)) if kind in _LINK_RANK:
            return _MAKE_LINK, _LINK_RANK[kind]
        case Put(item=item) | Change(item=item) if isinstance(item, _CONFIGURED):
            return _CONFIGURE, 0
        case Put(item=item) | Change(item=item):
            return _LATE, _LATE_RANK[type(item)]
        case CreateNamespace() | RemoveNamespace():
            raise AssertionError(operation)


def _same_link(wanted: Link, seen: Link) -> bool:
    """Whether one can become the other without being made anew."""
    return (wanted.kind, wanted.peer, wanted.vni, wanted.port) == (seen.kind, seen.peer, seen.vni, seen.port)


def _lost_links(desired: State, observed: State) -> dict[str, frozenset[str]]:
    """The names of observed links, by namespace, that will not survive: they go, or are made anew, or their other
    end does.
    """
    lost: dict[str, set[str]] = {}
    broken_peers: set[tuple[str, str]] = {(name, "") for name in desired if name not in observed}
    for name, before in observed.items():
        wanted = desired.get(name)
        if before is wanted:
            continue
        old, new = _apart(before.links, wanted.links if wanted is not None else ())
        links, seen = {link.name: link for link in new}, {link.name for link in old}
        going = {s.name for s in old if (link := links.get(s.name)) is not s and not (link is not None and _same_link(link, s))}
        if going:
            lost[name] = going
            broken_peers |= {(name, link) for link in going}
        broken_peers |= {(name, link.name) for link in new if link.name not in seen and link.kind is LinkKind.PEER}
    for name, before in observed.items() if broken_peers else ():
        for link in before.links if not before.shared else ():  # a container's has no first ends of pairs
            if link.kind is LinkKind.VETH and link.peer is not None:
                end = link.peer
                if (end.namespace, end.link) in broken_peers or (end.namespace, "") in broken_peers:
                    lost.setdefault(name, set()).add(link.name)
    for name, names in tuple(lost.items()):  # the other ends of what is lost
        for link in observed[name].links:
            if link.peer is not None and link.name in names:
                lost.setdefault(link.peer.namespace, set()).add(link.peer.link)
    return {name: frozenset(names) for name, names in lost.items() if names}


def _apart(before: tuple[Link, ...], wanted: tuple[Link, ...]) -> tuple[tuple[Link, ...], tuple[Link, ...]]:
    """What of either is not the same at both ends: of hundreds of links most are."""
    if before is wanted:
        return (), ()
    first, last = alike(before, wanted)
    return before[first : len(before) - last], wanted[first : len(wanted) - last]


def _namespace(name: str, wanted: Namespace, before: Namespace, lost: frozenset[str]) -> Iterator[Operation]:
    """The operations within one namespace, in order of making; drops of what stands on lost links are left out."""
    old_links, new_links = (before.links, wanted.links) if lost else _apart(before.links, wanted.links)
    seen = {link.name: link for link in old_links}
    for link in old_links:
        if link.name in lost and link.kind is not LinkKind.PEER:
            yield Drop(name, link)
    for link in new_links:
        if link.name not in seen or link.name in lost:
            yield Put(name, link)
        else:
            old = seen[link.name]
            if old is not link and old != link:
                yield Change(name, old, link)
    yield from _standing(name, wanted.addresses, tuple(a for a in before.addresses if a.link not in lost) if lost else before.addresses)
    yield from (Put(name, one) for one in before.severed if one.link not in lost)
    yield from _standing(name, wanted.routes, tuple(r for r in before.routes if r.link not in lost) if lost else before.routes)
    yield from (Drop(name, path) for path in sorted(before.returns - wanted.returns, key=repr))  # its rule outlives its link
    kept_returns = {path for path in before.returns if path.link not in lost}
    yield from (Put(name, path) for path in sorted(wanted.returns - kept_returns, key=repr))
    yield from _entries(name, wanted.neighbours, before.neighbours, lost)
    yield from _entries(name, wanted.forwarding, before.forwarding, lost)
    known = {s.key: s.value for s in before.sysctls if not is_of_link(s.key) or link_of(s.key) not in lost}
    yield from (Put(name, sysctl) for sysctl in wanted.sysctls if known.get(sysctl.key) != sysctl.value)
    tables, old_tables = ({(t.family, t.name): t for t in some.tables} for some in (wanted, before))
    for table in sorted(tables.keys() | old_tables.keys()):
        was, becomes = old_tables.get(table), tables.get(table)
        if was is not None and becomes is not None and (repicked := nftables.repicked(was, becomes)):
            yield Transact(name, nftables.refilled(becomes, repicked), repicked, becomes.family)
        elif commands := nftables.changes(was, becomes):
            yield Transact(name, commands)
    if wanted.timeouts is not None and wanted.timeouts != before.timeouts:
        yield Put(name, wanted.timeouts)
    yield from _balanced(name, wanted, before)
    yield from (Drop(name, target) for target in sorted(before.targets - wanted.targets, key=repr))
    yield from _standing(name, sorted(wanted.ports, key=repr), sorted(before.ports, key=repr))
    yield from _encrypted(name, wanted, before)


def _encrypted(name: str, wanted: Namespace, before: Namespace) -> Iterator[Operation]:
    """Guards and keys are there before anything can be sent, and stay until nothing can be sent any more."""
    if wanted.guard is None:
        if before.guard is not None:
            yield Drop(name, before.guard)
    elif wanted.guard != before.guard:
        both = wanted.guard
        if before.guard is not None:
            both = Guard(wanted.guard.port, wanted.guard.esp, wanted.guard.identifiers | before.guard.identifiers)
        yield Put(name, both)
        if before.guard is not None and both != wanted.guard:
            yield Change(name, before.guard, wanted.guard)
    yield from (Put(name, one) for one in sorted(wanted.associations - before.associations, key=repr))
    replaced = {(one.source, one.destination) for one in wanted.policies}
    yield from (Put(name, one) for one in sorted(wanted.policies - before.policies, key=repr))
    gone = (one for one in before.policies - wanted.policies if (one.source, one.destination) not in replaced)
    yield from (Drop(name, one) for one in sorted(gone, key=repr))
    yield from (Drop(name, one) for one in sorted(before.associations - wanted.associations, key=repr))


def _standing(name: str, wanted: Sequence[Item], before: Sequence[Item]) -> Iterator[Operation]:
    """Items that are made in order and gone in the opposite one."""
    if wanted == before:
        return
    kept = set(wanted)
    yield from (Drop(name, item) for item in reversed(before) if item not in kept)
    there = set(before)
    yield from (Put(name, item) for item in wanted if item not in there)


def _entries(name: str, wanted: Set[Entry], before: Set[Entry], lost: frozenset[str]) -> Iterator[Operation]:
    """Neighbours and forwarding entries: putting one replaces what is there for the same key, without a gap."""
    if wanted is before and not lost:
        return
    there = frozenset(entry for entry in before if entry.link not in lost) if lost else before
    added = sorted(wanted - there, key=repr)
    replaced = {_entry_key(entry) for entry in added}
    gone = sorted((entry for entry in there - wanted if _entry_key(entry) not in replaced), key=repr)
    yield from (Drop(name, entry) for entry in gone)
    yield from (Put(name, entry) for entry in added)


def _entry_key(entry: Entry) -> tuple[str, str, bool]:
    if isinstance(entry, Neighbour):
        return entry.link, entry.address, False
    return entry.link, entry.mac, bool(entry.vtep)


def _balanced(name: str, wanted: Namespace, before: Namespace) -> Iterator[Operation]:
    """IPVS: services before their servers; servers go with their service."""
    come, gone = ({(s.mark, s.address): s for s in sorted(some, key=repr)} for some in (wanted.servers - before.servers, before.servers - wanted.servers))
    if wanted.services is before.services and not come and not gone:
        return
    services, old_services = ({(s.mark, s.ipv6): s for s in some.services} for some in (wanted, before))
    for which, service in services.items():
        if which not in old_services:
            yield Put(name, service)
        elif old_services[which] != service:
            yield Change(name, old_services[which], service)
    for key, server in come.items():
        yield Change(name, gone[key], server) if key in gone else Put(name, server)
    for key, server in gone.items():
        if key not in come and (server.mark, ":" in server.address) in services:
            yield Drop(name, server)
    yield from (Drop(name, service) for which, service in old_services.items() if which not in services)


def described(operation: Operation) -> str:
    """One line for a person: what is missing, different or too much."""
    match operation:
        case CreateNamespace():
            return "missing: the namespace"
        case RemoveNamespace():
            return "too much: the namespace"
        case Transact(commands=commands):
            return "rules: " + "; ".join(commands.split("\n")).strip("; ")
        case Change(before=before, item=item):
            changed = (n for n in before.__dataclass_fields__ if getattr(before, n) != getattr(item, n, None))
            return f"different: {_named(item)}: " + ", ".join(f"{n} is {getattr(before, n)!r}, not {getattr(item, n)!r}" for n in changed)
        case Put(item=item):
            return f"missing: {_named(item)}"
        case Drop(item=item):
            return f"too much: {_named(item)}"


def _named(item: Item) -> str:
    said = (f"{n}={getattr(item, n)}" for n in item.__dataclass_fields__ if isinstance(getattr(item, n), str | int) and getattr(item, n) not in ("", False, 0))
    return f"{type(item).__name__.lower()} " + " ".join(said)
