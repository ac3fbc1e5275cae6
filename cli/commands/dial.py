"""`festoon system dial-stdio`: the daemon's socket as this process's standard streams, which is how `docker -H ssh://…` reaches it."""

from __future__ import annotations

import os
import select
import sys
from socket import SHUT_WR, socket
from typing import Final

from cli.api import Api
from cli.usage import command

PIECE_BYTES: Final = 64 * 1024


@command("dial-stdio", summary="Proxy the stdio stream to the daemon connection. Should not be invoked manually.")
def dial_stdio(api: Api, arguments: tuple[str, ...]) -> int:
    with api.connection() as connected:
        _relay(connected)
    return 0


dial_stdio.optional = False


def _relay(connected: socket) -> None:
    """Both ways, until the daemon has said all; that our input has ended is passed on."""
    source, sink = sys.stdin.fileno(), sys.stdout.fileno()
    reading: list[int | socket] = [source, connected]
    while True:
        ready, _, _ = select.select(reading, [], [])
        if connected in ready:
            if not (data := connected.recv(PIECE_BYTES)):
                return
            _write(sink, data)
        if source in ready:
            if data := os.read(source, PIECE_BYTES):
                connected.sendall(data)
            else:
                reading.remove(source)
                connected.shutdown(SHUT_WR)


def _write(sink: int, data: bytes) -> None:
    while data:
        data = data[os.write(sink, data) :]
