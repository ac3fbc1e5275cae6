"""What systemd is told of this process's life. Owns the one message; without systemd nothing happens.

Source: sd_notify(3): a datagram to the socket that NOTIFY_SOCKET names, `@` standing for an abstract name's zero byte.
"""

from __future__ import annotations

import os
import socket


def say(state: str) -> None:
    """`READY=1` or `STOPPING=1`. A service manager that does not listen is none of our business."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect("\0" + name[1:] if name.startswith("@") else name)
            sock.send(state.encode())
        except OSError:
            return
