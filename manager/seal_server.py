"""Tells the node process of this machine under what its key is sealed (cluster/identity/seal_socket.py), for as long as the manager runs.

Answers root and the manager's own user, and nobody else; one packet to each, and no question is read.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from cluster.identity.seal_socket import NAME, reachable

BACKLOG: Final = 8
SOCKET_MODE: Final = 0o600
_CREDENTIALS: Final = struct.Struct("3i")

log = logging.getLogger("festoon.autolock")


async def run(state: Path, sealing: Callable[[], bytes], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Answer until cancelled; reports when it listens. Raises OSError where the socket cannot be made."""
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        (state / NAME).unlink(missing_ok=True)
        with reachable(state) as path:
            await listener.bind(path)
        try:
            (state / NAME).chmod(SOCKET_MODE)
            listener.listen(BACKLOG)
            task_status.started()
            while True:
                client, _ = await listener.accept()
                with client:
                    _answer(client, sealing())
        finally:
            (state / NAME).unlink(missing_ok=True)


def _answer(client: trio.socket.SocketType, sealing: bytes) -> None:
    """Without waiting: a packet fits into an empty socket."""
    _, user, _ = _CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if user not in (0, os.geteuid()):
        log.warning("who may not know asked for the seal of the node's key", extra={"fields": {"user": user}})
        return
    try:
        os.write(client.fileno(), sealing)
    except OSError as error:
        log.info("who asked for the seal of the node's key has gone", extra={"fields": {"error": str(error)}})
