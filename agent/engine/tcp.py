"""The Engine API over TCP: with mutual TLS, or, when that is forced, in the clear on loopback only.

Owns who may connect how. In the clear any web page that a user of this machine looks at could try: what comes from a page (Origin) or by a foreign name
(Host, DNS rebinding) is refused. Source: Docker's documentation, "Protect the Docker daemon socket"; RFC 6454; RFC 9112, 3.2.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from os import strerror
from typing import TYPE_CHECKING, Final

import trio

from agent.engine.answers import error_answer
from agent.engine.server import make_application
from cluster.model.errors import InvalidArgument, Unavailable
from cluster.wire.http import Application, Request, Response, serve
from cluster.wire.transport import split_address

if TYPE_CHECKING:
    from agent.node import Node

SCHEME: Final = "tcp://"
KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 9),
)
"""As Go sets them for Docker's daemon, in seconds; connections inherit them from their listener (tcp(7))."""


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """`hosts`: tcp://HOST:PORT. Paths of PEM files, empty: none. `insecure`: without TLS."""

    hosts: tuple[str, ...] = ()
    ca: str = ""
    cert: str = ""
    key: str = ""
    insecure: bool = False


def context_of(settings: TcpSettings) -> ssl.SSLContext | None:
    """The TLS that every client must speak; None where it is forced to be none. Raises InvalidArgument in one sentence."""
    for host in settings.hosts:
        if not host.startswith(SCHEME):
            raise InvalidArgument(f"{host}: festoond listens on its own socket and on {SCHEME}HOST:PORT")
    if settings.insecure:
        if settings.ca or settings.cert or settings.key:
            raise InvalidArgument("--insecure-tcp and --tlscacert, --tlscert or --tlskey exclude each other")
        foreign = [host for host in settings.hosts if not _is_loopback(split_address(host.removeprefix(SCHEME))[0])]
        if foreign:
            raise InvalidArgument(f"{foreign[0]}: without TLS only an address of loopback is served")
        return None
    if not (settings.ca and settings.cert and settings.key):
        raise InvalidArgument(f"{settings.hosts[0]}: --tlscacert, --tlscert and --tlskey are needed (`festoon system certs` makes them), "
                              "or --insecure-tcp for an address of loopback")  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF  # a client that ends its input by FIN still hears the answer
    try:
        context.load_verify_locations(settings.ca)
        context.load_cert_chain(settings.cert, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(f"TLS for {settings.hosts[0]}: {getattr(error, 'strerror', None) or error}") from error
    return context


async def listen(settings: TcpSettings) -> list[trio.SocketListener]:
    """Raises InvalidArgument for what is no address, Unavailable when it can't be bound."""
    made: list[trio.SocketListener] = []
    try:
        for host in settings.hosts:
            name, port = split_address(host.removeprefix(SCHEME))
            try:
                made += [_with_keepalive(listener) for listener in await trio.open_tcp_listeners(port, host=name)]
            except OSError as error:
                reason = strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
                raise Unavailable(f"listen tcp {host.removeprefix(SCHEME)}: bind: {reason}") from error
    except BaseException:
        for listener in made:
            listener.socket.close()
        raise
    return made


def _with_keepalive(listener: trio.SocketListener) -> trio.SocketListener:
    """What it accepts asks by itself whether the other side is still there: a follower whose machine has died would be kept for ever."""
    for level, option, value in KEEPALIVE:
        listener.socket.setsockopt(level, option, value)
    return listener


async def run_tcp(node: Node, listeners: Sequence[trio.SocketListener], context: ssl.SSLContext | None) -> None:
    """Serve there until cancelled."""
    async with trio.open_nursery() as background:
        application = make_application(node, background)
        await serve(listeners, application if context is not None else _guarded(application), tls=context)


def _guarded(application: Application) -> Application:
    async def guarded(request: Request) -> Response:
        if "origin" in request.headers:
            return error_answer("requests of web pages (Origin) are not served without TLS", 403)
        host = request.headers.get("host", "")
        if not _is_loopback(host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host):
            return error_answer(f"the host {host!r} is not served without TLS: use localhost or an address of loopback", 403)
        return await application(request)

    return guarded


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
