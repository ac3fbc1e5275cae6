"""The supervisor's program, started by the stem: `python -I -m runtime.supervisor --run DIR --state DIR --listen FD
--control FD`

Owns the order of its start: locks, adopts, serves. Lean on purpose: whatever is resident here is copied at every fork.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import zlib

from runtime.cgroups.groups import Parents, read_layout
from runtime.kernel.interpreter import hide
from runtime.kernel.processes import boot_id
from runtime.seccomp.filters import filters_of_this_machine
from runtime.spec import DEFAULT_CAPABILITIES
from runtime.stem import close, lock, make_folders
from runtime.supervisor import shelf
from runtime.supervisor.adoption import adopt_all
from runtime.supervisor.births import Births
from runtime.supervisor.chunks import Chunks
from runtime.supervisor.context import Context
from runtime.supervisor.keeper import Keeper
from runtime.supervisor.lists import Lists
from runtime.supervisor.loop import Loop
from runtime.supervisor.packer import Packer
from runtime.supervisor.places import Places
from runtime.supervisor.probe import probe_host
from runtime.supervisor.reaper import Reaper
from runtime.supervisor.reserve import Reserve
from runtime.supervisor.server import Server
from runtime.supervisor.succession import watch_stem


def main(arguments: list[str]) -> int:
    """Runs until it is told to shut down (0)."""
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    stem = os.getppid()
    hide("festoon-runtime")
    places = Places(options["--run"], options["--state"])
    listener = _inherited(options["--listen"])
    control = _inherited(options["--control"])
    make_folders(places)
    held = lock(places.supervisor_lock, wait=True)  # an earlier supervisor that lost its stem may still serve
    loop = Loop()
    server = Server(listener)
    layout = read_layout()
    host = probe_host()
    filters = filters_of_this_machine(host.last_capability)
    reaper = Reaper(loop, places.exits)
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    births = Births(loop, reaper, places.run)
    births.open()
    parents = Parents(layout)
    keeper = Keeper(control)
    prefix = f"{zlib.crc32(os.fsencode(places.state)):08x}-"
    context = Context(
        places=places,
        loop=loop,
        reaper=reaper,
        keeper=keeper,
        packer=Packer(reaper),
        chunks=Chunks(keeper, places.chunk_note),
        births=births,
        reserve=Reserve(loop, reaper, births, parents, prefix),
        layout=layout,
        parents=parents,
        host=host,
        lists=Lists(host),
        filters=filters,
        boot_id=boot_id(),
        home=home,
        stem=stem,
        publish=server.publish,
    )
    adopt_all(context)
    shelf.recover(context)
    parents.sweep(prefix)
    context.chunks.settle()  # of a container that is gone
    server.open(context)
    context.keeper.ready()
    watch_stem(context, server, listener)
    filters.prepare(DEFAULT_CAPABILITIES)
    gc.collect()
    gc.freeze()
    loop.when_idle(context.reserve.fill)
    loop.run()
    context.reserve.close()
    parents.remove_all()
    close(places)
    os.close(held)
    return 0


def _inherited(number: str) -> socket.socket:
    os.set_inheritable(int(number), False)
    return socket.socket(fileno=int(number))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
