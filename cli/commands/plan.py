"""`festoon plan` and `--dry-run`: what would be placed where, what would be stopped, and what finds no place, without doing it.

Owns how a plan reads; the managers' own planner makes it (manager/preview.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cli.api import Api
from cli.commands.stack import checked_name, in_stack
from cli.failures import CliFailure
from cli.flags import STRINGS, option, options
from cli.output import aligned
from cli.usage import command

UNPLACEABLE: Final = 5
"""Exit status when a task would find no place."""


@command(
    "plan",
    "[STACK]",
    summary="Show what would come of a stack's files, and change nothing",
    most=1,
    examples=(
        ("-c stack.yml web", "what `stack deploy -c stack.yml web` would place and stop; exit status 5 if a task finds no place"),
        ("-c base.yml -c production.yml web --format json", "of several files, for a program"),
    ),
)
@options("--compose-file", "--file", "-c", "-f", help='Path to a Compose file, or "-" to read from stdin', type=STRINGS)
@option("--format", help="'json' prints the plan as JSON", default="")
def plan(api: Api, arguments: tuple[str, ...], compose_file: tuple[str, ...], format: str) -> int:
    from cli.commands.stack_deploy import checked_stack  # late: it reads YAML
    from cli.compose import specs

    stack, settings = checked_stack(compose_file)
    named = str(stack.documents[0].value.get("name") or "")
    namespace = checked_name(arguments[0] if arguments else named or _of_folder(settings.folder))
    networks, _ = specs.networks(stack, namespace)
    known = {s["Spec"]["Name"]: s for s in api.get("/services", filters=in_stack(namespace)) or ()}
    there = {network["Name"] for network in api.get("/networks", filters=in_stack(namespace)) or ()}
    writes = []
    for spec in specs.services(stack, namespace).values():
        for field in ("Secrets", "Configs"):  # which may not be there yet, and bear on no place
            spec["TaskTemplate"]["ContainerSpec"].pop(field, None)
        one = known.get(spec["Name"])
        writes.append({"Spec": spec} if one is None else {"Spec": _over(spec, one), "ID": one["ID"], "Version": one["Version"]["Index"]})
    bodies = [{"Name": name, **body} for name, body in networks.items() if name not in there]
    return show_plan(api, writes, bodies, format)


def _of_folder(folder: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "", os.path.basename(folder).lower()) or "stack"


def _over(spec: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """What `stack deploy` would post over what there is: secrets and configs stay, an image that was pinned stays so."""
    before = known["Spec"]
    container, old = spec["TaskTemplate"]["ContainerSpec"], before["TaskTemplate"].get("ContainerSpec") or {}
    container |= {field: old[field] for field in ("Secrets", "Configs") if old.get(field)}
    if str(old.get("Image", "")).partition("@")[0] == container["Image"]:
        container["Image"] = old["Image"]
    spec["TaskTemplate"]["ForceUpdate"] = before["TaskTemplate"].get("ForceUpdate", 0)
    return spec


def show_plan(api: Api, services: Sequence[Mapping[str, Any]], networks: Sequence[Mapping[str, Any]] = (), form: str = "") -> int:
    """Print what would come of these writes. The exit status says whether every task would find a place."""
    if form not in {"", "json"}:
        raise CliFailure("--format takes only 'json' here")
    found = api.post("/festoon/plan", {"Networks": list(networks), "Services": list(services)})
    if form == "json":
        from cluster.model.template_functions import as_json

        print(as_json(found))
    else:
        print("".join(_lines(found)), end="")
    return UNPLACEABLE if any(service["Waiting"] for service in found["Services"]) else 0


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    for service in found["Services"]:
        counts = [f"{len(service[key])} to be {word}" for key, word in (("Placed", "placed"), ("Stopped", "stopped")) if service[key]]
        counts += [f"{len(service['Waiting'])} without a place"] if service["Waiting"] else []
        counts += [f"{service['Kept']} as they are"] if service["Kept"] else []
        yield f"{service['Name']}: {', '.join(counts) or 'no tasks'}\n"
        rows = [f"  - {task['Name']}\t{task['Node']}\t{task['Why']}" for task in service["Stopped"]]
        rows += [f"  + {task['Name']}\t{task['Node']}\t{task['Why']}" for task in service["Placed"]]
        yield aligned(rows) if rows else ""
        shown: list[object] = []
        for task in service["Waiting"]:
            yield f"  ? {task['Name']}: {task['Why']}\n"
            if task["Nodes"] not in shown:
                shown.append(task["Nodes"])
                yield aligned([f"      {node['Hostname']}\t{node['Verdict']}" for node in task["Nodes"]]) if task["Nodes"] else ""
    if not found["Settled"]:
        yield "The plan ends here: the cluster did not come to rest within what a plan may take.\n"
    yield "Nothing was changed.\n"
