"""`festoon service …`: ls, ps, scale, rollback, rm; the other commands have files of their own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from cli import tasks as task_list
from cli.api import Api, filters_of, reference
from cli.commands.system import LIST_FORMAT_HELP
from cli.configuration import format_of
from cli.convergence import wait_converged
from cli.failures import CliFailure, each
from cli.flags import DURATION, FILTER, option, options, switch
from cli.listing import Listing
from cli.output import natural, short_id
from cli.patience import HELP as WAIT_HELP
from cli.patience import TIMEOUT_HELP, patience
from cli.service_update import scale as set_scale
from cli.usage import BadOperand, Group, command
from cluster.model import placement_labels

service = Group(
    "service",
    summary="Manage Swarm services",
    lazy={
        "create": ("cli.commands.service_write:create", "Create a new service"),
        "inspect": ("cli.commands.service_inspect:inspect", "Display detailed information on one or more services"),
        "logs": ("cli.commands.service_logs:logs", "Fetch the logs of a service or task"),
        "ls": ("cli.commands.service:ls", "List services"),
        "ps": ("cli.commands.service:ps", "List the tasks of one or more services"),
        "rebalance": ("cli.commands.service:rebalance", "Spread the running tasks of services evenly again"),
        "rm": ("cli.commands.service:rm", "Remove one or more services"),
        "rollback": ("cli.commands.service:rollback", "Revert changes to a service's configuration"),
        "scale": ("cli.commands.service:scale", "Scale one or multiple replicated services"),
        "update": ("cli.commands.service_write:update", "Update a service"),
    },
    aliases={"list": "ls", "remove": "rm"},
)

LISTING: Final = Listing(
    {"ID": "ID", "Name": "NAME", "Mode": "MODE", "Replicas": "REPLICAS", "Image": "IMAGE", "Ports": "PORTS"},
    ("ID", "Name", "Mode", "Replicas", "Image", "Ports"),
    kind="*service.serviceContext",
    raw="id: {{.ID}}\nname: {{.Name}}\nmode: {{.Mode}}\nreplicas: {{.Replicas}}\nimage: {{.Image}}\nports: {{.Ports}}\n",
)
_MODES: Final = {
    "Replicated": "replicated",
    "Global": "global",
    "ReplicatedJob": "replicated job",
    "GlobalJob": "global job",
}


@command("ls", summary="List services", aliases=["service ls", "service list"])
@options("--filter", "-f", help="Filter output based on conditions provided", type=FILTER)
@option("--format", help=LIST_FORMAT_HELP, default="")
@switch("--quiet", "-q", help="Only display IDs")
def ls(api: Api, arguments: tuple[str, ...], filter: tuple[str, ...], format: str, quiet: bool | None) -> int:
    found = api.get("/services", status=True, filters=filters_of(filter)) or []
    found.sort(key=lambda s: natural(s["Spec"]["Name"]))
    print(LISTING.render([row(s) for s in found], format_of(api.settings, "servicesFormat", format, quiet=quiet), quiet=bool(quiet)), end="")
    return 0


def row(s: Mapping[str, Any]) -> dict[str, str]:
    spec = s["Spec"]
    image = (spec["TaskTemplate"].get("ContainerSpec") or {}).get("Image", "")
    ports = (s.get("Endpoint") or {}).get("Ports") or ()
    return {
        "ID": short_id(s["ID"]),
        "Name": spec["Name"],
        "Mode": mode_of(spec),
        "Replicas": _replicas(s),
        "Image": image.partition("@")[0],
        "Ports": task_list.ranges_text([p for p in ports if p.get("PublishMode", "ingress") == "ingress"]),
    }


def mode_of(spec: Mapping[str, Any]) -> str:
    """`replicated`, `global`, `replicated job` or `global job`."""
    mode = spec.get("Mode") or {}
    return next((text for name, text in _MODES.items() if mode.get(name) is not None), "")


def _replicas(s: Mapping[str, Any]) -> str:
    status = s.get("ServiceStatus") or {}
    running, desired = status.get("RunningTasks", 0), status.get("DesiredTasks", 0)
    mode = s["Spec"].get("Mode") or {}
    text = f"{running}/{desired}"
    if mode.get("ReplicatedJob") is not None or mode.get("GlobalJob") is not None:
        completed = status.get("CompletedTasks", 0)
        total = (mode.get("ReplicatedJob") or {}).get("TotalCompletions", completed + desired)
        return f"{text} ({completed}/{total} completed)"
    per_node = (s["Spec"]["TaskTemplate"].get("Placement") or {}).get("MaxReplicas", 0)
    return f"{text} (max {per_node} per node)" if per_node else text


@command("ps", "SERVICE [SERVICE...]", summary="List the tasks of one or more services", least=1, most=None)
@options("--filter", "-f", help="Filter output based on conditions provided", type=FILTER)
@option("--format", help="Pretty-print tasks using a Go template", default="")
@switch("--no-resolve", help="Do not map IDs to Names")
@switch("--no-trunc", help="Do not truncate output")
@switch("--quiet", "-q", help="Only display task IDs")
def ps(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    ids, missing = [], []
    for name in arguments:
        found = api.find(f"/services/{reference(name, 'service')}") if name else None
        if found is None:
            missing.append(f"no such service: {name}")
        else:
            ids.append(found["ID"])
    if ids:
        wanted = {**(filters_of(flags["filter"]) or {}), "service": ids}
        found = api.get("/tasks", filters=wanted) or []
        names = task_list.Names(api, resolve=not flags["no_resolve"])
        trunc, quiet = not (flags["no_trunc"] or flags["quiet"]), bool(flags["quiet"])
        print(task_list.render(found, names, flags["format"], quiet=quiet, trunc=trunc, now=time.time()), end="")
    if missing:
        raise CliFailure("\n".join(missing))
    return 0


@command("rm", "SERVICE [SERVICE...]", summary="Remove one or more services", least=1, most=None, aliases=["service rm", "service remove"])
def rm(api: Api, arguments: tuple[str, ...]) -> int:
    def remove(name: str) -> None:
        api.delete(f"/services/{reference(name, 'service')}")
        print(name)

    return each(arguments, remove)


@command(
    "scale",
    "SERVICE=REPLICAS [SERVICE=REPLICAS...]",
    summary="Scale one or multiple replicated services",
    least=1,
    most=None,
)
@switch("--detach", "-d", help="Exit immediately instead of waiting for the service to converge")
@option("--verify", help="How long tasks must stay up to count as converged", type=DURATION, default=10**9)
@switch("--wait", help=WAIT_HELP)
@option("--timeout", help=TIMEOUT_HELP, type=DURATION)
def scale(api: Api, arguments: tuple[str, ...], detach: bool | None, verify: int, wait: bool | None, timeout: int | None) -> int:
    waiting = patience(wait, timeout, detach=detach)
    wanted = [_scale_of(text) for text in arguments]
    failures, changed = [], []
    for name, number in wanted:
        try:
            replicas = _replicas_of(number)
            found = api.get(f"/services/{reference(name, 'service')}", insertDefaults="false")
            _scaled(found["Spec"], replicas)
            show_warnings(api.post(f"/services/{found['ID']}/update", found["Spec"], version=found["Version"]["Index"]))
            print(f"{name} scaled to {replicas}")
            changed.append((name, found["ID"]))
        except CliFailure as e:
            failures.append(f"{name}: {e.message}")
    if not detach:
        for name, service_id in changed:
            wait_converged(api, service_id, verify / 1e9, quiet=False, patience=waiting, name=name)
    if failures:
        raise CliFailure("\n".join(failures))
    return 0


scale.optional = False


def _scale_of(text: str) -> tuple[str, str]:
    name, _, number = text.partition("=")
    if not name or not number:
        raise BadOperand(f"invalid scale specifier '{text}'")
    return name, number


def _replicas_of(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise CliFailure(f'invalid replicas value {text}: strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) >> 64:
        raise CliFailure(f'invalid replicas value {text}: strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def _scaled(spec: dict[str, Any], replicas: int) -> None:
    try:
        set_scale(spec["Mode"], replicas)
    except CliFailure as e:
        raise CliFailure("scale can only be used with replicated or replicated-job mode") from e


@command("rollback", "SERVICE", summary="Revert changes to a service's configuration", least=1, most=1)
@switch("--detach", "-d", help="Exit immediately instead of waiting for the service to converge")
@switch("--quiet", "-q", help="Suppress progress output")
@option("--verify", help="How long tasks must stay up to count as converged", type=DURATION, default=10**9)
@switch("--wait", help=WAIT_HELP)
@option("--timeout", help=TIMEOUT_HELP, type=DURATION)
def rollback(
    api: Api, arguments: tuple[str, ...], detach: bool | None, quiet: bool | None, verify: int, wait: bool | None, timeout: int | None
) -> int:
    waiting = patience(wait, timeout, detach=detach, rollback=True)
    name = arguments[0]
    roll_back(api, api.get(f"/services/{reference(name, 'service')}", insertDefaults="false"))
    print(name)
    if not detach:
        wait_converged(api, api.get(f"/services/{reference(name, 'service')}")["ID"], verify / 1e9, quiet=bool(quiet), patience=waiting, name=name)
    return 0


@command(
    "rebalance",
    "SERVICE [SERVICE...]",
    summary="Spread the running tasks of services evenly again",
    least=1,
    most=None,
    examples=(("web", "after a node came back: tasks move to where fewer are, as many at a time as in an update"),),
)
def rebalance(api: Api, arguments: tuple[str, ...]) -> int:
    """A label asks for it and goes when it is done; tasks move as many at a time, and in the order, of an update."""
    for name in arguments:
        found = api.get(f"/services/{reference(name, 'service')}", insertDefaults="false")
        if found["Spec"].get("Mode", {}).get("Replicated") is None:
            raise CliFailure(f"service {name} is not a replicated one: there is nothing to rebalance")
        labels = found["Spec"].get("Labels") or {}
        if labels.get(placement_labels.REBALANCE) != "auto":
            labels[placement_labels.REBALANCE] = "once"
        api.post(f"/services/{found['ID']}/update", found["Spec"] | {"Labels": labels}, version=found["Version"]["Index"], registryAuthFrom="spec")
        print(name)
    return 0


def roll_back(api: Api, found: Mapping[str, Any]) -> None:
    """Ask for the previous spec of a service."""
    version = found["Version"]["Index"]
    how = {"registryAuthFrom": "spec", "rollback": "previous", "version": version}
    show_warnings(api.post(f"/services/{found['ID']}/update", found["Spec"], **how))


def show_warnings(answer: Mapping[str, Any] | None, own: str = "") -> None:
    """Print the daemon's warnings, and then our own, as Docker does, on standard error."""
    import sys

    for warning in (*((answer or {}).get("Warnings") or ()), *((own,) if own else ())):
        print(warning, file=sys.stderr)
