"""`festoon why TASK|SERVICE`: the planner's reasons for a task that isn't running, and the story of one that was."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from cli.api import Api, reference
from cli.failures import CliFailure
from cli.flags import option
from cli.output import aligned, short_id
from cli.units import human_duration, parse_time
from cli.usage import command
from cluster.model.template_functions import as_json


@command(
    "why",
    "TASK|SERVICE",
    summary="Explain why a task or service is where it is, or nowhere",
    least=1,
    most=1,
    examples=(
        ("web", "each task of a service, why it is where it is and what happened to it"),
        ("web.1", "one task, by its name or ID"),
        ("web --format json", "the same for a program"),
    ),
)
@option("--format", help="'json' prints the explanation as JSON", default="")
def why(api: Api, arguments: tuple[str, ...], format: str) -> int:
    if format not in {"", "json"}:
        raise CliFailure("--format takes only 'json' here")
    found = api.get(f"/festoon/why/{reference(arguments[0])}")
    if format == "json":
        print(as_json(found))
    else:
        print("".join(_lines(found, time.time())), end="")
    return 0


def _lines(found: Mapping[str, Any], now: float) -> Iterator[str]:
    yield f"{found['kind'].capitalize()} {found['name']} ({short_id(found['id'])})\n"
    tasks = found.get("tasks") or ()
    if not tasks:
        yield "  It has no tasks.\n"
    for task in tasks:
        yield "\n"
        yield from _task_lines(task, now)


def _task_lines(task: Mapping[str, Any], now: float) -> Iterator[str]:
    where = f" on {task['node']}" if task.get("node") else ""
    yield f"{task['name']} ({short_id(task['id'])}): {task['state']}{where}, wanted {task['desired']}\n"
    if task.get("summary"):
        yield f"  {task['summary']}\n"
    nodes = task.get("nodes") or ()
    if nodes:
        yield "  Nodes:\n"
        yield aligned([f"    {node['hostname']}\t{node['verdict']}" for node in nodes])
    story = task.get("story") or ()
    if story:
        yield "  What happened:\n"
        yield aligned([f"    {_ago(event['time'], now)}\t{event['sentence']}" for event in story])


def _ago(timestamp: str, now: float) -> str:
    then = parse_time(timestamp)
    return f"{human_duration(max(now - then, 0)).lower()} ago" if then else "-"
