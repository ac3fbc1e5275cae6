"""Who a node is: what is said of certificates and of what a node trusts."""

from __future__ import annotations

from cluster.model.specs import Pairs
from cluster.wire.calls.body import Body


class IssueCertificate(Body, frozen=True):
    """Ask for a node certificate: with a join token (new node, no certificate) or over the node's own certificate (renewal, token empty)."""

    csr_pem: str
    token: str = ""
    availability: str = "active"
    hostname: str = ""
    labels: Pairs = ()  # that the new node begins with


class IssuedCertificate(Body, frozen=True):
    node_id: str
    cluster_id: str
    role: str
    certificate_pem: str
    root_ca_pem: str


class InUse(Body, frozen=True):
    """What the calling node uses now, beside the certificate that it calls with."""

    root: str  # digest of what it trusts, hex
