"""A kernel in a dictionary: carries out a diff's operations with the kernel's own strictness, for tests of plan and
diff.

Deleting a link takes its other end and all that stands on both; a port needs its bridge; a rule may only jump to
chains that are there, and a chain that something refers to can't be deleted. Whoever breaks a rule gets an
AssertionError that names the operation.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field

from netfabric.diff import Change, CreateNamespace, Drop, Operation, Put, RemoveNamespace, Transact
from netfabric.firewall.nftables import Chain, Map, Table
from netfabric.state import (
    NODE,
    Address,
    Forwarding,
    HeldPort,
    Link,
    LinkKind,
    Namespace,
    Neighbour,
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

_REFERENCE = re.compile(r"(?:jump|goto) ([\w.-]+)")
_MAP_REFERENCE = re.compile(r"@(?!ll,)([\w.-]+)")


@dataclass
class ModelTable:
    chains: dict[str, Chain] = field(default_factory=dict)
    maps: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)

    def run(self, verb: str, what: str, rest: str) -> None:
        name, _, text = rest.partition(" ")
        text = text.strip()
        match verb, what:
            case "add", "chain":
                assert name not in self.chains, f"chain {name} exists"
                self.chains[name] = Chain(name, (), text.strip("{} "))
            case "flush", "chain":
                self.chains[name] = dataclasses.replace(self.chains[name], rules=())
            case "delete", "chain":
                assert not self.chains[name].rules, f"chain {name} has rules"
                assert name not in self.references(), f"chain {name} is referred to"
                del self.chains[name]
            case "add", "rule":
                chain = self.chains[name]
                missing = set(_REFERENCE.findall(text)) - set(self.chains)
                assert not missing, f"{text}: no chain {missing}"
                assert set(_MAP_REFERENCE.findall(text)) <= set(self.maps), text
                self.chains[name] = dataclasses.replace(chain, rules=(*chain.rules, text))
            case "add", "map":
                assert name not in self.maps
                self.maps[name] = (text.strip("{} "), {})
            case "flush", "map":
                self.maps[name][1].clear()
            case "delete", "map":
                assert not any(f"@{name}" in rule for chain in self.chains.values() for rule in chain.rules), name
                del self.maps[name]
            case "add", "element":
                for pair in text.strip("{} ").split(", "):
                    key, _, value = pair.partition(" : ")
                    assert set(_REFERENCE.findall(value)) <= set(self.chains), pair
                    assert self.maps[name][1].get(key, value) == value, f"element {key} exists"
                    self.maps[name][1][key] = value
            case "delete", "element":
                for key in text.strip("{} ").split(", "):
                    del self.maps[name][1][key]
            case _:
                raise AssertionError(f"{verb} {what} {rest}")

    def references(self) -> set[str]:
        texts = [rule for chain in self.chains.values() for rule in chain.rules]
        texts += [value for _, elements in self.maps.values() for value in elements.values()]
        return {name for text in texts for name in _REFERENCE.findall(text)}

    def table(self, name: str) -> Table:
        maps = tuple(Map(n, kind, frozenset(elements.items())) for n, (kind, elements) in self.maps.items())
        return Table(name, tuple(self.chains.values()), maps)


@dataclass
class ModelNamespace:
    links: dict[str, Link] = field(default_factory=dict)
    addresses: set[Address] = field(default_factory=set)
    routes: set[Route] = field(default_factory=set)
    neighbours: dict[tuple[str, str], Neighbour] = field(default_factory=dict)
    forwarding: dict[tuple[str, str, bool], Forwarding] = field(default_factory=dict)
    sysctls: dict[str, Sysctl] = field(default_factory=dict)
    tables: dict[str, ModelTable] = field(default_factory=dict)
    services: dict[int, VirtualService] = field(default_factory=dict)
    servers: dict[tuple[int, str], RealServer] = field(default_factory=dict)
    returns: dict[str, ReturnPath] = field(default_factory=dict)
    timeouts: Timeouts | None = None
    ports: set[HeldPort] = field(default_factory=set)
    forgotten: list[str] = field(default_factory=list)

    def lose(self, link: str) -> None:
        del self.links[link]
        self.addresses = {a for a in self.addresses if a.link != link}
        self.routes = {r for r in self.routes if r.link != link}
        for gateway, path in self.returns.items():  # the rule stays, its route goes
            if path.link == link:
                self.returns[gateway] = ReturnPath("", gateway, whole=False)
        self.neighbours = {k: n for k, n in self.neighbours.items() if n.link != link}
        self.forwarding = {k: f for k, f in self.forwarding.items() if f.link != link}
        self.sysctls = {k: s for k, s in self.sysctls.items() if not is_of_link(k) or link_of(k) != link}
        for name, port in self.links.items():
            if port.master == link:
                self.links[name] = dataclasses.replace(port, master="")

    def run(self, commands: str) -> None:
        for line in commands.splitlines():
            verb, what, _family, name, *rest = line.split(" ", 4)
            if what == "table":
                if verb == "add":
                    self.tables.setdefault(name, ModelTable())
                else:
                    del self.tables[name]
            else:
                self.tables[name].run(verb, what, rest[0])


class ModelKernel:
    """Starts with the node's own namespace, empty."""

    def __init__(self) -> None:
        self.namespaces = {NODE: ModelNamespace()}

    def carry_out(self, operations: tuple[Operation, ...]) -> None:
        for operation in operations:
            try:
                self._one(operation)
            except (KeyError, AssertionError) as error:
                raise AssertionError(f"{operation}: {error!r}") from error

    def _one(self, operation: Operation) -> None:
        name = operation.namespace
        if isinstance(operation, CreateNamespace):
            assert name not in self.namespaces
            self.namespaces[name] = ModelNamespace()
        elif isinstance(operation, RemoveNamespace):
            gone = self.namespaces.pop(name)
            assert all(link.kind is LinkKind.LOOPBACK for link in gone.links.values()), "links are left"
        elif isinstance(operation, Transact):
            self.namespaces[name].run(operation.commands)
        elif isinstance(operation, Drop):
            self._drop(self.namespaces[name], operation)
        else:
            self._put(self.namespaces[name], operation)

    def _drop(self, there: ModelNamespace, operation: Drop) -> None:
        match operation.item:
            case Link(name=link):
                other = there.links[link].peer
                there.lose(link)
                if other is not None:
                    self.namespaces[other.namespace].lose(other.link)
            case Address() as address:
                there.addresses.remove(address)
            case Route() as route:
                there.routes.remove(route)
            case ReturnPath(gateway=gateway):
                del there.returns[gateway]
            case Neighbour() as one:
                del there.neighbours[one.link, one.address]
            case Forwarding() as one:
                del there.forwarding[one.link, one.mac, bool(one.vtep)]
            case VirtualService(mark=mark):
                del there.services[mark]
                there.servers = {k: s for k, s in there.servers.items() if k[0] != mark}
            case RealServer() as server:
                del there.servers[server.mark, server.address]
            case HeldPort() as port:
                there.ports.remove(port)
            case Target() as target:
                there.forgotten.append(target.address)

    def _put(self, there: ModelNamespace, operation: Put | Change) -> None:
        match operation.item:
            case Link() as link:
                self._link(there, operation, link)
            case Address() as address:
                assert address.link in there.links
                assert address not in there.addresses
                there.addresses.add(address)
            case Route() as route:
                assert there.links[route.link].up, "network is down"
                assert route not in there.routes
                there.routes.add(route)
            case ReturnPath() as path:
                assert there.links[path.link].up, "network is down"
                assert path.gateway not in there.returns or not there.returns[path.gateway].whole
                there.returns[path.gateway] = path
            case Timeouts() as timeouts:
                there.timeouts = timeouts
            case Neighbour() as one:
                assert one.link in there.links
                there.neighbours[one.link, one.address] = one
            case Forwarding() as one:
                assert there.links[one.link].master or one.vtep, "no bridge"
                there.forwarding[one.link, one.mac, bool(one.vtep)] = one
            case Sysctl() as sysctl:
                assert not is_of_link(sysctl.key) or link_of(sysctl.key) in there.links
                there.sysctls[sysctl.key] = sysctl
            case VirtualService() as service:
                assert (service.mark in there.services) == isinstance(operation, Change)
                there.services[service.mark] = service
            case RealServer() as server:
                assert server.mark in there.services
                key = (server.mark, server.address)
                assert (key in there.servers) == isinstance(operation, Change)
                there.servers[key] = server
            case HeldPort() as port:
                assert port not in there.ports
                there.ports.add(port)

    def _link(self, there: ModelNamespace, operation: Put | Change, link: Link) -> None:
        if isinstance(operation, Change):
            assert link.name in there.links
        elif link.kind is LinkKind.PEER:
            assert there.links[link.name] == dataclasses.replace(link, up=False), there.links[link.name]
        else:
            assert link.name not in there.links
        assert not link.master or there.links[link.master].kind is LinkKind.BRIDGE
        there.links[link.name] = link
        if link.peer is not None and isinstance(operation, Put):
            other = self.namespaces[link.peer.namespace]
            assert link.peer.link not in other.links
            peer = Link(link.peer.link, LinkKind.PEER, mtu=link.mtu, mac=link.peer.mac, up=False)
            other.links[peer.name] = peer

    def state(self) -> State:
        """What an observation would give."""
        return {
            name: Namespace(
                links=tuple(one.links.values()),
                addresses=tuple(one.addresses),
                routes=tuple(one.routes),
                returns=frozenset(one.returns.values()),
                timeouts=one.timeouts,
                neighbours=frozenset(one.neighbours.values()),
                forwarding=frozenset(one.forwarding.values()),
                sysctls=tuple(one.sysctls.values()),
                tables=tuple(table.table(key) for key, table in one.tables.items()),
                services=tuple(one.services.values()),
                servers=frozenset(one.servers.values()),
                ports=frozenset(one.ports),
            )
            for name, one in self.namespaces.items()
        }


def unordered(state: State) -> dict[str, dict[str, object]]:
    """A state for comparison: without the order of making, and with sysctls only where they are wanted on both
    sides.
    """
    return {
        name: {
            "links": frozenset(one.links),
            "addresses": frozenset(one.addresses),
            "routes": frozenset(one.routes),
            "returns": one.returns,
            "neighbours": one.neighbours,
            "forwarding": one.forwarding,
            "tables": {t.name: (frozenset(t.chains), frozenset(t.maps)) for t in one.tables},
            "services": frozenset(one.services),
            "servers": one.servers,
            "ports": one.ports,
        }
        for name, one in state.items()
    }
