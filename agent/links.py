"""Docker's legacy links of the default bridge: a container that knows another one under an alias, by a line in /etc/hosts and by variables. Pure.

On a user's network a link is only an alias that its container alone can ask for (agent/name_service.py). Source: moby's daemon/links/links.go,
opts/link (ParseLink), daemon/container_operations_unix.go (setupLinkedContainers) for the rules and their sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.records import HostConfig, Record
from cluster.model.errors import Internal, InvalidArgument, NotFound

NOT_HERE: Final = "conflicting options: {} can't be used with links. This would result in undefined behavior"
LEGACY: Final = ("", "default", "bridge")
NOT_PASSED_ON: Final = frozenset({"HOME", "PATH"})
LIVE: Final = frozenset({"running", "paused"})
SHARED: Final = "container:"


@dataclass(frozen=True, slots=True)
class Link:
    """`name`: as Docker keeps it, "/parent/alias"."""

    alias: str
    name: str
    child: Record

    @property
    def address(self) -> str:
        """The child's on the default bridge; empty while it has none."""
        return next((a.address.partition("/")[0] for a in self.child.attachments if a.network_name == "bridge"), "")


def carrier(record: Record, find: Callable[[str], Record]) -> Record:
    """Whose network a container has: its own, or that of the container at the end of a row of those that share. Raises what `find` raises."""
    seen = {record.id}
    while record.host.network_mode.startswith(SHARED):
        record = find(record.host.network_mode.removeprefix(SHARED))
        if record.id in seen:
            break  # they wait for each other, and none of them can start
        seen.add(record.id)
    return record


def split(text: str) -> tuple[str, str]:
    """"db:alias" -> (container, alias); an alias that is left out is the container's name."""
    name, _, alias = text.partition(":")
    name = name.removeprefix("/")
    return name, alias.rpartition("/")[2] or name


def resolved(host: HostConfig, find: Callable[[str], Record]) -> tuple[tuple[str, str], ...]:
    """The links that a new container keeps: (id of the container whose network it is, alias). Those of a user's network are its endpoint's. Raises
    InvalidArgument."""
    if not host.links:
        return ()
    if host.network_mode == "host":
        raise InvalidArgument(NOT_HERE.format("host type networking"))
    if host.network_mode.startswith(SHARED):
        raise InvalidArgument(NOT_HERE.format("container type network"))
    if host.network_mode not in (*LEGACY, "none"):
        return ()
    found: dict[str, str] = {}
    for name, alias in host.links:
        if not name:
            raise InvalidArgument('could not get container for : invalid name or ID supplied: ""')
        try:
            child = carrier(find(name), find)
        except NotFound as error:
            raise InvalidArgument(f"could not get container for {name}: {error.message}") from error
        if child.host.network_mode == "host":
            raise InvalidArgument(NOT_HERE.format("host type networking"))
        found.setdefault(alias, child.id)  # of two with one alias the first counts
    return tuple((container_id, alias) for alias, container_id in found.items())


def of(record: Record, get: Callable[[str], Record | None]) -> tuple[Link, ...]:
    """Its links to containers that are still there."""
    pairs = ((get(container_id), alias) for container_id, alias in record.host.links if record.host.network_mode in LEGACY)
    return tuple(Link(alias, f"/{record.name}/{alias}", child) for child, alias in pairs if child is not None)


def check_live(record: Record, links: Iterable[Link]) -> None:
    """Raises Internal for one whose container does not run."""
    for link in links:
        if link.child.state.status not in LIVE:
            raise Internal(f"Cannot link to a non running container: /{link.child.name} AS {link.name}")
        if not link.address:
            raise Internal(f"Cannot link to /{link.child.name}, as it does not belong to the default network")


def hosts_lines(links: Iterable[Link]) -> tuple[str, ...]:
    """For /etc/hosts."""
    return tuple(f"{link.address}\t{' '.join(_called(link))}" for link in links if link.address)


def _called(link: Link) -> tuple[str, ...]:
    """The child's own name is not said twice."""
    names = (link.alias, link.child.config.hostname)
    return names if link.alias == link.child.name else (*names, link.child.name)


def environment(links: Iterable[Link]) -> tuple[str, ...]:
    """What a container is told of those that it is linked to."""
    return tuple(line for link in links for line in _told(link))


def _told(link: Link) -> Iterator[str]:
    prefix = link.alias.upper().replace("-", "_")
    ports = sorted(((int(n), p or "tcp") for n, _, p in (text.partition("/") for text in link.child.config.exposed_ports)), key=lambda p: (p[0], p[1] != "tcp"))
    for number, protocol in ports[:1]:
        yield f"{prefix}_PORT={protocol}://{link.address}:{number}"
    for first, last in _runs(ports):
        yield from _range(prefix, link.address, first, last)
    for number, protocol in ports:
        name = f"{prefix}_PORT_{number}_{protocol.upper()}"
        yield from (f"{name}={protocol}://{link.address}:{number}", f"{name}_ADDR={link.address}", f"{name}_PORT={number}", f"{name}_PROTO={protocol}")
    yield f"{prefix}_NAME={link.name}"
    for name, _, value in (entry.partition("=") for entry in link.child.config.env if "=" in entry):
        if name not in NOT_PASSED_ON:
            yield f"{prefix}_ENV_{name}={value}"


def _range(prefix: str, address: str, first: tuple[int, str], last: tuple[int, str]) -> Iterator[str]:
    (low, protocol), (high, last_protocol) = first, last
    start, end = f"{prefix}_PORT_{low}_{protocol.upper()}", f"{prefix}_PORT_{low}_{last_protocol.upper()}"
    yield from (f"{start}_START={protocol}://{address}:{low}", f"{start}_ADDR={address}", f"{start}_PROTO={protocol}", f"{start}_PORT_START={low}")
    yield from (f"{end}_END={last_protocol}://{address}:{high}", f"{end}_PORT_END={high}")


def _runs(ports: list[tuple[int, str]]) -> Iterator[tuple[tuple[int, str], tuple[int, str]]]:
    """First and last of each run of three and more consecutive ports."""
    start = 0
    for index in range(1, len(ports) + 1):
        if index == len(ports) or ports[index][0] > ports[index - 1][0] + 1:
            if index - start > 2:
                yield ports[start], ports[index - 1]
            start = index
