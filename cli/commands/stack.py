"""`festoon stack …`: ls, ps, rm, services; what reads Compose files is stack_deploy.py's. A stack is nothing but what carries its label."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from cli import tasks as task_list
from cli.api import Api, filters_of
from cli.commands.service import LISTING as SERVICES
from cli.commands.service import row as service_row
from cli.commands.system import LIST_FORMAT_HELP
from cli.configuration import format_of
from cli.convergence import next_change
from cli.failures import CliFailure
from cli.flags import FILTER, option, options, switch
from cli.listing import Listing
from cli.output import natural
from cli.usage import Group, command

NAMESPACE: Final = "com.docker.stack.namespace"
_QUOTES: Final = "'\""
_FINAL: Final = frozenset({"complete", "shutdown", "failed", "rejected", "orphaned", "remove"})
_LISTING: Final = Listing({"Name": "NAME", "Services": "SERVICES"}, ("Name", "Services"), kind="*formatter.stackContext")

stack = Group(
    "stack",
    summary="Manage Swarm stacks",
    operands="[OPTIONS]",
    lazy={
        "config": ("cli.commands.stack_deploy:config", "Outputs the final config file, after doing merges and interpolations"),
        "deploy": ("cli.commands.stack_deploy:deploy", "Deploy a new stack or update an existing stack"),
        "ls": ("cli.commands.stack:ls", "List stacks"),
        "ps": ("cli.commands.stack:ps", "List the tasks in the stack"),
        "rm": ("cli.commands.stack:rm", "Remove one or more stacks"),
        "services": ("cli.commands.stack:services", "List the services in the stack"),
    },
    aliases={"list": "ls", "remove": "rm", "down": "rm", "up": "deploy"},
)


def checked_name(name: str) -> str:
    """Raises CliFailure for a name that no stack can have."""
    if not name.strip(_QUOTES + " \t\r\n\v\f"):
        import json

        raise CliFailure(f"invalid stack name: {json.dumps(name)}")
    return name


def in_stack(name: str, given: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Filters: what carries the stack's label, and what was given besides."""
    wanted = filters_of(given) or {}
    wanted.setdefault("label", []).append(f"{NAMESPACE}={name}")
    return wanted


@command("ls", summary="List stacks", aliases=["stack ls", "stack list"])
@option("--format", help=LIST_FORMAT_HELP, default="")
def ls(api: Api, arguments: tuple[str, ...], format: str) -> int:
    counts: dict[str, int] = {}
    for service in api.get("/services", filters={"label": [NAMESPACE]}) or ():
        labels = service["Spec"].get("Labels") or {}
        counts[labels[NAMESPACE]] = counts.get(labels[NAMESPACE], 0) + 1
    rows = [{"Name": name, "Services": str(counts[name])} for name in sorted(counts, key=natural)]
    print(_LISTING.render(rows, format), end="")
    return 0


@command("ps", "STACK", summary="List the tasks in the stack", least=1, most=1)
@options("--filter", "-f", help="Filter output based on conditions provided", type=FILTER)
@option("--format", help=LIST_FORMAT_HELP, default="")
@switch("--no-resolve", help="Do not map IDs to Names")
@switch("--no-trunc", help="Do not truncate output")
@switch("--quiet", "-q", help="Only display task IDs")
def ps(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    name = checked_name(arguments[0])
    found = api.get("/tasks", filters=in_stack(name, flags["filter"])) or []
    if not found:
        raise CliFailure(f"nothing found in stack: {name}")
    names = task_list.Names(api, resolve=not flags["no_resolve"])
    trunc, quiet = not flags["no_trunc"], bool(flags["quiet"])
    print(task_list.render(found, names, flags["format"], quiet=quiet, trunc=trunc, now=time.time()), end="")
    return 0


def _say_nothing_found(api: Api, name: str) -> None:
    from cli.nearest import with_proposals  # for mistakes alone

    print(with_proposals(f"Nothing found in stack: {name}", api), file=sys.stderr)


@command("services", "STACK", summary="List the services in the stack", least=1, most=1)
@options("--filter", "-f", help="Filter output based on conditions provided", type=FILTER)
@option("--format", help=LIST_FORMAT_HELP, default="")
@switch("--quiet", "-q", help="Only display IDs")
def services(api: Api, arguments: tuple[str, ...], filter: tuple[str, ...], format: str, quiet: bool | None) -> int:
    name = checked_name(arguments[0])
    found = api.get("/services", status=True, filters=in_stack(name, filter)) or []
    if not found:
        _say_nothing_found(api, name)
        return 0
    found.sort(key=lambda s: natural(s["Spec"]["Name"]))
    print(SERVICES.render([service_row(s) for s in found], format_of(api.settings, "servicesFormat", format, quiet=quiet), quiet=bool(quiet)), end="")
    return 0


@command("rm", "STACK [STACK...]", summary="Remove one or more stacks", least=1, most=None, aliases=["stack rm", "stack remove", "stack down"])
@switch("--detach", "-d", help="Do not wait for stack removal (default true)")
def rm(api: Api, arguments: tuple[str, ...], detach: bool | None) -> int:
    failures = []
    for name in map(checked_name, arguments):
        found = {kind: api.get(f"/{kind}s", filters=in_stack(name)) or [] for kind in ("service", "secret", "config", "network")}
        if not any(found.values()):
            _say_nothing_found(api, name)
            continue
        found["service"].sort(key=_name)
        failed = [one for kind, items in found.items() for one in items if not _removed(api, kind, one)]
        if failed:
            failures.append(f"failed to remove some resources from stack: {name}")
        elif detach is False:
            _wait_for_tasks(api, name)
    if failures:
        raise CliFailure("\n".join(failures))
    return 0


def _name(one: Mapping[str, Any]) -> str:
    return str(one.get("Name") or one["Spec"]["Name"])


def _removed(api: Api, kind: str, one: Mapping[str, Any]) -> bool:
    id_ = one.get("ID") or one["Id"]
    print(f"Removing {kind} {_name(one)}", flush=True)
    try:
        api.delete(f"/{kind}s/{id_}")
    except CliFailure as e:
        print(f"Failed to remove {kind} {id_}: {e.message}", file=sys.stderr, end="")
        return False
    return True


def _wait_for_tasks(api: Api, name: str) -> None:
    """Until none of the stack's tasks runs any more. Waits on the daemon's stream of commits."""
    with api.stream("GET", "/festoon/watch", kinds="task") as changes:
        next_change(changes, None)  # the stream's first line: nothing is missed from here on
        while any((task.get("Status") or {}).get("State") not in _FINAL for task in api.get("/tasks", filters=in_stack(name)) or ()):
            next_change(changes, None)
