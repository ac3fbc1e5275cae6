"""Where a manager process tells the node process of its own machine under what the node's key is sealed: a Unix socket in the manager's folder.

The manager alone knows that while it runs, so the node that starts anew beside it can go on, and one whose manager is locked cannot. Nothing
of it is ever on disk. Owns the place and the asking; manager/seal_server.py answers. Source: unix(7), SO_PEERCRED.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cluster.identity.seal import KEY_BYTES

NAME: Final = "node-key.sock"
ANSWER_S: Final = 2.0  # a manager that does not answer by then is taken for one that is locked


@contextmanager
def reachable(state: Path) -> Iterator[str]:
    """The socket's path, short enough for any folder. Raises FileNotFoundError."""
    folder = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{NAME}"
    finally:
        os.close(folder)


def ask(state: Path) -> bytes | None:
    """What the node's key is sealed under, by the manager that runs here; None when none answers. Blocks at most ANSWER_S at each step."""
    try:
        with reachable(state) as path, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            asking.settimeout(ANSWER_S)
            asking.connect(path)
            answer = asking.recv(KEY_BYTES)
    except OSError:
        return None
    return answer if len(answer) == KEY_BYTES else None
