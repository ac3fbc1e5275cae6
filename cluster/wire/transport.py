"""TLS on TCP, with trio: addresses, dialing, the handshake; errors in the words that a user reads.

Owns a connection until its handshake is done; what is said over it is cluster/wire/peer.py's.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from functools import partial
from os import strerror
from typing import Final

import trio

from cluster.model.decimals import is_natural
from cluster.model.errors import InvalidArgument, PermissionDenied, Unavailable
from cluster.wire import client_hello
from cluster.wire.tls_stream import TlsStream

CONNECT_TIMEOUT_S: Final = 5.0
HANDSHAKE_TIMEOUT_S: Final = 5.0

ContextFor = Callable[[tuple[str, ...]], ssl.SSLContext]
"""The context for a connection that comes in, by the application protocols that its hello names."""


async def dial(address: str, context: ssl.SSLContext, server_name: str | None, *, timeout_s: float = CONNECT_TIMEOUT_S) -> TlsStream:
    """A connection to `host:port` with TLS up; `timeout_s` is for the connection alone. Raises Unavailable when nobody answers in time, PermissionDenied when
    the server's certificate is refused. Cancellation closes it."""
    host, port = split_address(address)
    try:
        with trio.fail_after(timeout_s):
            connected = await trio.open_tcp_stream(host, port)
    except trio.TooSlowError as e:
        raise Unavailable(f"dial tcp {address}: i/o timeout") from e
    except (socket.gaierror, UnicodeError) as e:
        why = "server misbehaving" if isinstance(e, socket.gaierror) and e.errno == socket.EAI_AGAIN else "no such host"
        raise Unavailable(f"dial tcp: lookup {host}: {why}") from e
    except OSError as e:
        raise Unavailable(f"dial tcp {address}: {_cause(e)}") from e
    deadline = trio.current_time() + HANDSHAKE_TIMEOUT_S
    return await _shaken(connected, address, partial(TlsStream, context=context, server_hostname=server_name), deadline)


async def accept(connected: trio.SocketStream, context_for: ContextFor) -> TlsStream:
    """The server's side of a connection that has come in, with TLS up. Raises Unavailable and PermissionDenied; the
    connection is closed then."""
    deadline = trio.current_time() + HANDSHAKE_TIMEOUT_S
    offered: tuple[str, ...] = ()
    try:
        with trio.move_on_at(deadline):
            offered = await _offered(connected)
    except OSError:
        pass  # it has gone already: the handshake will say so
    return await _shaken(connected, "a client", partial(TlsStream, context=context_for(offered), server_side=True), deadline)


async def _offered(connected: trio.SocketStream) -> tuple[str, ...]:
    """The application protocols that the client's hello names, which stays in the socket for OpenSSL to read. Raises OSError.

    The kernel is asked to wake us when so many bytes are there (SO_RCVLOWAT, socket(7)); fewer means that no more will come.
    """
    header = await _peek(connected, client_hello.RECORD_HEADER_BYTES)
    length = client_hello.record_bytes(header)
    return client_hello.protocols(await _peek(connected, length)) if length else ()


async def _peek(connected: trio.SocketStream, length: int) -> bytes:
    connected.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVLOWAT, length)
    try:
        await trio.lowlevel.wait_readable(connected.socket)
        return await connected.socket.recv(length, socket.MSG_PEEK)
    finally:
        connected.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVLOWAT, 1)


def address_of(connected: trio.SocketStream) -> str:
    """The plain address of the other side; empty when it has gone."""
    try:
        return str(connected.socket.getpeername()[0])
    except OSError:
        return ""


async def _shaken(connected: trio.SocketStream, who: str, over: Callable[[trio.SocketStream], TlsStream], deadline: float) -> TlsStream:
    """The stream with TLS up by `deadline` (trio's time); or the connection is closed, and Raises Unavailable or PermissionDenied."""
    try:
        connected.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        stream = over(connected)
    except OSError as e:
        connected.socket.close()
        raise Unavailable(f"{who} broke off the connection: {e}") from e
    done = False
    try:
        with trio.fail_at(deadline):
            await stream.do_handshake()
        done = True
        return stream
    except trio.TooSlowError as e:
        raise Unavailable(f"{who} did not finish the TLS handshake in {HANDSHAKE_TIMEOUT_S:g} s") from e
    except trio.BrokenResourceError as e:
        if isinstance(e.__cause__, ssl.SSLCertVerificationError):
            raise PermissionDenied(f"{who}: its certificate is refused: {e.__cause__.verify_message}") from e
        raise Unavailable(f"{who} broke off the TLS handshake: {e.__cause__ or e}") from e
    finally:
        if not done:
            stream.close()


def split_address(address: str) -> tuple[str, int]:
    """The host and port in `host:port` or `[v6]:port`. Raises InvalidArgument."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not is_natural(port) or not 0 < int(port) < 65536:
        raise InvalidArgument(f"invalid address {address!r}: host:port is needed")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _cause(error: OSError) -> str:
    """The system's words for a failed connection, also when trio tried several addresses."""
    inner: BaseException = error
    while isinstance(inner.__cause__, (OSError, BaseExceptionGroup)):
        inner = inner.__cause__
    if isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return f"connect: {strerror(inner.errno).lower()}" if isinstance(inner, OSError) and inner.errno else str(inner)
