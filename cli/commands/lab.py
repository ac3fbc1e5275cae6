"""`festoon lab`: a whole cluster on one machine. Words and exit statuses only; what is done is in the root `lab`.

`festoon lab exec` is found early by cli.__main__ (lab.enter.main), because it is called often and must be quick; the
command here is the same for `--help` and completeness.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

import click

from lab import enter, layout, machines, records, swarm
from lab.layout import LabError, Layout

T = TypeVar("T")
DEFAULT_NODES, DEFAULT_MANAGERS = 3, 1

_name = click.option("--name", default=layout.DEFAULT_NAME, show_default=True, help="Which lab.")


@click.group()
def lab() -> None:
    """A whole cluster on one machine, each node in namespaces of its own."""


@lab.command()
@_name
@click.option("--nodes", type=int, help=f"How many machines.  [default: {DEFAULT_NODES}]")
@click.option("--managers", type=int, help=f"How many of them --swarm makes managers.  [default: {DEFAULT_MANAGERS}]")
@click.option("--subnet", help=f"The machines' network.  [default: {layout.DEFAULT_SUBNET}]")
@click.option("--swarm", "form_swarm", is_flag=True, help="Also init a swarm and join all machines.")
@click.option("--uplink", is_flag=True, help="Let the machines reach the real outside through this host.")
def up(name: str, nodes: int | None, managers: int | None, subnet: str | None, form_swarm: bool, uplink: bool) -> None:
    """Make the machines and start festoond on them; called again, revive what has died."""
    _needs_root()
    began = time.monotonic()
    plan = _told(lambda: _plan(name, nodes, managers, subnet, uplink))
    started = _told(lambda: machines.up(plan, uplink=uplink))
    for machine in plan.machines:
        word = "started" if machine.name in started else "up already"
        click.echo(f"{machine.name:<17} {machine.address:<15} {word}")
    if form_swarm:
        for joined in _told(lambda: swarm.form(plan)):
            click.echo(f"{joined} is in the swarm")
    _explain(plan, time.monotonic() - began)


@lab.command()
@_name
def down(name: str) -> None:
    """Kill everything in the lab and remove every trace of it."""
    _needs_root()
    if _told(lambda: machines.down(name)):
        click.echo(f"The lab {name} is gone.")
    else:
        click.echo(f"There is no lab {name}.")


@lab.command()
@_name
def ls(name: str) -> None:
    """List the machines."""
    _needs_root()
    rows = [("NAME", "ADDRESS", "STATE", "ROLE")]
    rows += [(s.machine.name, s.machine.address, s.state, _role(name, s)) for s in _told(lambda: machines.status(name))]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        click.echo("   ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip())


@lab.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_name
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(name: str, node: str, command: tuple[str, ...]) -> None:
    """Run a command as on that machine; its exit status is ours."""
    sys.exit(enter.main([f"--name={name}", node, "--", *command]))


@lab.command()
@_name
@click.argument("node")
def shell(name: str, node: str) -> None:
    """A shell on that machine."""
    sys.exit(enter.main([f"--name={name}", node, "--", os.environ.get("SHELL") or "/bin/sh"]))


@lab.command()
@_name
@click.argument("node")
@click.option("--follow", "-f", is_flag=True, help="Go on as festoond says more.")
def logs(name: str, node: str, follow: bool) -> None:
    """What festoond has said on that machine."""
    _needs_root()
    path = _told(lambda: machines.log_of(name, node))
    if follow:
        sys.stdout.flush()
        os.execvp("tail", ["tail", "-n", "+1", "-F", str(path)])  # noqa: S606 (to become it is the point)
    if path.exists():
        click.echo(path.read_text(errors="replace"), nl=False)


def _plan(name: str, nodes: int | None, managers: int | None, subnet: str | None, uplink: bool) -> Layout:
    """What the lab is to be: what it is already where it exists, which explicit options must agree with."""
    if name not in records.names():
        return layout.plan(nodes or DEFAULT_NODES, managers or DEFAULT_MANAGERS, subnet or layout.DEFAULT_SUBNET, name)
    try:
        record = records.read(name)
    except LabError:  # an `up` was killed before it had written anything down: machines.up clears that away
        return layout.plan(nodes or DEFAULT_NODES, managers or DEFAULT_MANAGERS, subnet or layout.DEFAULT_SUBNET, name)
    there = record.layout
    now = (len(there.machines), sum(m.role == "manager" for m in there.machines), there.subnet, record.uplink)
    if any(want is not None and want != have for want, have in zip((nodes, managers, subnet, uplink or None), now, strict=True)):
        raise LabError(
            f"the lab {name} is there with {now[0]} nodes, {now[1]} managers, {now[2]}{', --uplink' if now[3] else ''}: take it down first to make another"
        )
    return there


def _explain(plan: Layout, seconds: float) -> None:
    first = plan.machines[0].name
    record = records.read(plan.name)
    named = "" if plan.name == layout.DEFAULT_NAME else f" --name {plan.name}"
    outside = "leads to the real outside (NAT by this host)" if record.uplink else f"answers for {layout.OUTSIDE}, a stand-in for the outside"
    click.echo(f"\n{len(plan.machines)} machines on {plan.subnet} in {seconds:.1f} s. The way out is {plan.gateway}, which {outside}.")
    click.echo(f"This host is {plan.host}. On a machine: festoon lab exec{named} {first} -- festoon info")


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
    click.echo(f"festoon lab: {sentence}", err=True)
    sys.exit(1)
