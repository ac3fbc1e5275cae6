"""Unary calls of gRPC over HTTP/2, as few lines as etcd needs: a client that takes no more of the processor than the one that asks ours (bench/raft.py).
grpcio takes twelve times as much, and the members share two cores with it.

Headers are written without compression and never read: an answer without a message is an error. Sources: RFC 9113 (frames, flow control), RFC 7541 (header
fields), "gRPC over HTTP/2".
"""

from __future__ import annotations

import asyncio
import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
WINDOW_BYTES: Final = 1 << 30
FIRST_WINDOW_BYTES: Final = 65535
READ_BYTES: Final = 65536
_FRAME: Final = struct.Struct("!HBBBI")  # length (16 and 8 bits), kind, flags, stream
_MESSAGE: Final = struct.Struct("!BI")  # compressed or not, length
_NUMBER: Final = struct.Struct("!I")


class Channel:
    """One connection. What is asked for in one turn of the loop leaves in one call."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str) -> None:
        self._reader, self._writer, self._authority = reader, writer, authority
        self._loop = asyncio.get_running_loop()
        self._next, self._window, self._read = 1, FIRST_WINDOW_BYTES, 0
        self._unsent: list[bytes] = []
        self._headers: dict[str, bytes] = {}
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._answers: dict[int, bytes] = {}
        self._more_window = asyncio.Event()
        self._put(_frame(SETTINGS, 0, 0, struct.pack("!HI", 4, WINDOW_BYTES)) + _frame(WINDOW_UPDATE, 0, 0, _NUMBER.pack(WINDOW_BYTES)))
        self._task = asyncio.create_task(self._receive())

    async def call(self, path: str, message: bytes) -> bytes:
        """Raises ConnectionError for a call that failed, and when the connection is lost."""
        size = _MESSAGE.size + len(message)
        while self._window < size:
            self._more_window.clear()
            await self._more_window.wait()
        self._window -= size
        if self._task.done():
            raise ConnectionError("the connection is lost")
        stream, self._next = self._next, self._next + 2
        if (headers := self._headers.get(path)) is None:
            headers = self._headers[path] = _header_block(path, self._authority)
        answered = self._waiting[stream] = self._loop.create_future()
        self._put(_frame(HEADERS, END_HEADERS, stream, headers) + _frame(DATA, END_STREAM, stream, _MESSAGE.pack(0, len(message)) + message))
        return await answered

    def close(self) -> None:
        self._task.cancel()
        self._writer.close()

    def _put(self, data: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(data)

    def _send(self) -> None:
        self._writer.write(b"".join(self._unsent))
        self._unsent.clear()

    async def _receive(self) -> None:
        rest = b""
        try:
            while data := await self._reader.read(READ_BYTES):
                rest = self._take(rest + data)
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError("the connection is lost"))

    def _take(self, data: bytes) -> bytes:
        """Act on every frame that is complete; the rest."""
        start, end = 0, len(data)
        while end - start >= _FRAME.size:
            high, low, kind, flags, stream = _FRAME.unpack_from(data, start)
            body = start + _FRAME.size
            after = body + (high << 8 | low)
            if after > end:
                break
            if kind == DATA:
                self._answers[stream] = self._answers.get(stream, b"") + data[body:after]
                self._count(after - body)
            elif kind != HEADERS:
                self._control(kind, flags, stream, data[body:after])
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                self._finish(stream)
            start = after
        return data[start:]

    def _finish(self, stream: int) -> None:
        answer, waiting = self._answers.pop(stream, None), self._waiting.pop(stream)
        if answer is None:
            waiting.set_exception(ConnectionError("the call failed"))
        else:
            waiting.set_result(answer[_MESSAGE.size :])

    def _count(self, size: int) -> None:
        """The other side may send as much again when half of the window is used."""
        self._read += size
        if self._read > WINDOW_BYTES // 2:
            self._put(_frame(WINDOW_UPDATE, 0, 0, _NUMBER.pack(self._read)))
            self._read = 0

    def _control(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind in (SETTINGS, PING) and not flags & ACK:
            self._put(_frame(kind, ACK, 0, body if kind == PING else b""))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += _NUMBER.unpack(body)[0]
            self._more_window.set()
        elif kind == GOAWAY:
            raise ConnectionError(f"the server goes away: {body[8:]!r}")


async def connect(host: str, port: int) -> Channel:
    """Raises OSError."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(PREFACE)
    return Channel(reader, writer, f"{host}:{port}")


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return _FRAME.pack(len(body) >> 8, len(body) & 255, kind, flags, stream) + body


def _header_block(path: str, authority: str) -> bytes:
    """Fields of the static table and literal ones, none of them to be remembered (RFC 7541, 6.2.2)."""
    post, http, by_path, by_authority, by_content_type, named = b"\x83", b"\x86", b"\x04", b"\x01", b"\x0f\x10", b"\x00"
    return (post + http + by_path + _text(path) + by_authority + _text(authority) + by_content_type + _text("application/grpc")
            + named + _text("te") + _text("trailers"))  # fmt: skip


def _text(text: str) -> bytes:
    assert len(text) < 127, "a length of one byte"
    return bytes((len(text),)) + text.encode()
