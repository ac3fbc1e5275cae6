"""TLS to a daemon on tcp://: what the global flags, the environment and a context say of it. Imports ssl only where it is asked for.

Source: docker/cli's cli/flags (DOCKER_TLS_VERIFY, DOCKER_CERT_PATH; --tls encrypts, --tlsverify verifies as well).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.failures import CliFailure

if TYPE_CHECKING:
    from ssl import SSLContext


@dataclass(frozen=True, slots=True)
class TlsWish:
    """Paths of files; an empty one: none."""

    verify: bool
    ca: str
    cert: str
    key: str

    def trouble(self) -> str:
        """Why it can't be had, as Docker's client says before it asks anything."""
        missing = next((path for path in (self.ca, self.cert, self.key) if path and not os.path.exists(path)), "")
        return f"Failed to initialize: unable to resolve docker endpoint: open {missing}: no such file or directory" if missing else ""

    def context(self) -> SSLContext:
        """Raises CliFailure for files that can't be used."""
        import ssl

        from cluster.wire.tls_socket import TlsSocket

        made = ssl.create_default_context(cafile=None)
        if not self.verify:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        wrong = f"{os.path.basename(self.ca)} seems invalid"
        try:
            if self.verify and self.ca:
                made = ssl.create_default_context(cafile=self.ca)
            wrong = "tls: failed to find a certificate and its key in the PEM data"
            if self.cert and self.key:
                made.load_cert_chain(self.cert, self.key)
        except ssl.SSLError as e:
            wrong = "tls: private key does not match public key" if e.reason == "KEY_VALUES_MISMATCH" else wrong
            raise CliFailure(f"Failed to initialize: failed to retrieve context tls info: {wrong}") from e
        except OSError as e:
            raise CliFailure(f"Failed to initialize: failed to retrieve context tls info: {(e.strerror or str(e)).lower()}") from e
        made.sslsocket_class = TlsSocket
        return made


def wish_of(flags: Mapping[str, object], config_folder: Path) -> TlsWish | None:
    """What the flags and the environment ask for; None: no TLS."""
    verify = flags["tlsverify"] if flags["tlsverify"] is not None else bool(os.environ.get("DOCKER_TLS_VERIFY"))
    if not (verify or flags["tls"] or os.environ.get("DOCKER_TLS")):
        return None
    folder = Path(os.environ.get("DOCKER_CERT_PATH") or config_folder)

    def file(flag: str, name: str) -> str:
        given = str(flags[flag] or "")
        path = folder / name
        return given or (str(path) if path.exists() else "")

    return TlsWish(bool(verify), str(flags["tlscacert"] or folder / "ca.pem"), file("tlscert", "cert.pem"), file("tlskey", "key.pem"))


def wish_of_folder(folder: Path, *, verify: bool) -> TlsWish | None:
    """What a context's own files ask for; None when it has none."""
    found = {name: str(folder / name) if (folder / name).exists() else "" for name in ("ca.pem", "cert.pem", "key.pem")}
    return TlsWish(verify, found["ca.pem"], found["cert.pem"], found["key.pem"]) if any(found.values()) else None
