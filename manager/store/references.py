"""What a user's word for an object means: a full id, an exact name, or the start of one id. Pure; reads the tables
only.
"""

from __future__ import annotations

from cluster.model.changes import Kind, Object
from cluster.model.errors import InvalidArgument, NotFound
from cluster.model.objects import Task, shown_slot
from cluster.model.task_state import is_wished
from manager.store.tables import Tables, name_key, name_of


def find(tables: Tables, kind: Kind, reference: str) -> Object:
    """The one object that `reference` means: full id, then exact name, then unique id prefix.

    A task's names are `service.slot` (the task of that slot that is meant to run, else the newest) and
    `service.slot.id`; for tasks of global services the node's id stands in the slot's place. Raises NotFound, or
    InvalidArgument when several objects match.
    """
    rows = tables.rows[kind]
    exact = rows.get(reference)
    if exact is not None:
        return exact
    named = tuple(_task_named(tables, reference)) if kind is Kind.TASK else with_name(tables, kind, reference)
    if not named:
        named = tuple(obj for key, obj in rows.items() if reference and key.startswith(reference))
    word = kind.name.lower()
    if not named:
        raise NotFound(f"{word} {reference} not found")
    if len(named) > 1:
        raise InvalidArgument(f"{word} {reference} is ambiguous ({len(named)} matches found)")
    return named[0]


def with_name(tables: Tables, kind: Kind, name: str) -> tuple[Object, ...]:
    """All objects of `kind` with exactly this name. Only nodes may share one (a hostname). Empty for kinds without
    names.
    """
    if kind not in tables.names or not name:
        return ()
    rows = tables.rows[kind]
    named = (rows[key] for key in tables.names[kind].ids(name_key(name)))
    return tuple(obj for obj in named if name_of(obj) == name)


def _task_named(tables: Tables, reference: str) -> tuple[Task, ...]:
    service_name, _, rest = reference.partition(".")
    place, _, task_id = rest.partition(".")
    tasks = [
        task
        for service in with_name(tables, Kind.SERVICE, service_name)
        for key in tables.tasks_by_service.ids(service.id)
        if isinstance(task := tables.rows[Kind.TASK][key], Task) and place == str(shown_slot(task) or task.node_id)
    ]
    if task_id:
        return tuple(task for task in tasks if task.id == task_id)
    if not tasks:
        return ()
    return (max(tasks, key=_currency),)


def _currency(task: Task) -> tuple[bool, int, int, str]:
    """Orders the tasks of one slot: meant to run before meant to stop, then the newest."""
    return (is_wished(task.desired_state), task.meta.created, task.meta.created_at_ns, task.id)
