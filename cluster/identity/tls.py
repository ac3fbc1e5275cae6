"""TLS contexts for the managers' port: TLS 1.3 only (RFC 8446), certificates of this cluster's own root and nobody
else's.

Owns which certificates are asked for and trusted. Never keeps a file: keys reach OpenSSL through an anonymous memory
file, because the standard library loads a certificate and its key only from a path.
"""

from __future__ import annotations

import os
import ssl
from typing import Final

from cluster.model.errors import InvalidArgument

RENEWAL_PROTOCOL: Final = "festoon-renewal/1"
"""What a node names in its hello (ALPN, RFC 7301) when all that it wants is the next certificate."""

_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL


def server_context(cert_pem: str, key_pem: str, root_pem: str) -> ssl.SSLContext:
    """For a manager: shows its certificate, takes a client's when there is one (a node that joins has none); one
    that the root didn't sign ends the handshake. Raises InvalidArgument when the three don't fit together."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0  # sessions are long; a ticket that nobody reads may break a short one
    _trust(context, root_pem)
    _show(context, cert_pem, key_pem)
    return context


def late_server_context(cert_pem: str, key_pem: str, root_pem: str) -> ssl.SSLContext:
    """For a manager, and for connections that name RENEWAL_PROTOCOL only: demands a certificate of this root, but takes one
    that has expired too. For how long is the authority's decision (manager/ca). Raises InvalidArgument."""
    context = server_context(cert_pem, key_pem, root_pem)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= _NO_CHECK_TIME
    context.set_alpn_protocols([RENEWAL_PROTOCOL])
    return context


def renewal_context(cert_pem: str, key_pem: str, root_pem: str) -> ssl.SSLContext:
    """For a node that asks for its next certificate: as `client_context`, and says so. Raises InvalidArgument."""
    context = client_context(cert_pem, key_pem, root_pem)
    context.set_alpn_protocols([RENEWAL_PROTOCOL])
    return context


def client_context(cert_pem: str, key_pem: str, root_pem: str) -> ssl.SSLContext:
    """For a node with a certificate: shows it, and demands of the server one of this root, for the name that
    `server_hostname` gives (`swarm-manager`). With an empty cert_pem it shows none: a joining node that has checked
    the root against its token. Raises InvalidArgument."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    _trust(context, root_pem)
    if cert_pem:
        _show(context, cert_pem, key_pem)
    return context


def bootstrap_context() -> ssl.SSLContext:
    """For a joining node's first question (`ca.root`), when it has no root yet: the server is *not* verified. What
    it answers must be checked against the join token's digest, and everything else asked over a `client_context("",
    "", root)`."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    return context


def _trust(context: ssl.SSLContext, root_pem: str) -> None:
    try:
        context.load_verify_locations(cadata=root_pem)
    except (ssl.SSLError, ValueError) as e:
        raise InvalidArgument(f"invalid root certificate: {e}") from e


def _show(context: ssl.SSLContext, cert_pem: str, key_pem: str) -> None:
    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(cert_pem.encode() + b"\n" + key_pem.encode())
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    except ssl.SSLError as e:
        raise InvalidArgument(f"the certificate and its key do not fit together: {e}") from e
    finally:
        os.close(fd)
