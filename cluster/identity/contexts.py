"""The TLS contexts of one process, made of the credentials that it has now. What is opened from here on uses the new ones when they
change; connections that are open go on.

Owns which context is for what; cluster/identity/tls.py owns what stands in each.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Final

from cluster.identity import tls
from cluster.identity.folder import Credentials

Make = Callable[[str, str, str], ssl.SSLContext]

_CLIENT: Final = "client"
_RENEWAL: Final = "renewal"
_SERVER: Final = "server"
_LATE_SERVER: Final = "late server"


class Contexts:
    """State: the credentials, and the contexts that were asked for since they changed."""

    def __init__(self, credentials: Credentials) -> None:
        self._made: dict[str, ssl.SSLContext] = {}
        self.take(credentials)

    def take(self, credentials: Credentials) -> None:
        """Use these from now on. Raises InvalidArgument, and stays as it was, when they do not fit together."""
        client = tls.client_context(credentials.certificate_pem, credentials.key_pem, credentials.root_pem)
        self.credentials = credentials
        self._made = {_CLIENT: client}

    @property
    def client(self) -> ssl.SSLContext:
        """For everything that is asked of a manager, but the next certificate."""
        return self._get(_CLIENT, tls.client_context)

    @property
    def renewal(self) -> ssl.SSLContext:
        """For asking for the next certificate."""
        return self._get(_RENEWAL, tls.renewal_context)

    def server(self, protocols: tuple[str, ...]) -> ssl.SSLContext:
        """For a connection that has come in, by what its hello names (ALPN)."""
        if tls.RENEWAL_PROTOCOL in protocols:
            return self._get(_LATE_SERVER, tls.late_server_context)
        return self._get(_SERVER, tls.server_context)

    def _get(self, kind: str, make: Make) -> ssl.SSLContext:
        if kind not in self._made:
            known = self.credentials
            self._made[kind] = make(known.certificate_pem, known.key_pem, known.root_pem)
        return self._made[kind]
