"""The manager program: `python -I -m manager --state DIR --identity DIR --listen HOST:PORT --advertise HOST:PORT
--ready-fd N [--bootstrap | --unlock]`. Owns the command line, logging and the process's last words; everything else is
daemon.py's.

With --bootstrap a new cluster is made from the JSON options on standard input (options.BootstrapOptions). When the
manager serves, one JSON line with node_id and cluster_id goes to the descriptor N. Exit status 0 after SIGTERM or
control.stop, 1 after one sentence on standard error about what the user can mend, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from cluster.identity import unlock_key
from cluster.log import configure
from cluster.model.errors import ClusterError
from cluster.wire import versions
from manager import daemon
from manager.options import OPTIONS_BYTES, Options, check, decode_bootstrap
from manager.raft_storage.faults import StorageFault

UNLOCK_KEY_CHARACTERS: Final = 256


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; its exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    configure(logging.DEBUG if given.debug else logging.INFO)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)  # each agent's session is a descriptor
    if os.getpid() != os.getpgrp():
        os.setsid()  # started by hand: whoever ends that session does not end the cluster
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until somebody listens to it: the identity has not been read yet
    words: list[str] = []
    try:
        bootstrap = decode_bootstrap(sys.stdin.buffer.read(OPTIONS_BYTES + 1)) if given.bootstrap else None
        key = bootstrap.unlock_key if bootstrap is not None else sys.stdin.readline(UNLOCK_KEY_CHARACTERS).strip() if given.unlock else ""
        unlocking = unlock_key.parse(key) if key or given.unlock else None
        options = Options(given.state, given.identity, given.listen, given.advertise, given.ready_fd, bootstrap, unlocking, given.speak)
        trio.run(daemon.run, check(options))
    except* (ClusterError, StorageFault) as faults:
        words += [str(fault) for fault in _leaves(faults)]
    except* OSError as faults:
        words += [_sentence(fault, given.listen) for fault in _leaves(faults) if isinstance(fault, OSError)]
    if words:
        sys.stderr.write(words[0] + "\n")  # the last line is what the node tells its user
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="manager", description="The cluster manager of a Festoon node.")
    parser.add_argument("--state", type=Path, required=True, help="the folder of the Raft log")
    parser.add_argument("--identity", type=Path, required=True, help="the folder of the node's key and certificate")
    parser.add_argument("--listen", required=True, help="host:port to serve")
    parser.add_argument("--advertise", required=True, help="host:port under which others reach this manager")
    parser.add_argument("--ready-fd", type=int, required=True, help="a descriptor for the line that says it serves")
    parser.add_argument("--bootstrap", action="store_true", help="make a new cluster, options as JSON on stdin")
    parser.add_argument("--unlock", action="store_true", help="the state is locked: read the swarm's unlock key from stdin")
    parser.add_argument("--speak", type=int, default=versions.VERSION, help="the version of the managers' protocol to speak (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="log more")
    return parser


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _sentence(error: OSError, listen: str) -> str:
    if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES) and error.filename is None:
        return f"manager stopped: failed to listen on remote API address: listen tcp {listen}: bind: {os.strerror(error.errno).lower()}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
