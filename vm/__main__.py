"""`python -m vm`: the command line of guests. Parses, calls the room's modules, prints."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from lab import layout
from lab.layout import DEFAULT_SUBNET
from vm import channel, cluster, machine
from vm.errors import VmError
from vm.machine import Cgroup, Settings

NO_GUEST_STATUS = 125  # as docker run
DEFAULT_NAME = "vm"


def main(arguments: list[str]) -> int:
    """The exit status: the command's, or 125 when there is no guest."""
    own, command = _split(arguments)
    options = _parser().parse_args(own)
    try:
        status: int = options.act(options, command)
    except VmError as error:
        print(f"vm: {error}", file=sys.stderr)
        return NO_GUEST_STATUS
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vm", description="Machines with Debian's kernel, in seconds, without KVM.")
    verbs = parser.add_subparsers(required=True)
    run = verbs.add_parser("run", help="run a command in a guest of its own: vm run [OPTIONS] -- COMMAND...")
    _machine_options(run)
    run.add_argument("--counted", action="store_true", help="its clock counts instructions, so that figures do not depend on what else this host does")
    run.set_defaults(act=_run)

    cluster = verbs.add_parser("cluster", help="machines that stay, on a private network").add_subparsers(required=True)
    up = cluster.add_parser("up", help="boot them, with festoond running on each")
    up.add_argument("--nodes", type=int, default=3, help="default 3")
    up.add_argument("--managers", type=int, default=1, help="how many are called swarm-manager; default 1")
    up.add_argument("--subnet", default=DEFAULT_SUBNET, help=f"default {DEFAULT_SUBNET}")
    _machine_options(up)
    up.set_defaults(act=_up)
    run_on = verbs.add_parser("exec", help="run a command on a machine: vm exec NODE -- COMMAND...")
    run_on.add_argument("node")
    run_on.set_defaults(act=_exec)
    ssh = verbs.add_parser("ssh", help="the same on a terminal; without a command, a shell: vm ssh NODE [-- COMMAND...]")
    ssh.add_argument("node")
    ssh.set_defaults(act=_ssh)
    down = verbs.add_parser("down", help="end the cluster; nothing of it stays")
    down.set_defaults(act=_down)
    for one in (up, run_on, ssh, down):
        one.add_argument("--name", default=DEFAULT_NAME, help=f"which cluster; default {DEFAULT_NAME}")
    return parser


def _machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cgroup", type=Cgroup, default=Cgroup.V2, choices=list(Cgroup), help="default v2")
    parser.add_argument("--memory", type=int, default=1024, metavar="MIB", help="default 1024")
    parser.add_argument("--cpus", type=int, default=1, help="default 1")


def _run(options: argparse.Namespace, command: list[str]) -> int:
    settings = Settings(memory_mib=options.memory, cpus=options.cpus, counted=options.counted, cgroup=options.cgroup)
    with machine.start(settings) as guest:
        ready = channel.wait_ready(guest)
        return channel.run(ready, _needed(command), cwd=os.getcwd(), env=channel.environment(), stdin=0, output=_print)


def _up(options: argparse.Namespace, _: list[str]) -> int:
    began = time.monotonic()
    plan = _told(options)
    cluster.up(cluster.Plan(options.name, options.nodes, options.managers, options.subnet, options.cgroup, options.memory, options.cpus))
    for one in plan.machines:
        print(f"{one.name:<17} {one.address}")
    print(f"{len(plan.machines)} machines on {plan.subnet} in {time.monotonic() - began:.1f} s. On one: python -m vm ssh {plan.machines[0].name}")
    return 0


def _told(options: argparse.Namespace) -> layout.Layout:
    try:
        return layout.plan(options.nodes, options.managers, options.subnet, options.name)
    except layout.LabError as error:
        raise VmError(str(error)) from None


def _exec(options: argparse.Namespace, command: list[str]) -> int:
    return cluster.run(options.name, options.node, _needed(command), _print)


def _ssh(options: argparse.Namespace, command: list[str]) -> int:
    return cluster.shell(options.name, options.node, command or ["/bin/bash", "-l"], _print)


def _down(options: argparse.Namespace, _: list[str]) -> int:
    there = cluster.down(options.name)
    print(f"The cluster {options.name} is gone." if there else f"There is no cluster {options.name}.")
    return 0


def _needed(command: list[str]) -> list[str]:
    if not command:
        raise VmError("which command? It stands after --")
    return command


def _print(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
