"""Who a certificate speaks for. CN = node id, OU = role, O = cluster id (SwarmKit's convention).

Owns the mapping between a certificate's subject and an Identity; imports no cryptography, so that the wire can ask
what the TLS library verified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cluster.model.specs import Role

ROLE_UNITS: Final[dict[Role, str]] = {Role.MANAGER: "swarm-manager", Role.WORKER: "swarm-worker"}
"""The organizational unit of each role; also a DNS name in the certificate, so that a client can demand
`swarm-manager` of its server."""

MANAGER_NAME: Final = ROLE_UNITS[Role.MANAGER]


@dataclass(frozen=True, slots=True)
class Identity:
    node_id: str
    role: Role
    cluster_id: str


def role_of(unit: str) -> Role | None:
    """The role that an organizational unit stands for; None for a stranger's."""
    return next((role for role, name in ROLE_UNITS.items() if name == unit), None)


def from_names(common_name: str, unit: str, organization: str) -> Identity | None:
    """The identity in a subject; None when it isn't a node's."""
    role = role_of(unit)
    if role is None or not common_name or not organization:
        return None
    return Identity(common_name, role, organization)


def from_peer_certificate(certificate: Mapping[str, Any] | None) -> Identity | None:
    """The identity in what `ssl.SSLSocket.getpeercert()` returns; None when the peer showed none, or when it was not
    verified (then it is empty)."""
    if not certificate:
        return None
    names: dict[str, str] = {key: value for part in certificate.get("subject", ()) for key, value in part}
    common_name, unit = names.get("commonName", ""), names.get("organizationalUnitName", "")
    return from_names(common_name, unit, names.get("organizationName", ""))
