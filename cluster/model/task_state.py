"""The life of a task: states, their order, and who may move a task on. The table below is the whole state machine.

States are monotone by number (SwarmKit's `api.TaskState` and its TLA+ specification): a transition never lowers the observed state.
The manager moves a task up to ASSIGNED, its agent from there to a final state; ORPHANED is the dispatcher's word for a
task whose node has been gone for too long. REMOVE is only ever a *desired* state.
"""

from __future__ import annotations

import enum
from typing import Final


class TaskState(enum.IntEnum):
    NEW = 0
    PENDING = 64
    ASSIGNED = 192
    ACCEPTED = 256
    PREPARING = 320
    READY = 384
    STARTING = 448
    RUNNING = 512
    COMPLETE = 576
    SHUTDOWN = 640
    FAILED = 704
    REJECTED = 768
    REMOVE = 800
    ORPHANED = 832


S = TaskState

NEW: Final = S.NEW
PENDING: Final = S.PENDING
ASSIGNED: Final = S.ASSIGNED
READY: Final = S.READY
RUNNING: Final = S.RUNNING
COMPLETE: Final = S.COMPLETE
SHUTDOWN: Final = S.SHUTDOWN
FAILED: Final = S.FAILED
REJECTED: Final = S.REJECTED
REMOVE: Final = S.REMOVE
"""By names of their own for who asks for every task: to look a member up in its enumeration takes five times as long as to compare it."""

MANAGER: Final[dict[TaskState, frozenset[TaskState]]] = {
    S.NEW: frozenset({S.PENDING, S.ASSIGNED, S.SHUTDOWN}),
    S.PENDING: frozenset({S.ASSIGNED, S.REJECTED, S.SHUTDOWN}),
    S.ASSIGNED: frozenset({S.REJECTED, S.SHUTDOWN, S.ORPHANED}),
    S.ACCEPTED: frozenset({S.ORPHANED}),
    S.PREPARING: frozenset({S.ORPHANED}),
    S.READY: frozenset({S.ORPHANED}),
    S.STARTING: frozenset({S.ORPHANED}),
    S.RUNNING: frozenset({S.ORPHANED}),
}
"""Observed state -> states that the manager may move it to."""

AGENT: Final[dict[TaskState, frozenset[TaskState]]] = {
    S.ASSIGNED: frozenset({S.ACCEPTED, S.PREPARING, S.READY, S.STARTING, S.RUNNING, S.COMPLETE, S.SHUTDOWN, S.FAILED, S.REJECTED}),
    S.ACCEPTED: frozenset({S.PREPARING, S.READY, S.STARTING, S.RUNNING, S.COMPLETE, S.SHUTDOWN, S.FAILED, S.REJECTED}),
    S.PREPARING: frozenset({S.READY, S.STARTING, S.RUNNING, S.COMPLETE, S.SHUTDOWN, S.FAILED, S.REJECTED}),
    S.READY: frozenset({S.STARTING, S.RUNNING, S.COMPLETE, S.SHUTDOWN, S.FAILED, S.REJECTED}),
    S.STARTING: frozenset({S.RUNNING, S.COMPLETE, S.SHUTDOWN, S.FAILED, S.REJECTED}),
    S.RUNNING: frozenset({S.COMPLETE, S.SHUTDOWN, S.FAILED}),
}
"""Observed state -> states that an agent may report next (reports may be merged, so states in between may be missing)."""


def is_final(state: TaskState) -> bool:
    """Whether a task in this observed state has stopped for ever."""
    return state > RUNNING


def is_wished(desired: TaskState) -> bool:
    """Whether a task with this desired state is meant to go on: to run, or a job's to complete."""
    return desired <= COMPLETE


def title(state: TaskState) -> str:
    """Docker's word for the state, as in the API's Task.Status.State: lower case."""
    return _TITLES[state]


_TITLES: Final = {state: state.name.lower() for state in TaskState}
