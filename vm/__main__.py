"""`python -m vm`: the command line of guests. Parses, calls the room's modules, prints."""

from __future__ import annotations

import argparse
import os
import sys

from vm import channel, machine
from vm.errors import VmError
from vm.machine import Cgroup, Settings

NO_GUEST_STATUS = 125  # as docker run


def main(arguments: list[str]) -> int:
    """The exit status: the command's, or 125 when there is no guest."""
    own, command = _split(arguments)
    options = _parser().parse_args(own)
    try:
        return _run(options, command)
    except VmError as error:
        print(f"vm: {error}", file=sys.stderr)
        return NO_GUEST_STATUS
    except KeyboardInterrupt:
        return 130


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vm", description="Machines with Debian's kernel, in seconds, without KVM.")
    commands = parser.add_subparsers(dest="verb", required=True)
    run = commands.add_parser("run", help="run a command in a guest of its own: vm run [OPTIONS] -- COMMAND...")
    _machine_options(run)
    return parser


def _machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cgroup", type=Cgroup, default=Cgroup.V2, help="v2 (default), v1 or hybrid")
    parser.add_argument("--memory", type=int, default=1024, metavar="MIB", help="default 1024")
    parser.add_argument("--cpus", type=int, default=1, help="default 1")


def _run(options: argparse.Namespace, command: list[str]) -> int:
    settings = Settings(memory_mib=options.memory, cpus=options.cpus, cgroup=options.cgroup)
    with machine.start(settings) as guest:
        ready = channel.wait_ready(guest)
        return channel.run(ready, command, cwd=os.getcwd(), env=channel.environment(), stdin=0, output=_print)


def _print(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
