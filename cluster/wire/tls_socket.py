"""A client's blocking TLS socket whose output can be ended alone: close_notify (RFC 8446, 6.1), where the standard library's shutdown() gives TLS up."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress


class TlsSocket(ssl.SSLSocket):
    def shutdown(self, how: int) -> None:
        """SHUT_WR says goodbye and goes on reading; anything else ends the connection."""
        if how != socket.SHUT_WR:
            super().shutdown(how)
            return
        before = self.gettimeout()
        self.settimeout(0)
        try:
            with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self.unwrap()
        finally:
            self.settimeout(before)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Nothing once the other side has said goodbye, also when we had before."""
        try:
            return super().recv(buflen, flags)
        except ssl.SSLZeroReturnError:
            return b""
