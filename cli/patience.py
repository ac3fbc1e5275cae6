"""`--wait`: when a wait for a service ends otherwise than well, and with which exit status. Pure: what the API says in, a verdict out.

Owns the statuses and their sentences; the waiting itself is cli/convergence.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cli.failures import FAILED, CliFailure
from cluster.model.room_reasons import is_room_coming

ROLLED_BACK: Final = 3
"""The update was rolled back or is paused."""

TIMED_OUT: Final = 4
UNPLACEABLE: Final = 5
"""No node takes a task, and nothing of the service is under way that could change this."""

HELP: Final = "Wait until it converges; exit status 0 converged, 3 rolled back or paused, 4 timed out, 5 unplaceable"
TIMEOUT_HELP: Final = "With --wait: how long at most (ns|us|ms|s|m|h; default 0 = as long as it takes)"

_WAITING: Final = frozenset({"new", "allocated", "pending"})
_FINAL: Final = frozenset({"complete", "shutdown", "failed", "rejected", "orphaned", "remove"})
_UNDER_WAY: Final = frozenset({"updating", "rollback_started"})


@dataclass(frozen=True, slots=True)
class Patience:
    """What the user asked for: `timeout_ns` 0 is none; `rollback`: a rollback is what is wanted."""

    timeout_ns: int = 0
    rollback: bool = False


def patience(wait: bool | None, timeout_ns: int | None, *, detach: bool | None, rollback: bool = False) -> Patience | None:
    """From the flags; None without --wait. Raises CliFailure where they contradict each other."""
    if not wait:
        if timeout_ns is not None:
            raise CliFailure("--timeout can only be used with --wait")
        return None
    if detach:
        raise CliFailure("conflicting options: --wait and --detach")
    return Patience(timeout_ns or 0, rollback)


def is_under_way(service: Mapping[str, Any]) -> bool:
    """Whether its update or rollback still watches new tasks: it may turn round yet."""
    return (service.get("UpdateStatus") or {}).get("State") in _UNDER_WAY


def turned_round(service: Mapping[str, Any], wanted: Patience) -> str:
    """The sentence of an update that was rolled back by itself; empty when it was not."""
    status = service.get("UpdateStatus") or {}
    if wanted.rollback or not str(status.get("State", "")).startswith("rollback"):
        return ""
    return f"service {status.get('Message', '')}"


def hopeless(service: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> CliFailure | None:
    """Why nothing comes of waiting, as far as this moment shows. `tasks`: all of the service."""
    if any(_moves(task) or (_state(task) in _WAITING and is_room_coming(task["Status"].get("Err", ""))) for task in tasks):
        return None
    blocked = next((t for t in tasks if _is_wished(t) and _state(t) in _WAITING and t["Status"].get("Err")), None)
    if blocked is not None:
        return CliFailure(f"service can't be placed: {blocked['Status']['Err']}", UNPLACEABLE)
    if service.get("JobStatus") is None:
        return None
    iteration = (service["JobStatus"].get("JobIteration") or {}).get("Index", 0)
    run = [t for t in tasks if (t.get("JobIteration") or {}).get("Index", 0) == iteration]
    if not run or any(_is_wished(t) and _state(t) != "complete" for t in run):
        return None
    return CliFailure(f"job failed: {sum(_state(t) == 'complete' for t in run)} tasks have completed, the others may not be restarted", FAILED)


def _state(task: Mapping[str, Any]) -> str:
    return str((task.get("Status") or {}).get("State", ""))


def _is_wished(task: Mapping[str, Any]) -> bool:
    return task.get("DesiredState") in ("ready", "running", "complete")


def _moves(task: Mapping[str, Any]) -> bool:
    """Whether the task is between two states in which it may stay."""
    state = _state(task)
    if state in _FINAL or state in _WAITING:
        return False
    return state != "running" or not _is_wished(task)
