"""Certificates of the cluster: a self-signed root, and a node's certificate signed by it (X.509 v3, RFC 5280).

Owns what stands in a certificate. Never keeps a key, never reads a clock: the time comes in. Subject as in SwarmKit:
CN = node id, OU = swarm-manager or swarm-worker, O = cluster id; the role and the node id are DNS names too, so that
host name checks can demand them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.identity import keys, subject
from cluster.identity.subject import Identity
from cluster.model.errors import InvalidArgument
from cluster.model.specs import Role

ROOT_LIFETIME: Final = dt.timedelta(days=20 * 365)
BACKDATED: Final = dt.timedelta(hours=1)
"""Certificates begin this long before now, so that a node whose clock is a little late takes them."""

ROOT_NAME: Final = "swarm-ca"
MAX_PEM_BYTES: Final = 16 * 1024


def new_root(now: dt.datetime, name: str = ROOT_NAME) -> tuple[str, str]:
    """A new root certificate and its key, both PEM. `now` is in UTC."""
    key_pem = keys.new_key()
    key = keys.load_key(key_pem)
    subject_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject_name)
        .issuer_name(subject_name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(key_usage(authority=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return to_pem(certificate), key_pem


def make_csr(key_pem: str) -> str:
    """A signing request for the key, PEM. Its subject is empty: the authority decides who the node is."""
    key = keys.load_key(key_pem)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def issue(
    root_cert_pem: str,
    root_key_pem: str,
    csr_pem: str,
    node_id: str,
    role: Role,
    cluster_id: str,
    now: dt.datetime,
    expiry: dt.timedelta,
) -> str:
    """A node's certificate, PEM, valid from an hour before `now` (UTC) until `now + expiry`. Raises InvalidArgument
    for a bad request or root."""
    root, root_key = load_certificate(root_cert_pem), keys.load_key(root_key_pem)
    public = _load_csr(csr_pem)
    unit = subject.ROLE_UNITS[role]
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster_id),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, node_id),
        ]
    )
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(root.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + expiry)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(authority=False), critical=True)
        .add_extension(usages, critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(unit), x509.DNSName(node_id)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    return to_pem(certificate)


def cross_sign(new_root_pem: str, root_pem: str, root_key_pem: str) -> str:
    """The new root's name and key, signed by the present root: who trusts only that takes what the new one signs. Raises InvalidArgument."""
    new, root, root_key = load_certificate(new_root_pem), load_certificate(root_pem), keys.load_key(root_key_pem)
    public = new.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(new.subject)
        .issuer_name(root.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(new.not_valid_before_utc, root.not_valid_before_utc))
        .not_valid_after(min(new.not_valid_after_utc, root.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    return to_pem(certificate)


def normalized(cert_pem: str) -> str:
    """The certificate alone, as this library writes it. Raises InvalidArgument."""
    return to_pem(load_certificate(cert_pem))


def check_root(cert_pem: str, key_pem: str, now: dt.datetime) -> None:
    """A root of the user's own, with its key. Raises InvalidArgument for one that nodes would not take."""
    root = load_certificate(cert_pem)
    if keys.public_key(key_pem) != public_key_of(cert_pem):
        raise InvalidArgument("certificate key mismatch")
    try:
        constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound as error:
        raise InvalidArgument("the certificate is not that of an authority") from error
    if not constraints.ca or constraints.path_length == 0:
        raise InvalidArgument("the certificate is not that of an authority, or of one that may sign no other")
    if not is_issued_by(cert_pem, cert_pem):
        raise InvalidArgument("the authority's certificate is not signed by itself: an intermediate one can't be the root")
    if not root.not_valid_before_utc <= now < root.not_valid_after_utc:
        raise InvalidArgument("the authority's certificate has expired or is not yet valid")


def key_id(cert_pem: str) -> str:
    """The id, hex, of the key that the certificate is for. Raises InvalidArgument."""
    public = load_certificate(cert_pem).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    return x509.SubjectKeyIdentifier.from_public_key(public).digest.hex()


def issuer_id(cert_pem: str) -> str:
    """The id, hex, of the key that signed a node's certificate. Raises InvalidArgument when it doesn't say."""
    try:
        found = load_certificate(cert_pem).extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound as error:
        raise InvalidArgument("the certificate is not a node's") from error
    return (found or b"").hex()


def root_digest(root_cert_pem: str) -> bytes:
    """SHA-256 of the certificate (DER), 32 bytes: what a join token pins. Raises InvalidArgument."""
    return hashlib.sha256(load_certificate(root_cert_pem).public_bytes(serialization.Encoding.DER)).digest()


def subject_of(cert_pem: str) -> Identity:
    """Whose certificate it is. Raises InvalidArgument when it isn't a node's."""
    name = load_certificate(cert_pem).subject
    identity = subject.from_names(
        _attribute(name, NameOID.COMMON_NAME),
        _attribute(name, NameOID.ORGANIZATIONAL_UNIT_NAME),
        _attribute(name, NameOID.ORGANIZATION_NAME),
    )
    if identity is None:
        raise InvalidArgument("the certificate is not a node's")
    return identity


def validity(cert_pem: str) -> tuple[dt.datetime, dt.datetime]:
    """From when and until when the certificate holds, UTC. Raises InvalidArgument."""
    certificate = load_certificate(cert_pem)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def is_issued_by(cert_pem: str, root_cert_pem: str) -> bool:
    """Whether the root signed the certificate. Raises InvalidArgument for texts that aren't certificates."""
    certificate, root = load_certificate(cert_pem), load_certificate(root_cert_pem)
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def public_key_of(cert_pem: str) -> bytes:
    """The key that the certificate is for, DER. Raises InvalidArgument, also for one that isn't ECDSA."""
    public = load_certificate(cert_pem).public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise InvalidArgument("the certificate's key is not ECDSA")
    return keys.public_der(public)


def requested_key(csr_pem: str) -> bytes:
    """The key, DER, that a signing request asks a certificate for, and of which it proves possession. Raises InvalidArgument."""
    return keys.public_der(_load_csr(csr_pem))


def load_certificate(pem: str) -> x509.Certificate:
    """The certificate in a PEM text. Raises InvalidArgument."""
    if len(pem) > MAX_PEM_BYTES:
        raise InvalidArgument(f"a certificate of {len(pem)} bytes; the limit is {MAX_PEM_BYTES}")
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as e:
        raise InvalidArgument(f"invalid certificate: {e}") from e


def _load_csr(csr_pem: str) -> ec.EllipticCurvePublicKey:
    if len(csr_pem) > MAX_PEM_BYTES:
        raise InvalidArgument(f"a certificate request of {len(csr_pem)} bytes; the limit is {MAX_PEM_BYTES}")
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
    except ValueError as e:
        raise InvalidArgument(f"invalid certificate request: {e}") from e
    public = csr.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise InvalidArgument("invalid certificate request: only ECDSA keys on P-256 are used here")
    if not csr.is_signature_valid:
        raise InvalidArgument("invalid certificate request: its signature does not hold")
    return public


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
