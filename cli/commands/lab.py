"""`festoon lab`: a whole cluster on one machine. Words and exit statuses only; what is done is in the root `lab`.

`festoon lab exec` is found early by cli.__main__ (lab.enter.main), because it is called often and must be quick; the
command here is the same for `--help` and completeness.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TextIO, TypeVar

from cli.api import Api
from cli.failures import CliFailure
from cli.flags import INT, option, switch
from cli.usage import Group, command
from lab import enter, layout, machines, records, registry, swarm
from lab.layout import LabError, Layout

T = TypeVar("T")
DEFAULT_NODES, DEFAULT_MANAGERS = 3, 1

BAR_CELLS = 30
WORDS = ("", "made", "booted", "started")
"""Of a machine's steps (machines.Step)."""

_name = option("--name", help="Which lab", default=layout.DEFAULT_NAME)

lab = Group(
    "lab",
    summary="A whole cluster on one machine, each node in namespaces of its own",
    examples=(
        ("up --swarm", "three machines as one swarm"),
        ("exec swarm-manager -- festoon node ls", "a command on one of them"),
        ("down", "nothing is left of it"),
    ),
    lazy={
        "up": ("cli.commands.lab:up", "Make the machines and start festoond on them; called again, revive what has died"),
        "down": ("cli.commands.lab:down", "Kill everything in the lab and remove every trace of it"),
        "ls": ("cli.commands.lab:ls", "List the machines"),
        "exec": ("cli.commands.lab:exec_", "Run a command as on that machine; its exit status is ours"),
        "shell": ("cli.commands.lab:shell", "A shell on that machine"),
        "logs": ("cli.commands.lab:logs", "What festoond has said on that machine"),
    },
)


@command(
    "up",
    summary="Make the machines and start festoond on them; called again, revive what has died",
    examples=(
        ("", "three machines, each with a festoond of its own"),
        ("--nodes 5 --managers 3 --swarm", "five of them as one swarm with three managers"),
        ("--name other --subnet 192.168.210.0/24", "a second lab beside the first"),
        ("--registry", "with a registry that its machines can push to"),
    ),
)
@_name
@option("--nodes", help=f"How many machines (default {DEFAULT_NODES})", type=INT)
@option("--managers", help=f"How many of them --swarm makes managers (default {DEFAULT_MANAGERS})", type=INT)
@option("--subnet", help=f"The machines' network (default {layout.DEFAULT_SUBNET})")
@switch("--registry", help="Also run a registry (Debian's docker-registry) at port 5000 of the lab's bridge")
@switch("--swarm", help="Also init a swarm and join all machines")
@switch("--uplink", help="Let the machines reach the real outside through this host")
def up(_api: Api, arguments: tuple[str, ...], name: str, **flags: Any) -> None:
    _needs_root()
    began = time.monotonic()
    uplink = bool(flags["uplink"])
    plan = _told(lambda: _plan(name, flags["nodes"], flags["managers"], flags["subnet"], uplink))
    picture = _Picture(plan, sys.stdout)
    try:
        started = _told(lambda: machines.up(plan, uplink=uplink, with_registry=bool(flags["registry"]), told=picture.step))
    except BaseException as failure:
        picture.wipe()
        if isinstance(failure, KeyboardInterrupt):
            print(f"The lab {name} stays as it was." if _record(name) else f"Nothing of the lab {name} is left.", file=sys.stderr)
        raise
    picture.end(started)
    if flags["swarm"]:
        _told(lambda: [print(f"{joined} is in the swarm", flush=True) for joined in swarm.form(plan)])
    _explain(plan, time.monotonic() - began)


@command(
    "down",
    summary="Kill everything in the lab and remove every trace of it",
    examples=(
        ("", "the lab that is there when no other is named"),
        ("--name other", "another one"),
    ),
)
@_name
def down(_api: Api, arguments: tuple[str, ...], name: str) -> None:
    _needs_root()
    if _told(lambda: machines.down(name)):
        print(f"The lab {name} is gone.", flush=True)
    else:
        print(f"There is no lab {name}.", flush=True)


@command(
    "ls",
    summary="List the machines",
    examples=(("", "each machine, its address, whether it is up and what it is in the swarm"),),
)
@_name
def ls(_api: Api, arguments: tuple[str, ...], name: str) -> None:
    _needs_root()
    rows = [("NAME", "ADDRESS", "STATE", "ROLE")]
    rows += [(s.machine.name, s.machine.address, s.state, _role(name, s)) for s in _told(lambda: machines.status(name))]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        print("   ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip(), flush=True)


@command(
    "exec",
    "NODE -- COMMAND [ARG...]",
    summary="Run a command as on that machine; its exit status is ours",
    least=2,
    most=None,
    interspersed=False,
    examples=(
        ("swarm-manager -- festoon node ls", "as if it were typed on that machine"),
        ("swarm-worker1 -- ip addr", "any program of this host will do"),
        ("--name other swarm-manager -- sh", "in another lab"),
    ),
)
@_name
def exec_(_api: Api, arguments: tuple[str, ...], name: str) -> int:
    return enter.main([f"--name={name}", *arguments])


@command(
    "shell",
    "NODE",
    summary="A shell on that machine",
    least=1,
    most=1,
    examples=(("swarm-manager", "leave it with exit or Ctrl-D"),),
)
@_name
def shell(_api: Api, arguments: tuple[str, ...], name: str) -> int:
    return enter.main([f"--name={name}", arguments[0], "--", os.environ.get("SHELL") or "/bin/sh"])


@command(
    "logs",
    "NODE",
    summary="What festoond has said on that machine",
    least=1,
    most=1,
    examples=(
        ("swarm-worker1", "what that machine's festoond has said so far"),
        ("-f swarm-worker1", "and what it says from now on, until Ctrl-C"),
    ),
)
@_name
@switch("--follow", "-f", help="Go on as festoond says more")
def logs(_api: Api, arguments: tuple[str, ...], name: str, follow: bool | None) -> None:
    _needs_root()
    path = _told(lambda: machines.log_of(name, arguments[0]))
    if follow:
        sys.stdout.flush()
        os.execvp("tail", ["tail", "-n", "+1", "-F", str(path)])  # noqa: S606 (to become it is the point)
    if path.exists():
        print(path.read_text(errors="replace"), end="", flush=True)


class _Picture:
    """The machines as they come up: a bar for each on a terminal, drawn over; elsewhere one line for each when all are there."""

    def __init__(self, plan: Layout, out: TextIO) -> None:
        self._plan, self._out = plan, out
        self._steps: dict[str, int] = {}
        self._height = 0

    def step(self, machine: str, step: machines.Step) -> None:
        self._steps[machine] = step
        if self._out.isatty():
            self._draw([self._bar(one.name) for one in self._plan.machines])

    def end(self, started: Sequence[str]) -> None:
        self._draw(["started" if machine.name in started else "up already" for machine in self._plan.machines])

    def wipe(self) -> None:
        """What did not come about leaves no bars behind."""
        if self._height:
            self._out.write(f"\x1b[{self._height}A\r\x1b[J")
            self._out.flush()

    def _bar(self, machine: str) -> str:
        step = self._steps.get(machine, 0)
        full = BAR_CELLS * step // machines.Step.READY
        return f"{WORDS[step]:<9}[{'=' * full}>{' ' * (BAR_CELLS - full)}]"

    def _draw(self, words: Sequence[str]) -> None:
        back, wiped = (f"\x1b[{self._height}A\r", "\x1b[2K") if self._height else ("", "")
        lines = [f"{wiped}{m.name:<17} {m.address:<15} {word}\n" for m, word in zip(self._plan.machines, words, strict=True)]
        self._height = len(lines)
        self._out.write(back + "".join(lines))
        self._out.flush()


def _plan(name: str, nodes: int | None, managers: int | None, subnet: str | None, uplink: bool) -> Layout:
    """What the lab is to be: what it is already where it exists, which explicit options must agree with."""
    record = _record(name)
    if record is None:
        return layout.plan(
            DEFAULT_NODES if nodes is None else nodes,
            DEFAULT_MANAGERS if managers is None else managers,
            layout.DEFAULT_SUBNET if subnet is None else subnet,
            name,
        )
    there = record.layout
    now = (len(there.machines), sum(m.role == "manager" for m in there.machines), there.subnet, record.uplink)
    if any(want is not None and want != have for want, have in zip((nodes, managers, subnet, uplink or None), now, strict=True)):
        raise LabError(
            f"the lab {name} is there with {_count(now[0], 'node')}, {_count(now[1], 'manager')}, {now[2]}{', --uplink' if now[3] else ''}: "
            "take it down first to make another"
        )
    return there


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _record(name: str) -> records.Record | None:
    """None also for what an `up` left that was killed before it had written anything down: machines.up clears that away."""
    if name not in records.names():
        return None
    try:
        return records.read(name)
    except LabError:
        return None


def _explain(plan: Layout, seconds: float) -> None:
    first = plan.machines[0].name
    record = records.read(plan.name)
    named = "" if plan.name == layout.DEFAULT_NAME else f" --name {plan.name}"
    outside = "leads to the real outside (NAT by this host)" if record.uplink else f"answers for {layout.OUTSIDE}, a stand-in for the outside"
    number = len(plan.machines)
    print(f"\n{number} machine{'s' * (number > 1)} on {plan.subnet} in {seconds:.1f} s. The way out is {plan.gateway}, which {outside}.", flush=True)
    if record.registry:
        print(f"Its registry is {registry.address(plan)}.", flush=True)
    print(f"This host is {plan.host}. On a machine: festoon lab exec{named} {first} -- festoon info", flush=True)


def _role(name: str, status: machines.Status) -> str:
    if status.state != "up":
        return "-"
    try:
        return swarm.role_of(name, status.machine) or "-"
    except LabError:
        return "?"


def _needs_root() -> None:
    if os.geteuid() != 0:
        _fail("the lab needs root: it makes namespaces, mounts and cgroups")


def _told(act: Callable[[], T]) -> T:
    try:
        return act()
    except LabError as error:
        _fail(str(error))
    except (OSError, TimeoutError) as error:
        _fail(str(error))


def _fail(sentence: str) -> NoReturn:
    raise CliFailure(f"festoon lab: {sentence}")
