"""The first talk with a cluster: from a join token to a certificate. Nothing is trusted before the root has been checked against the token's digest."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.identity import certificates, keys, tls, tokens
from cluster.identity.folder import Credentials
from cluster.model.errors import NO_LEADER, InvalidArgument, NotLeader, Unavailable
from cluster.model.specs import Pairs
from cluster.wire.calls import IssueCertificate, IssuedCertificate, Nothing, Text
from cluster.wire.peer import connect
from cluster.wire.redirect import ask_leader


@dataclass(frozen=True, slots=True)
class JoinRequest:
    token: str
    availability: str
    hostname: str
    labels: Pairs = ()


async def request_certificate(remotes: tuple[str, ...], request: JoinRequest) -> tuple[IssuedCertificate, Credentials]:
    """Ask the managers in turn, or the leader that one of them names. Raises InvalidArgument for a bad token (also when the cluster refuses it), Unavailable
    when none answers."""
    token = tokens.parse(request.token)

    async def ask(remote: str) -> tuple[IssuedCertificate, Credentials]:
        return await _ask(remote, token.digest, request)

    try:
        return await ask_leader(remotes, ask)
    except NotLeader:
        raise Unavailable(NO_LEADER) from None
    except Unavailable as unreachable:
        raise Unavailable(f'connection error: desc = "transport: Error while dialing {unreachable.message}"') from unreachable


async def _ask(remote: str, digest: bytes, request: JoinRequest) -> tuple[IssuedCertificate, Credentials]:
    async with connect(remote, tls.bootstrap_context()) as peer:
        root: Text = await peer.call("ca.root", Nothing())
    actual = certificates.root_digest(root.text)
    if actual != digest:
        raise InvalidArgument(f"remote CA does not match fingerprint. Expected: {digest.hex()}")
    key = keys.new_key()
    async with connect(remote, tls.client_context("", "", root.text)) as peer:
        asked = IssueCertificate(certificates.make_csr(key), request.token, request.availability, request.hostname, request.labels)
        issued: IssuedCertificate = await peer.call("ca.issue", asked)
    return issued, Credentials(issued.certificate_pem, key, issued.root_ca_pem)
