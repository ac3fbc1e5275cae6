"""HTTP's side of a TLS connection: what cluster/wire/http.py expects of a stream, with the half-close that attached clients need.

Source: RFC 8446, 6.1 (close_notify ends one direction); cluster/wire/tls_stream.py.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

import trio

from cluster.wire.tls_stream import RECORD_BYTES, TlsStream

HANDSHAKE_S: Final = 10.0
"""How long a client may take for it."""

LINGER_S: Final = 2.0
"""How long one whose handshake failed may take to see why."""

_PLAIN: Final = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})
"""What OpenSSL says when the other side speaks HTTP without TLS."""

_NOT_HERE: Final = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
"""As Go's net/http answers it."""


class HttpTlsStream(trio.abc.HalfCloseableStream):
    """One connection of a client that has shown its certificate, if the context asks for one."""

    def __init__(self, wire: TlsStream) -> None:
        self._wire = wire

    @property
    def socket(self) -> Any:
        """For what the kernel says of it only."""
        return self._wire.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._wire.receive_some(max_bytes or RECORD_BYTES)

    async def send_all(self, data: Any) -> None:
        await self._wire.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self._wire.say_goodbye()

    async def aclose(self) -> None:
        self._wire.close()
        await trio.lowlevel.checkpoint()


async def secured(stream: trio.SocketStream, context: ssl.SSLContext) -> HttpTlsStream | None:
    """The connection after its handshake; None, and closed, when that failed or took too long."""
    try:
        wire = TlsStream(stream, context, server_side=True)
    except OSError:
        return None
    try:
        with trio.fail_after(HANDSHAKE_S):
            await wire.do_handshake()
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
        if isinstance(error.__cause__, ssl.SSLError) and error.__cause__.reason in _PLAIN:
            wire.answer_in_the_clear(_NOT_HERE)
        try:
            with trio.move_on_after(LINGER_S):
                await wire.let_read()
        finally:
            wire.close()
        return None
    except BaseException:
        wire.close()
        raise
    return HttpTlsStream(wire)
