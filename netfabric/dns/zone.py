"""What names mean to one container: the names of each network that it is on, and the pure answer to a question.

A Zone is a network's names by what contributes them (an endpoint, a service, a container), so that a change costs what that one thing costs. A name is
looked up network by network in the asker's order, the first that knows it answers; `name.network` asks that network alone. Names that a network knows
but that have no live address are denied here and never asked of anybody else, and so is the reverse of an address inside the network. Knows no socket
and no clock. Sources: moby libnetwork resolver.go, sandbox.go ResolveName; RFC 2782 (SRV).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeVar

from netfabric.dns import message
from netfabric.dns.message import Query, Rcode, Record

Held = TypeVar("Held")
TASKS: Final = "tasks."
WELL_KNOWN: Final = {"http": 80, "https": 443, "domain": 53, "ssh": 22, "smtp": 25, "ldap": 389, "postgresql": 5432, "mysql": 3306, "redis": 6379, "amqp": 5672}
"""Service names of RFC 6335's registry that `_name._proto` may use for a port that its service has not named."""
TTL_S: Final = 0
"""Names change with their tasks: whoever asks again gets what is so then."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port on which a service's tasks listen; `name` may be empty."""

    protocol: str
    number: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one thing gives to its network. Names in lower case, addresses plain. `names`: name -> addresses, also names that have none just now.
    `reverse`: address -> name. `ports` hold for all of its names."""

    names: tuple[tuple[str, tuple[str, ...]], ...] = ()
    reverse: tuple[tuple[str, str], ...] = ()
    ports: tuple[Port, ...] = ()

    def common(self, other: Contribution) -> Contribution:
        """What both give: neither a name nor an address that one of them has not."""
        theirs = dict(other.names)
        names = tuple((name, tuple(a for a in addresses if a in theirs[name])) for name, addresses in self.names if name in theirs)
        return Contribution(names, tuple(pair for pair in self.reverse if pair in other.reverse), self.ports)


NOTHING: Final = Contribution()


class Zone:
    """The names of one network."""

    def __init__(self, name: str = "", subnets: Sequence[str] = ()) -> None:
        self.describe(name, subnets)
        self._given: dict[str, Contribution] = {}
        self._names: dict[str, dict[str, tuple[str, ...]]] = {}
        self._reverse: dict[str, dict[str, str]] = {}

    def describe(self, name: str, subnets: Sequence[str]) -> None:
        """The network's own name and its subnets (CIDR)."""
        self.name = name.lower()
        self._subnets = tuple(ipaddress.ip_network(subnet) for subnet in subnets)

    @property
    def empty(self) -> bool:
        return not self._given

    def sources(self) -> tuple[str, ...]:
        return tuple(self._given)

    def given(self, source: str) -> Contribution:
        return self._given.get(source, NOTHING)

    def put(self, source: str, contribution: Contribution) -> None:
        """What `source` gives from now on, in place of what it gave before."""
        before = self._given.pop(source, NOTHING)
        for name, _ in before.names:
            _take_out(self._names, name, source)
        for address, _ in before.reverse:
            _take_out(self._reverse, address, source)
        if contribution == NOTHING:
            return
        self._given[source] = contribution
        for name, addresses in contribution.names:
            self._names.setdefault(name, {})[source] = addresses
        for address, name in contribution.reverse:
            self._reverse.setdefault(address, {})[source] = name

    def addresses(self, name: str) -> tuple[str, ...] | None:
        """None: a name that this network does not have; empty: one that has no live address now."""
        found = self._names.get(name)
        if found is None:
            return None
        return tuple(dict.fromkeys(address for addresses in found.values() for address in addresses))

    def name_of(self, address: str) -> str | None:
        """None: not this network's; "": an address of its subnets without a name."""
        if found := self._reverse.get(address):
            return next(iter(found.values()))
        if not self._subnets:
            return None
        parsed = ipaddress.ip_address(address)
        return "" if any(parsed in subnet for subnet in self._subnets) else None

    def ports(self, name: str) -> tuple[Port, ...]:
        return tuple(port for source in self._names.get(name, ()) for port in self._given[source].ports)


def _take_out(table: dict[str, dict[str, Held]], key: str, source: str) -> None:
    entries = table.get(key)
    if entries is not None:
        entries.pop(source, None)
        if not entries:
            del table[key]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: the zones that it shares, in the order in which they are searched. `dotless_stay`: single names that nobody here knows are not asked
    elsewhere (the user has set ndots above 0)."""

    zones: tuple[Zone, ...]
    dotless_stay: bool = False
    links: tuple[tuple[Zone, str, str], ...] = ()  # (zone, alias, name): what only this one calls others, each on one of its networks


@dataclass(frozen=True, slots=True)
class Forward:
    """Not ours to answer."""


FORWARD: Final = Forward()


@dataclass(frozen=True, slots=True)
class Answer:
    rcode: Rcode = Rcode.NOERROR
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = field(default=())


def answer(asker: Asker, query: Query, random: Random) -> Answer | Forward:
    """What the container is told. Several addresses come in a random order, so that clients spread."""
    if query.klass not in (message.IN, message.ANY) or not query.name:
        return FORWARD
    if address := message.reversed_address(query.name):
        return _reverse(asker, query, address)
    if query.name.startswith("_") and (found := _service(asker, query, random)) is not None:
        return found
    addresses = _addresses(_linked_places(asker, query.name))
    if addresses is None:
        addresses = _addresses(_places(asker, query.name))
    if addresses is not None:
        if not addresses:
            return Answer(Rcode.NXDOMAIN)
        return Answer(records=tuple(r for r in _shuffled(addresses, random) if query.kind in (r.kind, message.ANY)))
    if asker.dotless_stay and "." not in query.name and query.kind in (message.A, message.AAAA):
        return Answer()
    return FORWARD


def _shuffled(addresses: Sequence[str], random: Random) -> Iterator[Record]:
    order = list(addresses)
    if len(order) > 1:
        random.shuffle(order)
    return map(message.address_record, order)


def _places(asker: Asker, name: str) -> Iterator[tuple[Zone, str]]:
    """Where to look for what: the whole name in every network, then `name.network` in that one."""
    for zone in asker.zones:
        yield zone, name
    at = name.rfind(".")
    while at > 0:
        for zone in asker.zones:
            if zone.name == name[at + 1 :]:
                yield zone, name[:at]
        at = name.rfind(".", 0, at)


def _linked_places(asker: Asker, name: str) -> Iterator[tuple[Zone, str]]:
    """The same of an alias: what it stands for, in the network of which it is an alias."""
    for zone, inner in _places(asker, name):
        yield from ((zone, target) for linked, alias, target in asker.links if linked is zone and alias == inner)


def _addresses(places: Iterable[tuple[Zone, str]]) -> tuple[str, ...] | None:
    """None: nobody knows the name. A network where it has live addresses goes before one where it has none."""
    known = None
    for zone, inner in places:
        addresses = zone.addresses(inner)
        if addresses:
            return addresses
        known = addresses if addresses is not None else known
    return known


def _reverse(asker: Asker, query: Query, address: str) -> Answer | Forward:
    if ipaddress.ip_address(address).is_loopback:
        return Answer(records=(message.pointer_record("localhost"),) if query.kind in (message.PTR, message.ANY) else ())
    for zone in asker.zones:
        name = zone.name_of(address)
        if name:
            full = f"{name}.{zone.name}"
            return Answer(records=(message.pointer_record(full),) if query.kind in (message.PTR, message.ANY) else ())
        if name is not None:
            return Answer(Rcode.NXDOMAIN)
    return FORWARD


def _service(asker: Asker, query: Query, random: Random) -> Answer | None:
    """`_port._proto.NAME`: a record for each endpoint of NAME whose service has that port. `port` is the port's own name, its number, or a well-known
    service name; the target is NAME itself where it stands for one endpoint (which may have an address of each family), else each task by its own name.
    None when NAME is not ours."""
    port, _, rest = query.name.partition(".")
    protocol, _, name = rest.partition(".")
    if not protocol.startswith("_") or not name:
        return None
    for zone, inner in _places(asker, name):
        addresses = zone.addresses(inner)
        if not addresses:
            continue
        numbers = [p.number for p in zone.ports(inner) if p.protocol == protocol[1:] and _is_port(p, port[1:])]
        if not numbers:
            return Answer(Rcode.NXDOMAIN)
        if query.kind not in (message.SRV, message.ANY):
            return Answer()
        order = list(addresses)
        random.shuffle(order)
        several = len({zone.name_of(a) for a in order}) > 1
        targets = [(f"{zone.name_of(a)}.{zone.name}" if several and zone.name_of(a) else name, a) for a in order]
        records = tuple(message.service_record(number, target) for number in dict.fromkeys(numbers) for target in dict.fromkeys(t for t, _ in targets))
        return Answer(records=records, additional=tuple(message.address_record(a, target) for target, a in targets))
    return None


def _is_port(port: Port, asked: str) -> bool:
    if port.name:
        return port.name.lower() == asked or str(port.number) == asked
    return asked == str(port.number) or WELL_KNOWN.get(asked) == port.number
