"""What went wrong with a TLS connection, in the words that Go's crypto/tls has for it: Docker's users know these. Imported by who has such an error.

Source: RFC 8446, 6.2 (alerts); X509_STORE_CTX_get_error(3) for the numbers of failed verifications.
"""

from __future__ import annotations

import ssl
from typing import Final

_ALERTS: Final = {
    "UNKNOWN_CA": "unknown certificate authority",
    "CERTIFICATE_REVOKED": "revoked certificate",
    "CERTIFICATE_EXPIRED": "expired certificate",
    "CERTIFICATE_UNKNOWN": "unknown certificate",
    "PROTOCOL_VERSION": "protocol version not supported",
    "DECRYPT_ERROR": "error decrypting message",
}  # fmt: skip
"""OpenSSL's name of an alert -> Go's, where that is not the same in small letters."""

_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
_EXPIRED: Final = frozenset({9, 10})


def tls_words(error: OSError) -> str:
    """One clause; empty for an error that is not TLS's."""
    if not isinstance(error, ssl.SSLError):
        return ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {_unverified(error)}"
    reason = error.reason or ""
    if "_ALERT_" in reason:
        alert = reason.partition("_ALERT_")[2]
        return f"remote error: tls: {_ALERTS.get(alert) or alert.replace('_', ' ').lower()}"
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return "tls: first record does not look like a TLS handshake"
    if reason == "UNEXPECTED_EOF_WHILE_READING" or isinstance(error, ssl.SSLEOFError):
        return "EOF"
    return f"tls: {reason.replace('_', ' ').lower() or error}"


def _unverified(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return "certificate signed by unknown authority"
    if error.verify_code in _EXPIRED:
        return "certificate has expired or is not yet valid"
    return error.verify_message.rstrip(".")
