"""A client's blocking TLS socket whose output can be ended alone, where the standard library's shutdown() gives TLS up.

By TCP's FIN, not by close_notify: OpenSSL waits for the other side's goodbye in the same call, and throws away what of its answer has come already
(SSL_shutdown(3), "application data after close notify"). What a stranger could cut off that way is the rest of our own input.
"""

from __future__ import annotations

import socket
import ssl


class TlsSocket(ssl.SSLSocket):
    def shutdown(self, how: int) -> None:
        """SHUT_WR leaves what the other side says readable; anything else ends the connection."""
        if how == socket.SHUT_WR:
            socket.socket.shutdown(self, how)
        else:
            super().shutdown(how)
