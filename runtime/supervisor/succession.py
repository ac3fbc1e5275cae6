"""When the stem has died: the supervisor takes its place, and starts a new supervisor as its child. Owns that moment.

The containers' parent stays the same process, so no exit status is lost; what the dead stem had kept is handed over, open.
Requests that are under way are answered first, those that come meanwhile are put to the next supervisor by their clients.
Source: execve(2) (children, record locks and descriptors stay), fcntl(2).
"""

from __future__ import annotations

import os
import socket

from runtime.kernel.interpreter import execute_sealed
from runtime.stem import lock
from runtime.supervisor.context import Context
from runtime.supervisor.server import Server

GIVEN_WAY = 1
"""Status of a supervisor that leaves its containers to the next one."""


def watch_stem(context: Context, server: Server, listener: socket.socket) -> None:
    """From now on the stem's death is noticed at once."""
    control = context.keeper.control

    def died(_events: int) -> None:
        context.loop.forget(control)
        context.keeper.alone()
        server.retire(lambda: _become_stem(context, listener))

    context.loop.watch(control, died)


def _become_stem(context: Context, listener: socket.socket) -> None:
    """Does not return. Another stem may have come meanwhile, with a supervisor that waits for this one's end."""
    places = context.places
    held = lock(places.stem_lock, wait=False)
    if held < 0:
        os._exit(GIVEN_WAY)
    kept = os.memfd_create("kept", 0)
    with open(kept, "wb", closefd=False) as file:
        for name, descriptor in context.keeper.kept.items():
            os.set_inheritable(descriptor, True)
            file.write(f"{name} {descriptor}\n".encode())
    os.lseek(kept, 0, os.SEEK_SET)
    options = {"--run": places.run, "--state": places.state}
    for option, descriptor in (("--listen", listener.fileno()), ("--lock", held), ("--kept", kept)):
        os.set_inheritable(descriptor, True)
        options[option] = str(descriptor)
    try:
        execute_sealed(["-I", "-m", "runtime.stem", *(word for option in options.items() for word in option)])
    except OSError as error:
        os.write(2, f"the supervisor can't take the stem's place: {error}\n".encode())
        os._exit(GIVEN_WAY)
