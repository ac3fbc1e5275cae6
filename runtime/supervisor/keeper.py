"""The supervisor's end of the stem's control socket: descriptors that must outlive a crash. Owns the socket and
what it found at the start; knows which descriptors are kept, for when this process becomes the stem itself."""

from __future__ import annotations

import os
import socket

from runtime.stem import DROP, END, FOUND, KEEP, MESSAGE_BYTES, READY

SEND_TIMEOUT_S = 1.0
"""A stem that does not read for so long is as good as dead."""


class Keeper:
    """When the stem is dead everything goes on, without the net."""

    def __init__(self, control: socket.socket) -> None:
        """Takes over what an earlier supervisor left with the stem."""
        self._control = control
        self._found: dict[str, int] = {}
        self.kept: dict[str, int] = {}
        self._alone = False
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
            if not message or message[:1] == END:
                break
            if message[:1] == FOUND and descriptors:
                os.set_inheritable(descriptors[0], False)
                self._found[message[1:].decode()] = descriptors[0]
        control.settimeout(SEND_TIMEOUT_S)

    @property
    def control(self) -> int:
        """Hangs up when the stem dies; it says nothing any more."""
        return self._control.fileno()

    def alone(self) -> None:
        """The stem is dead."""
        self._alone = True

    def ready(self) -> None:
        """Every container has been adopted; lets go of what none of them claimed."""
        for name, descriptor in self._found.items():
            os.close(descriptor)
            self.drop((name,))
        self._found.clear()
        self._send(READY, [])

    def keep(self, descriptors: dict[str, int]) -> None:
        """The stem holds duplicates until `drop`, at most KEPT_AT_ONCE in one call; the caller leaves its own open until
        then."""
        self.kept |= descriptors
        self._send(KEEP + "\n".join(descriptors).encode(), list(descriptors.values()))

    def drop(self, names: tuple[str, ...]) -> None:
        for name in names:
            self.kept.pop(name, None)
        self._send(DROP + "\n".join(names).encode(), [])

    def claim(self, name: str) -> int:
        """A descriptor that was kept and still is, now the caller's; -1 when there is none."""
        descriptor = self._found.pop(name, -1)
        if descriptor >= 0:
            self.kept[name] = descriptor
        return descriptor

    def names(self) -> tuple[str, ...]:
        """What was kept and has not been claimed."""
        return tuple(self._found)

    def _send(self, message: bytes, descriptors: list[int]) -> None:
        if self._alone:
            return
        try:
            socket.send_fds(self._control, [message], descriptors)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self._alone = True  # the stem is dead, or stopped
