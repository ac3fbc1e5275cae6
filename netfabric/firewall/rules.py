"""The rules of the node's own namespace and of tasks, as text for nftables. Pure; the sandboxes of balancers are
ingress's.

Docker's chains under Docker's names: DOCKER-INGRESS sends published ports to the ingress sandbox, DOCKER the ports
of single containers to them. Rules of nat chains see a connection's first packet only, so their counters count
connections. Sources: nft(8); moby libnetwork service_linux.go, drivers/bridge.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netfabric.firewall.nftables import Chain, Table
from netfabric.view import Bridge, HostPort, PublishedPort

TABLE = "festoon"
FAMILIES = ("ip", "ip6")
"""The nftables families in which there may be a table of that name."""
DOCKER_INGRESS = "DOCKER-INGRESS"
DOCKER = "DOCKER"
PREROUTING = "type nat hook prerouting priority dstnat; policy accept;"
OUTPUT = "type nat hook output priority -100; policy accept;"
ARRIVAL = "type filter hook prerouting priority mangle; policy accept;"
SOURCE_MAC_TAIL = "@ll,64,32"
POSTROUTING = "type nat hook postrouting priority srcnat; policy accept;"


def node_table(
    bridges: Sequence[Bridge],
    gateway_bridge: Bridge | None,
    host_ports: Iterable[HostPort],
    ingress_ports: Iterable[PublishedPort],
    ingress_sandbox: str,
) -> Table:
    """The table of the node's namespace. `bridges` are all, the gateway bridge too; `ingress_sandbox` is the
    sandbox's plain address there, empty when there is no ingress network.
    """
    to_ingress = ("fib daddr type local counter jump DOCKER-INGRESS",) if ingress_sandbox else ()
    to_containers = "fib daddr type local counter jump DOCKER"
    chains = [Chain(DOCKER, tuple(_to_container(port) for port in host_ports))]
    if ingress_sandbox:
        chains.append(Chain(DOCKER_INGRESS, (*(_to_sandbox(p, ingress_sandbox) for p in ingress_ports), "counter return")))
    return Table(
        TABLE,
        (
            *chains,
            Chain("PREROUTING", (*to_ingress, to_containers), PREROUTING),
            Chain("OUTPUT", (*to_ingress, to_containers), OUTPUT),
            Chain("POSTROUTING", tuple(_leaving(bridges, gateway_bridge)), POSTROUTING),
            Chain("FORWARD", tuple(_forwarding(bridges)), "type filter hook forward priority filter; policy accept;"),
            Chain("LOCALNET", tuple(_foreign_loopback(bridges)), "type filter hook prerouting priority raw; policy accept;"),
        ),
    )


def node_table6(bridges: Sequence[Bridge], host_ports: Iterable[HostPort]) -> Table:
    """IPv6's table of the node's namespace. `bridges` are those that have IPv6 addresses, `host_ports` those that lead
    to such an address; the mesh is IPv4's.
    """
    to_containers = "fib daddr type local counter jump DOCKER"
    return Table(
        TABLE,
        (
            Chain(DOCKER, tuple(_to_container(port) for port in host_ports if port.host_address != "::1")),
            Chain("PREROUTING", (to_containers,), PREROUTING),
            Chain("OUTPUT", (to_containers,), OUTPUT),
            Chain("POSTROUTING", tuple(_leaving6(bridges)), POSTROUTING),
            Chain("FORWARD", tuple(_forwarding(bridges)), "type filter hook forward priority filter; policy accept;"),
        ),
        family="ip6",
    )


def _to_sandbox(port: PublishedPort, sandbox: str) -> str:
    return f"{port.protocol} dport {port.published} counter dnat to {sandbox}:{port.published}"


def _to_container(port: HostPort) -> str:
    if ":" in port.address:
        here = f"ip6 daddr {port.host_address} " if port.host_address != "::" else "ip6 daddr != ::1 "
        return f"{here}{port.protocol} dport {port.published} counter dnat to [{port.address}]:{port.target}"
    here = f"ip daddr {port.host_address} " if port.host_address else ""
    return f"{here}{port.protocol} dport {port.published} counter dnat to {port.address}:{port.target}"


def _names(bridges: Sequence[Bridge]) -> str:
    return "{ " + ", ".join(f'"{bridge.name}"' for bridge in bridges) + " }"


def _behind(source: str) -> str:
    return f"snat to {source}" if source else "masquerade"


def _leaving(bridges: Sequence[Bridge], gateway_bridge: Bridge | None) -> Iterable[str]:
    if gateway_bridge is not None:
        yield f'oifname "{gateway_bridge.name}" fib saddr type local counter masquerade'
    for bridge in bridges:
        if bridge is not gateway_bridge:
            yield f'ip saddr 127.0.0.0/8 oifname "{bridge.name}" counter masquerade'
        if bridge.masquerade:
            yield f'ip saddr {bridge.subnet} oifname != "{bridge.name}" counter {_behind(bridge.sources[0])}'
        # A container that calls a port of its own node comes back on its own bridge; the answer must pass here too.
        yield f'ip saddr {bridge.subnet} oifname "{bridge.name}" ct status dnat counter masquerade'


def _leaving6(bridges: Sequence[Bridge]) -> Iterable[str]:
    for bridge in bridges:
        if bridge.masquerade:
            yield f'ip6 saddr {bridge.subnet6} oifname != "{bridge.name}" counter {_behind(bridge.sources[1])}'
        yield f'ip6 saddr {bridge.subnet6} oifname "{bridge.name}" ct status dnat counter masquerade'


def _forwarding(bridges: Sequence[Bridge]) -> Iterable[str]:
    """To containers only: answers, forwarded ports, and neighbours where the bridge does not isolate them. From
    containers outwards: everything, but nothing from an internal bridge.
    """
    if not bridges:
        return
    names = _names(bridges)
    for bridge in bridges:
        if bridge.internal:
            yield f'iifname "{bridge.name}" oifname != "{bridge.name}" counter drop'
            yield f'iifname != "{bridge.name}" oifname "{bridge.name}" counter drop'
    yield "ct state established,related counter accept"
    yield f"oifname {names} ct status dnat counter accept"
    for bridge in bridges:
        if not bridge.isolate:
            yield f'iifname "{bridge.name}" oifname "{bridge.name}" counter accept'
    yield f"oifname {names} counter drop"


def _foreign_loopback(bridges: Sequence[Bridge]) -> Iterable[str]:
    """route_localnet lets the node reach containers from 127.0.0.1; nobody may come in by it. Every packet of the node comes by here: the address is what
    is compared soonest.
    """
    yield f"ip daddr 127.0.0.0/8 iifname {_names(bridges)} counter drop"
    yield f"ip saddr 127.0.0.0/8 iifname {_names(bridges)} counter drop"


def task_table(link: str, address: str, ports: Sequence[PublishedPort]) -> Table:
    """The table of a task on the ingress network: `address` (plain) takes published ports, hands them to their
    targets and accepts nothing else. What comes in on `link` is answered by the sandbox that sent it: the last four
    bytes of its MAC, which are its address, are the connection's mark, and marks have routes (state.ReturnPath). A TCP server's socket takes the mark over
    from the packet that opens the connection (sysctl tcp_fwmark_accept), so that its packets need no second look for their way.
    """
    redirects = tuple(f"ip daddr {address} {p.protocol} dport {p.published} counter redirect to :{p.target}" for p in ports)
    targets = sorted({(p.protocol, p.target) for p in ports})
    accepted = tuple(f"ip daddr {address} {proto} dport {t} ct state new,established counter accept" for proto, t in targets)
    answered = tuple(f"ip saddr {address} {proto} sport {t} ct state established counter accept" for proto, t in targets)
    rest = "meta l4proto { tcp, udp, sctp } counter drop"
    return Table(
        TABLE,
        (
            Chain("ARRIVAL", (f'iifname "{link}" ct state new ct mark set {SOURCE_MAC_TAIL} meta mark set ct mark',), ARRIVAL),
            Chain("RETURN", ("meta mark 0 ct direction reply ct mark != 0 meta mark set ct mark",), "type route hook output priority mangle; policy accept;"),
            Chain("PREROUTING", redirects, PREROUTING),
            Chain("INPUT", (*accepted, f"ip daddr {address} {rest}"), "type filter hook input priority filter; policy accept;"),
            Chain("OUTPUT", (*answered, f"ip saddr {address} {rest}"), "type filter hook output priority filter; policy accept;"),
        ),
    )
