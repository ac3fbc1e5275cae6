"""The `festoon` command. Imports little and late: each subcommand loads its own module, and `lab exec` nothing of
the rest.

Owns the exit status and what stands on standard error; never does a command's work.
"""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> int:
    """Run the command in sys.argv; the exit status."""
    # Our other programs are started with -I, which ignores this wish for other people's Python; here it would cost each
    # command the compilation of itself, as long as the command takes.
    sys.dont_write_bytecode = False
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _open_what_is_closed()
    arguments = sys.argv[1:]
    if arguments[:2] == ["lab", "exec"] and arguments[2:3] not in (["--help"], ["-h"]):
        from lab.enter import main as lab_exec

        return lab_exec(arguments[2:])
    try:
        from cli.root import run
    except KeyboardInterrupt:  # while it is still being loaded
        return INTERRUPTED
    return run(sys.argv[0], arguments)


def _open_what_is_closed() -> None:
    """Who starts us without one of the three streams (`>&-`) does not want to hear it; the next file that is opened must not take its place."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, mode))


if __name__ == "__main__":
    sys.exit(main())
