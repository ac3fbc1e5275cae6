"""The exchange of the cluster's root for another one: its beginning, who signs meanwhile, and its end. Pure but for the keys that the
cryptography library draws.

While it goes on, certificates are signed by the new root and carry a certificate that leads from it to the old one, which everybody
trusts. When every node has said that it uses such a certificate, the new root takes the old one's place, with new join tokens, and
nodes are told to trust it alone. Source: SwarmKit's ca/reconciler.go.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from random import Random
from typing import Final, NamedTuple

import msgspec

from cluster.identity import certificates, keys, tokens
from cluster.model.errors import InvalidArgument
from cluster.model.objects import Cluster, JoinTokens, Node, NodeTls, RootRotation

KEY_ONLY: Final = "if a signing CA key is provided, the signing CA cert must also be provided"
BAD_KEY: Final = 'malformed private key: {"code":2003,"message":"Failed to parse private key"}'  # as Docker's daemon says it
CERT_ONLY: Final = "if a signing CA cert is provided, its signing key must also be provided"


class Signer(NamedTuple):
    """Who signs now; `chain_pem` goes behind each certificate."""

    root_pem: str
    key_pem: str
    chain_pem: str = ""


def signer(cluster: Cluster) -> Signer:
    if cluster.rotation is None:
        return Signer(cluster.root_ca_pem, cluster.root_key_pem)
    return Signer(cluster.rotation.root_ca_pem, cluster.rotation.root_key_pem, cluster.rotation.cross_signed_pem)


def begun(cluster: Cluster, signing_ca_pem: str, signing_key_pem: str, now: dt.datetime) -> RootRotation:
    """A rotation to this root of the user's own, or to a new one when both are empty; it takes the place of one that is under
    way. Raises InvalidArgument."""
    if signing_key_pem and not signing_ca_pem:
        raise InvalidArgument(KEY_ONLY)
    if signing_ca_pem and not signing_key_pem:
        raise InvalidArgument(CERT_ONLY)
    root_pem, key_pem = (certificates.normalized(signing_ca_pem), signing_key_pem) if signing_ca_pem else certificates.new_root(now)
    try:
        keys.load_key(key_pem)
    except InvalidArgument as error:
        raise InvalidArgument(BAD_KEY) from error
    certificates.check_root(root_pem, key_pem, now)
    cross_signed = certificates.cross_sign(root_pem, cluster.root_ca_pem, cluster.root_key_pem)
    return RootRotation(root_pem, key_pem, cross_signed, certificates.key_id(root_pem))


def used(node: Node, shown_pem: str, root_digest: str) -> Node:
    """The node, which called with this certificate and trusts this."""
    return msgspec.structs.replace(node, tls=NodeTls(certificates.issuer_id(shown_pem), root_digest))


def ended(cluster: Cluster, nodes: Iterable[Node], now_ns: int, rng: Random) -> Cluster | None:
    """The cluster with its new root and new join tokens, once every node uses a certificate of it; None before."""
    rotation = cluster.rotation
    if rotation is None or any(node.tls is None or node.tls.issuer != rotation.issuer for node in nodes):
        return None
    digest = certificates.root_digest(rotation.root_ca_pem)
    worker, manager = (tokens.make(digest, rng.randbytes(tokens.SECRET_BYTES)) for _ in range(2))
    return msgspec.structs.replace(
        cluster,
        root_ca_pem=rotation.root_ca_pem,
        root_key_pem=rotation.root_key_pem,
        rotation=None,
        join_tokens=JoinTokens(worker, manager),
        meta=msgspec.structs.replace(cluster.meta, updated_at_ns=now_ns),
    )
