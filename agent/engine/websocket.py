"""A hijacked connection whose other side speaks WebSocket: bytes in messages, by the library that knows its frames.

Owns the opening handshake of a server and the frames; what the bytes are is its user's. Source: RFC 6455; as Docker's daemon any Origin is let in here,
for cluster/wire/http_tls.py and the socket's mode say who may come at all.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import trio
from trio.abc import HalfCloseableStream
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError, generate_accept_token

from cluster.model.errors import InvalidArgument
from cluster.wire.http import RawStream

VERSION: Final = "13"
KEY_BYTES: Final = 16
RECEIVE_BYTES: Final = 64 * 1024


def accepted(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Headers of the answer 101 that opens it, beside those of every upgrade. Raises InvalidArgument for a request that is no handshake."""
    key = headers.get("sec-websocket-key", "")
    if headers.get("upgrade", "").lower() != "websocket" or "upgrade" not in headers.get("connection", "").lower():
        raise InvalidArgument("a WebSocket handshake is needed: Upgrade: websocket, Connection: Upgrade")
    if headers.get("sec-websocket-version") != VERSION:
        raise InvalidArgument(f"unsupported WebSocket version: {headers.get('sec-websocket-version', 'none')} (it must be {VERSION})")
    try:
        size = len(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if size != KEY_BYTES:
        raise InvalidArgument(f"invalid Sec-WebSocket-Key: {key[:64]}")
    return (("Sec-WebSocket-Accept", generate_accept_token(key.encode()).decode()),)


class WebSocketStream(HalfCloseableStream):
    """What the client's messages hold, one after the other; what is sent to it is a binary message each. A client that breaks the protocol has gone."""

    def __init__(self, raw: RawStream) -> None:
        self._raw = raw
        self._frames = Connection(ConnectionType.SERVER)
        self._ended = False  # the client has said goodbye, or is told off
        self._sending = trio.Lock()  # its pings are answered by who reads

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Nothing at the end. `max_bytes` bounds what is read of the connection at once."""
        while not self._ended:
            came = await self._raw.receive_some(min(max_bytes or RECEIVE_BYTES, RECEIVE_BYTES))
            try:
                self._frames.receive_data(came or None)
                if data := await self._taken():
                    return data
            except RemoteProtocolError:
                self._ended = True
                await self._say(CloseConnection(CloseReason.PROTOCOL_ERROR))
        await trio.lowlevel.checkpoint()
        return b""

    async def _taken(self) -> bytes:
        data = b""
        for event in self._frames.events():
            if isinstance(event, BytesMessage):
                data += bytes(event.data)
            elif isinstance(event, TextMessage):
                data += event.data.encode()
            elif isinstance(event, Ping):
                await self._say(event.response())
            elif isinstance(event, CloseConnection):
                self._ended = True
                await self._say(event.response())
        return data

    async def _say(self, event: Any) -> None:
        with suppress(LocalProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
            async with self._sending:
                await self._raw.send_all(self._frames.send(event))

    async def send_all(self, data: Any) -> None:
        """Raises BrokenResourceError when the client is gone."""
        try:
            async with self._sending:
                await self._raw.send_all(self._frames.send(BytesMessage(bytes(data))))
        except LocalProtocolError as error:  # it has been closed
            raise trio.BrokenResourceError from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._raw.wait_send_all_might_not_block()

    async def wait_gone(self) -> None:
        await self._raw.wait_gone()

    async def send_eof(self) -> None:
        """There is no half-close: it is closed."""
        await self._say(CloseConnection(CloseReason.NORMAL_CLOSURE))

    async def aclose(self) -> None:
        await self._raw.aclose()
