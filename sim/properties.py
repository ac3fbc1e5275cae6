"""Other people's files: a placement policy, and invariants over the cluster's state or history. Owns how they are read
and called; what may stand in a policy is policy.py's.

An invariant is a file with one or both of these plain functions; what they return is what is wrong, in a sentence, or
nothing:

    state(view: View) -> str | None                    after every commit
    history(views: Sequence[View]) -> str | None       after every commit, with all states so far, the latest last
"""

from __future__ import annotations

import inspect
import runpy
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from cluster.model.changes import Kind
from cluster.model.objects import Node, Service, Task
from manager.store import Store
from sim.failure import BadProperty, Broken
from sim.policy import Policy

MAX_HISTORY: Final = 2000
"""States that `history` is given at most: the latest."""


@dataclass(frozen=True)
class View:
    """The cluster after one commit. Times are simulated seconds."""

    at_s: float
    nodes: tuple[Node, ...]
    services: tuple[Service, ...]
    tasks: tuple[Task, ...]

    def on(self, node_id: str) -> tuple[Task, ...]:
        """The tasks that are assigned to this node and have not finished."""
        return tuple(self._by_node.get(node_id, ()))

    def of(self, service: str) -> tuple[Task, ...]:
        """The tasks of the service with this name."""
        return tuple(task for task in self.tasks if task.service_name == service)

    @cached_property
    def _by_node(self) -> dict[str, list[Task]]:
        found: dict[str, list[Task]] = {}
        for task in self.tasks:
            if task.status.state <= RUNNING:
                found.setdefault(task.node_id, []).append(task)
        return found

    def lines(self) -> tuple[str, ...]:
        """The state in words."""
        rows = []
        for node in self.nodes:
            names = [f"{task.service_name}.{task.slot} {task.status.state.name.lower()}" for task in self.on(node.id)]
            rows.append(f"{node.id} ({node.status.state.value}): {', '.join(names) or 'nothing'}")
        waiting = [f"{task.service_name}.{task.slot}" for task in self.tasks if not task.node_id and task.desired_state <= RUNNING]
        if waiting:
            rows.append(f"waiting: {', '.join(waiting)}")
        return tuple(rows)


def view_of(store: Store, now_ns: int) -> View:
    return View(now_ns / 1e9, store.all(Kind.NODE), store.all(Kind.SERVICE), store.all(Kind.TASK))


RUNNING: Final = 512
"""TaskState.RUNNING."""


class Properties:
    """All invariants of a run, with the states that they have seen."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Raises BadProperty."""
        self._state: list[Callable[[View], str | None]] = []
        self._history: list[Callable[[Sequence[View]], str | None]] = []
        for path in paths:
            names = load(path)
            if not names.keys() & {"state", "history"}:
                raise BadProperty(f"{path}: an invariant has a function state(view) or history(views)")
            self._state += [_function(path, names, "state", "view")] if "state" in names else []
            self._history += [_function(path, names, "history", "views")] if "history" in names else []
        self._views: list[View] = []

    @property
    def wanted(self) -> bool:
        return bool(self._state or self._history)

    def look(self, store: Store, now_ns: int) -> None:
        """Raises Broken with the states around the step."""
        view = view_of(store, now_ns)
        self._views.append(view)
        del self._views[:-MAX_HISTORY]
        for sentence in (*(check(view) for check in self._state), *(check(tuple(self._views)) for check in self._history)):
            if sentence:
                before = self._views[-2].lines() if len(self._views) > 1 else ()
                raise Broken(sentence, before, view.lines())


def load(path: str) -> dict[str, Any]:
    """What the file defines. Raises BadProperty when it cannot be run."""
    try:
        if not Path(path).is_file():
            raise BadProperty(f"{path}: no such file")
        return runpy.run_path(path)
    except SyntaxError as error:
        raise BadProperty(f"{path}, line {error.lineno or 1}: {error.msg}") from error
    except BadProperty:
        raise
    except Exception as error:  # noqa: BLE001  it is other people's code
        raise BadProperty(_blame(path, error)) from error


def policy_of(path: str) -> Policy:
    """The policy of this file; none without a path. Raises BadProperty."""
    if not path:
        return Policy()
    names = load(path)
    found = {name: _function(path, names, name, *parameters) for name, parameters in POLICY.items() if name in names}
    if not found:
        raise BadProperty(f"{path}: a policy has a function fits(task, node, on_node), rank(task, node, on_node) or place(task, nodes)")
    return Policy(found.get("fits"), found.get("rank"), found.get("place"))


POLICY: Final = {"fits": ("task", "node", "on_node"), "rank": ("task", "node", "on_node"), "place": ("task", "nodes")}
"""The functions of a policy and what they are called with."""


def _function(path: str, names: dict[str, Any], name: str, *parameters: str) -> Callable[..., Any]:
    """The file's function, which blames its file for what goes wrong in it. Raises BadProperty when it can't be called so."""
    function = names[name]
    try:
        inspect.signature(function).bind(*parameters)
    except (TypeError, ValueError) as error:
        raise BadProperty(f"{path}: {name} has to be a function {name}({', '.join(parameters)})") from error

    def call(*arguments: object) -> Any:
        try:
            return function(*arguments)
        except Exception as error:  # noqa: BLE001  it is other people's code
            raise BadProperty(_blame(path, error)) from error

    return call


def _blame(path: str, error: Exception) -> str:
    """Which of the file's lines went wrong, and how."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{path}{f', line {lines[-1]}' if lines else ''}: {type(error).__name__}: {error}"
