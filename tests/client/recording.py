"""A proxy between clients and a node's socket that keeps what both said, byte by byte, and the exchanges that these bytes are.

It passes everything on untouched, hijacked connections too, and looks at it afterwards: nothing that a client waits for waits for the record."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

PIECE_BYTES = 64 * 1024
KEPT_BYTES = 16 * 1024 * 1024
"""Of each direction of a connection: archives go on for ever, answers in JSON do not."""


@dataclass(frozen=True)
class Exchange:
    """One request and its answer; `body` as far as it came."""

    method: str
    path: str
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def values(self) -> Iterator[Any]:
        """The JSON values of the body, one after the other; not the last one of an answer that was cut off."""
        text, at, decoder = self.body.decode(), 0, json.JSONDecoder()
        while at < len(text):
            with contextlib.suppress(json.JSONDecodeError):
                value, at = decoder.raw_decode(text, at)
                yield value
                at += len(text[at:]) - len(text[at:].lstrip())
                continue
            return


@dataclass
class Conversation:
    """One connection."""

    asked: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)

    def exchanges(self) -> Iterator[Exchange]:
        requests, answers = io.BytesIO(bytes(self.asked)), io.BytesIO(bytes(self.answered))
        while line := requests.readline():
            method, target, _ = line.decode().split(" ", 2)
            if not _pass_request(requests):
                return
            reader = http.client.HTTPResponse(_Bytes(answers), method=method)  # type: ignore[arg-type]
            try:
                reader.begin()
            except (http.client.HTTPException, OSError):
                return  # asked, and never answered
            hijacked = reader.headers.get("Content-Type", "").startswith("application/vnd.docker") and "Transfer-Encoding" not in reader.headers
            try:
                body = b"" if hijacked or reader.status == http.client.SWITCHING_PROTOCOLS else reader.read()
            except http.client.IncompleteRead as cut:
                body = cut.partial
            yield Exchange(method, unquote(target.partition("?")[0]), reader.status, reader.headers, body)
            if hijacked or reader.status == http.client.SWITCHING_PROTOCOLS:
                return  # from here on it is a stream


class _Bytes:
    """What HTTPResponse takes for a socket."""

    def __init__(self, answers: io.BytesIO) -> None:
        self._answers = answers

    def makefile(self, _mode: str) -> io.BufferedIOBase:
        return _Open(self._answers)


class _Open(io.BufferedIOBase):
    """The answers, which stay open when one of them has been read."""

    def __init__(self, answers: io.BytesIO) -> None:
        self._answers = answers

    def read(self, size: int | None = -1, /) -> bytes:
        return self._answers.read(size)

    def readline(self, size: int | None = -1, /) -> bytes:
        return self._answers.readline(size)


def _pass_request(requests: io.BytesIO) -> bool:
    """Over its headers and its body; whether there is all of it."""
    headers = http.client.parse_headers(requests)
    if headers.get("Transfer-Encoding", "") != "chunked":
        length = int(headers.get("Content-Length", "0"))
        return len(requests.read(length)) == length
    while size := requests.readline():
        length = int(size.split(b";")[0], 16)
        requests.read(length + 2)
        if length == 0:
            return True
    return False


class Recorder:
    """State: the conversations of all sockets that it serves."""

    def __init__(self) -> None:
        self.conversations: list[Conversation] = []

    def exchanges(self) -> Iterator[Exchange]:
        for conversation in self.conversations:
            yield from conversation.exchanges()

    @contextlib.contextmanager
    def before(self, target: Path, path: Path) -> Iterator[Path]:
        """Serve `path` with what answers at `target`."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(64)
            accepting = threading.Thread(target=self._accept, args=(listener, target), daemon=True)
            accepting.start()
            try:
                yield path
            finally:
                listener.shutdown(socket.SHUT_RDWR)  # accept ends
                accepting.join()
                os.unlink(path)

    def _accept(self, listener: socket.socket, target: Path) -> None:
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    client = stack.enter_context(listener.accept()[0])
                except OSError:
                    return
                upstream = stack.enter_context(socket.socket(socket.AF_UNIX))
                upstream.connect(str(target))
                conversation = Conversation()
                self.conversations.append(conversation)
                for source, sink, kept in ((client, upstream, conversation.asked), (upstream, client, conversation.answered)):
                    threading.Thread(target=_pass_on, args=(source, sink, kept), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    """One direction to its end; the other one goes on."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            if len(kept) < KEPT_BYTES:
                kept += piece
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
