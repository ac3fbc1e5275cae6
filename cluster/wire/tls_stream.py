"""TLS over one connected TCP socket, with trio: OpenSSL reads and writes the socket itself, and the event loop is asked only when that would block.

Owns the socket from the moment that it is made; never decides whom to trust (cluster/identity/tls.py does). One task may read while another writes.
trio's own SSLStream copies every byte through memory buffers: a small call costs half as much again (ARCHITECTURE.md).
Source: the ssl module's notes on non-blocking sockets.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import trio

T = TypeVar("T")
RECORD_BYTES: Final = 16 * 1024
"""Longest record of TLS (RFC 8446, 5.1): one read gives no more."""


class TlsStream:
    """One connection. `do_handshake` comes first."""

    def __init__(self, connected: trio.SocketStream, context: ssl.SSLContext, *, server_side: bool = False, server_hostname: str | None = None) -> None:
        """Takes the socket over: `connected` is of no use any more. Raises OSError when the connection is lost already."""
        plain = socket.socket(fileno=connected.socket.detach())
        try:
            plain.setblocking(False)
            self._socket = context.wrap_socket(
                plain, server_side=server_side, server_hostname=server_hostname, do_handshake_on_connect=False, suppress_ragged_eofs=True
            )
        except BaseException:
            plain.close()
            raise
        self._drained = False  # the last read found less than it could have: there is nothing to try before the socket is readable

    async def do_handshake(self) -> None:
        """Raises trio.BrokenResourceError, whose cause is OpenSSL's or the system's error. Cancelled, the connection is of no use."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._when_ready(self._socket.do_handshake)

    async def receive_some(self, max_bytes: int) -> bytes:
        """What has come, at least a byte; nothing when the other side has ended the connection. Raises BrokenResourceError, ClosedResourceError.
        Cancelled, nothing is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = self._drained
        if waited:
            await trio.lowlevel.wait_readable(self._socket)
        data, had_to_wait = await self._when_ready(partial(self._received, min(max_bytes, RECORD_BYTES)))
        if data:
            data = self._with_more(data, max_bytes)
        if not waited and not had_to_wait:
            await trio.lowlevel.cancel_shielded_checkpoint()  # a peer that never pauses does not keep the loop for itself
        return data

    def _with_more(self, data: bytes, max_bytes: int) -> bytes:
        """With what follows at once: a message of many records takes one turn of the loop."""
        parts, size = [data], len(data)
        self._drained = False
        while size < max_bytes:
            if len(parts[-1]) < RECORD_BYTES and not self._socket.pending():
                self._drained = True
                break
            try:
                parts.append(self._socket.recv(min(max_bytes - size, RECORD_BYTES)))
            except ssl.SSLWantReadError:
                self._drained = True
                break
            except OSError:
                break  # the next call says what it is
            size += len(parts[-1])
            if not parts[-1]:
                break
        return b"".join(parts) if len(parts) > 1 else data

    def _received(self, max_bytes: int) -> bytes:
        try:
            return self._socket.recv(max_bytes)
        except ssl.SSLZeroReturnError:  # how OpenSSL says it where we have said goodbye before
            return b""

    def send_now(self, data: bytes) -> int:
        """How many of the bytes the network took at once. The rest must follow, by `send_all`, before anything else. Raises as that does."""
        sent = 0
        rest = memoryview(data)
        try:
            while sent < len(data):
                sent += self._socket.send(rest[sent:])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return sent
        except (ssl.SSLError, OSError) as error:
            raise self._broken(error) from error
        return sent

    async def send_all(self, data: bytes | memoryview) -> None:
        """Raises BrokenResourceError, ClosedResourceError. Cancelled, the connection is of no use for sending."""
        await trio.lowlevel.checkpoint_if_cancelled()
        rest = memoryview(data)
        while rest:
            sent, _ = await self._when_ready(partial(self._socket.send, rest))
            rest = rest[sent:]

    async def _when_ready(self, operation: Callable[[], T]) -> tuple[T, bool]:
        """What the operation returns, once the socket lets it, and whether that had to be waited for. Raises as the callers do."""
        waited = False
        while True:
            try:
                return operation(), waited
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self._socket)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:  # OpenSSL's are, too
                raise self._broken(error) from error
            waited = True

    def _broken(self, error: Exception) -> Exception:
        return trio.ClosedResourceError() if self._socket.fileno() < 0 else trio.BrokenResourceError(str(error))

    @property
    def socket(self) -> socket.socket:
        """For what the kernel says of it only."""
        return self._socket

    def say_goodbye(self) -> None:
        """Nothing more will be sent (close_notify); what the other side says can still be read."""
        with suppress(ssl.SSLError, OSError, ValueError):
            self._socket.unwrap()

    def answer_in_the_clear(self, data: bytes) -> None:
        """To one who has begun without TLS, so that the handshake failed."""
        with suppress(OSError):
            socket.socket.send(self._socket, data, socket.MSG_DONTWAIT)

    async def let_read(self) -> None:
        """After a handshake that failed: until the other side has ended the connection. Closed with something of its unread, the connection is reset, and
        what was said last (an alert, an answer) is lost."""
        with suppress(OSError, trio.ClosedResourceError):
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                if not socket.socket.recv(self._socket, RECORD_BYTES):
                    return

    def close(self) -> None:
        """Say goodbye (nobody waits for it to leave) and close. Who waits for the socket gets ClosedResourceError."""
        if self._socket.fileno() < 0:
            return
        self.say_goodbye()
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    def certificate(self) -> dict[str, Any] | None:
        """The peer's certificate as ssl.SSLSocket.getpeercert() gives it; None without one."""
        return self._socket.getpeercert()

    def certificate_pem(self) -> str:
        """The peer's certificate, PEM; empty without one."""
        shown = self._socket.getpeercert(binary_form=True)
        return ssl.DER_cert_to_PEM_cert(shown) if shown else ""

    def protocol(self) -> str | None:
        """The application protocol that both sides agreed on (ALPN)."""
        return self._socket.selected_alpn_protocol()

    def remote(self) -> tuple[str, int]:
        """The address and port of the other side; empty when it has gone."""
        try:
            name = self._socket.getpeername()
        except OSError:
            return "", 0  # reading will say so
        return str(name[0]), int(name[1])
