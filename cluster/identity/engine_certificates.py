"""Certificates for the Engine API over TCP: an authority of this node's own, the daemon's certificate and a client's, in files named as Docker's guide
names them. Never the cluster's authority: whoever may use an engine's API is root on its machine, and a worker has a certificate of the cluster's.

Source: "Protect the Docker daemon socket" in Docker's documentation; RFC 5280.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from cluster.identity import keys
from cluster.identity.certificates import BACKDATED, key_usage, load_certificate, new_root, to_pem
from cluster.model.errors import InvalidArgument

NAME: Final = "festoon-engine-ca"
MAX_NAME: Final = 253
_NAME: Final = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}(?<!-))?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}(?<!-))?)*\.?")
"""A host's name, or all of a domain's (RFC 1123, 2.1; RFC 6125, 6.4.3). Underscores: machines have them."""

LIFETIME: Final = dt.timedelta(days=825)
AUTHORITY, AUTHORITY_KEY = "ca.pem", "ca-key.pem"
SERVER, SERVER_KEY = "server-cert.pem", "server-key.pem"
CLIENT, CLIENT_KEY = "cert.pem", "key.pem"


def make(hosts: Sequence[str], now: dt.datetime, authority: tuple[str, str] | None = None) -> dict[str, str]:
    """File name -> PEM. `hosts`: names and addresses that the daemon is reached by; `now`: UTC; `authority`: certificate and key of one that is there
    already. Raises InvalidArgument."""
    root_pem, root_key = authority or new_root(now, NAME)
    server_pem, server_key = _signed(root_pem, root_key, "festoond", ExtendedKeyUsageOID.SERVER_AUTH, hosts, now)
    client_pem, client_key = _signed(root_pem, root_key, "client", ExtendedKeyUsageOID.CLIENT_AUTH, (), now)
    return {AUTHORITY: root_pem, AUTHORITY_KEY: root_key, SERVER: server_pem, SERVER_KEY: server_key, CLIENT: client_pem, CLIENT_KEY: client_key}


def _signed(root_pem: str, root_key_pem: str, name: str, usage: ObjectIdentifier, hosts: Sequence[str], now: dt.datetime) -> tuple[str, str]:
    root, root_key, key_pem = load_certificate(root_pem), keys.load_key(root_key_pem), keys.new_key()
    key = keys.load_key(key_pem)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
    return to_pem(builder.sign(root_key, hashes.SHA256())), key_pem


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if len(host) > MAX_NAME or not _NAME.fullmatch(host):
        raise InvalidArgument(f"{host!r} is no host name or address")
    return x509.DNSName(host)
