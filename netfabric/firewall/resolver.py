"""The way from 127.0.0.11:53 to the resolver's sockets and back, as rules of a sandbox. Pure.

Docker translates with connection tracking (chains DOCKER_OUTPUT and DOCKER_POSTROUTING of nat); here the port is written over in each packet, both ways,
so that a container without any other rule tracks nothing. The question is changed after the point where connections are tracked and the answer before,
so that where they are, both are port 53's. Source: nft(8) payload statement, linux/netfilter_ipv4.h for the priorities.
"""

from __future__ import annotations

from typing import Final

from netfabric.firewall.nftables import Chain

ADDRESS: Final = "127.0.0.11"
ODD_PORT: Final = 61053
"""Above the kernel's range of its own choice (net.ipv4.ip_local_port_range), so that no connection of the container gets it."""
DOMAIN_PORT: Final = 53

CHAINS: Final = (
    Chain(
        "DOCKER_OUTPUT",
        tuple(f"ip daddr {ADDRESS} {protocol} dport {DOMAIN_PORT} {protocol} dport set {ODD_PORT}" for protocol in ("udp", "tcp")),
        "type filter hook output priority mangle; policy accept;",
    ),
    Chain(
        "DOCKER_POSTROUTING",
        tuple(f"ip saddr {ADDRESS} {protocol} sport {ODD_PORT} {protocol} sport set {DOMAIN_PORT}" for protocol in ("udp", "tcp")),
        "type filter hook output priority raw; policy accept;",
    ),
)
