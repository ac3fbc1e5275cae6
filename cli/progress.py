"""How far a service is: what its tasks say, as lines of progress. Pure: tasks in, lines and a verdict out.

Owns the picture (`overall progress: 2 out of 2 tasks`, `1/2: running   [====>]`) and what converged means; waiting
and drawing are in cli/convergence.py. Source: docker/cli's service/progress and the bars of its jsonmessage package.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

MAX_BARS: Final = 20
"""With more tasks than this only the overall line is shown."""

BAR_CELLS: Final = 50
_STEPS: Final = {
    "new": 1,
    "allocated": 2,
    "pending": 3,
    "assigned": 4,
    "accepted": 5,
    "preparing": 6,
    "ready": 7,
    "starting": 8,
    "running": 9,
    "complete": 10,
    "shutdown": 11,
    "failed": 12,
    "rejected": 13,
}
_RUNNING: Final = 9
_WIDEST_STATE: Final = len("preparing")
MAX_ERROR: Final = 75
"""Characters of a task's error on its line."""

Task = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One line, drawn over when it changes: `key: text`. `bar`: cells of 50 that are full, None for a line without
    one."""

    key: str
    text: str
    bar: int | None = None

    def show(self, *, bars: bool) -> str:
        if not self.text:
            return self.key
        if self.bar is None or not bars:
            return f"{self.key}: {self.text}"
        return f"{self.key}: {self.text} [{'=' * self.bar}>{' ' * (BAR_CELLS - self.bar)}] "


@dataclass(slots=True)
class Picture:
    """What has been shown of one service; `look` moves it on."""

    slots: dict[Any, int] = field(default_factory=dict)  # slot or node -> number of its line

    def blank(self, service: Mapping[str, Any]) -> list[Line]:
        """The lines before anything is known: the frame that a replicated service's tasks are drawn into."""
        mode = (service.get("Spec") or {}).get("Mode") or {}
        if mode.get("ReplicatedJob") is not None:
            return self._job(service, mode, ())[0]
        replicated = mode.get("Replicated")
        if replicated is None:
            return []
        wanted = int(replicated.get("Replicas", 1))
        slots = range(1, wanted + 1) if wanted <= MAX_BARS else ()
        return [_overall(0, wanted, rollback=False), *(Line(f"{n}/{wanted}", " ") for n in slots)]

    def look(self, service: Mapping[str, Any], tasks: Sequence[Task], active_nodes: Collection[str]) -> tuple[list[Line], bool]:
        """All lines as they are now, and whether the service has what it asks for."""
        mode = (service.get("Spec") or {}).get("Mode") or {}
        rollback = str((service.get("UpdateStatus") or {}).get("State", "")).startswith("rollback")
        if mode.get("ReplicatedJob") is not None or mode.get("GlobalJob") is not None:
            return self._job(service, mode, tasks)
        if mode.get("Global") is not None:
            return self._global(tasks, active_nodes, rollback=rollback)
        wanted = int((mode.get("Replicated") or {}).get("Replicas", 1))
        chosen = _by(tasks, "Slot", active_nodes)
        running = sum(_is_up(task) for task in chosen.values())
        lines = [_overall(running, wanted, rollback=rollback)]
        if wanted <= MAX_BARS:
            shown: dict[int, Line] = {n: Line(f"{n}/{wanted}", " ") for n in range(1, wanted + 1)}
            for slot, task in chosen.items():
                number = self.slots.setdefault(slot, len(self.slots) + 1)
                if number <= wanted:
                    shown[number] = _task_line(f"{number}/{wanted}", task) or shown[number]
            lines += [shown[n] for n in sorted(shown)]
        return lines, running == wanted

    def _global(
        self, tasks: Sequence[Task], active_nodes: Collection[str], *, rollback: bool
    ) -> tuple[list[Line], bool]:
        chosen = _by([t for t in tasks if t.get("NodeID") in active_nodes], "NodeID", active_nodes)
        running = sum(_is_up(task) for task in chosen.values())
        lines = [_overall(running, len(chosen), rollback=rollback)]
        if len(chosen) <= MAX_BARS:
            for node, task in chosen.items():
                self.slots.setdefault(node, len(self.slots) + 1)
                line = _task_line(str(node)[:12], task)
                lines += [line] if line else []
        return lines, bool(chosen) and running == len(chosen)

    def _job(self, service: Mapping[str, Any], mode: Mapping[str, Any], tasks: Sequence[Task]) -> tuple[list[Line], bool]:
        iteration = ((service.get("JobStatus") or {}).get("JobIteration") or {}).get("Index", 0)
        current = [t for t in tasks if (t.get("JobIteration") or {}).get("Index", 0) == iteration]
        replicated = mode.get("ReplicatedJob")
        chosen: dict[str, Task] = {}  # by the name of its line: of each slot or node the task that has got least far
        total = int(replicated.get("TotalCompletions", 1)) if replicated is not None else len({t.get("NodeID") for t in current})
        for task in sorted((t for t in current if _state(t) in _STEPS), key=lambda t: _STEPS[_state(t)], reverse=True):
            chosen[f"{int(task.get('Slot', 0)) + 1}/{total}" if replicated is not None else str(task.get("NodeID"))] = task
        complete = sum(_state(t) == "complete" for t in chosen.values())
        lines = [Line("job progress", f"{complete} out of {total} complete", BAR_CELLS * complete // total if total else 0)]
        if replicated is not None:
            active = sum(_STEPS[_state(t)] < _STEPS["complete"] for t in chosen.values())
            lines.append(Line("active tasks", f"{active} out of {min(int(replicated.get('MaxConcurrent', 1)), total - complete)} tasks"))
        if total <= MAX_BARS:
            lines += [_job_line(key, chosen[key]) for key in sorted(chosen, key=lambda key: key.rjust(32))]
        return lines, (replicated is not None or total > 0) and complete >= total


def verdict(service: Mapping[str, Any]) -> str:
    """Why there is nothing to wait for any more: the sentence of a paused update or rollback; empty while there
    is."""
    status = service.get("UpdateStatus") or {}
    if status.get("State") == "paused":
        return f"service update paused: {status.get('Message', '')}"
    if status.get("State") == "rollback_paused":
        return f"service rollback paused: {status.get('Message', '')}"
    return ""


def _overall(running: int, wanted: int, *, rollback: bool) -> Line:
    text = f"{running} out of {wanted} tasks"
    return Line("overall progress", f"rolling back update: {text}" if rollback else text)


def _by(tasks: Sequence[Task], key: str, active_nodes: Collection[str]) -> dict[Any, Task]:
    """One task per slot or node: the one that is wanted most, and of those the one that has got least far."""
    chosen: dict[Any, Task] = {}
    for task in tasks:
        desired, observed = _STEPS.get(str(task.get("DesiredState")), 0), _STEPS.get(_state(task), 0)
        if not desired or not observed:
            continue
        node = task.get("NodeID")
        if node and node not in active_nodes:
            continue
        other = chosen.get(task.get(key))
        rank = (desired, observed)
        if other is None or rank < (_STEPS[str(other.get("DesiredState"))], _STEPS[_state(other)]):
            chosen[task.get(key)] = task
    return dict(sorted(chosen.items(), key=lambda item: str(item[0]).rjust(32)))


def _state(task: Task) -> str:
    return str((task.get("Status") or {}).get("State", ""))


def _is_up(task: Task) -> bool:
    return _STEPS.get(str(task.get("DesiredState")), 0) <= _RUNNING and _state(task) == "running"


def _error(task: Task) -> str:
    text = str((task.get("Status") or {}).get("Err", "")).partition("\n")[0]
    return text if len(text) <= MAX_ERROR else text[: MAX_ERROR - 1] + "…"


def _job_line(key: str, task: Task) -> Line:
    if (task.get("Status") or {}).get("Err"):
        return Line(key, _error(task))
    step = min(_STEPS[_state(task)], _STEPS["complete"])
    return Line(key, _state(task).ljust(_WIDEST_STATE), BAR_CELLS * step // _STEPS["complete"])


def _task_line(key: str, task: Task) -> Line | None:
    if (task.get("Status") or {}).get("Err"):
        return Line(key, _error(task))
    step = _STEPS[_state(task)]
    if step > _RUNNING or _STEPS[str(task.get("DesiredState"))] > _RUNNING:
        return None
    return Line(key, _state(task).ljust(_WIDEST_STATE), BAR_CELLS * step // _RUNNING)
