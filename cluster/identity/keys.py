"""Private keys: ECDSA on P-256, PEM (PKCS #8, RFC 5208), never encrypted here; files that hold them are the callers'
and have mode 0600."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cluster.model.errors import InvalidArgument


def new_key() -> str:
    """A new private key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def load_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """The key in a PEM text. Raises InvalidArgument when it isn't an ECDSA P-256 key."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as e:
        raise InvalidArgument(f"invalid private key: {e}") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidArgument("invalid private key: only ECDSA keys on P-256 are used here")
    return key


def public_key(pem: str) -> bytes:
    """The public half of a private key, DER (SubjectPublicKeyInfo). Raises InvalidArgument."""
    return public_der(load_key(pem).public_key())


def public_der(key: ec.EllipticCurvePublicKey) -> bytes:
    """DER, SubjectPublicKeyInfo (RFC 5280, 4.1)."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
