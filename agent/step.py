"""The next step of one task on its node, as a pure table: (observed state, desired state) -> action. agent/executor.py performs it.

A task moves exactly one step at a time and never back (cluster/model/task_state.py). Source: swarmkit's agent/exec `Do`.
"""

from __future__ import annotations

import enum

from cluster.model.task_state import TaskState


class Action(enum.Enum):
    ACCEPT = "accept"  # -> ACCEPTED: this agent takes responsibility
    PREPARE = "prepare"  # -> PREPARING, READY: image, folders, record
    HOLD = "hold"  # READY and desired READY: wait for the release
    START = "start"  # -> STARTING, RUNNING: networks, process
    WATCH = "watch"  # RUNNING: wait for the exit
    STOP = "stop"  # -> SHUTDOWN: signal, grace period, kill
    RELEASE = "release"  # finished, and the cluster wants it removed: drop the container
    REST = "rest"  # finished: nothing to do until it is forgotten


_FORWARD = {
    TaskState.NEW: Action.ACCEPT,
    TaskState.PENDING: Action.ACCEPT,
    TaskState.ASSIGNED: Action.ACCEPT,
    TaskState.ACCEPTED: Action.PREPARE,
    TaskState.PREPARING: Action.PREPARE,
    TaskState.READY: Action.START,
    TaskState.STARTING: Action.START,
    TaskState.RUNNING: Action.WATCH,
}


def step(observed: TaskState, desired: TaskState) -> Action:
    """What to do next. Progress never passes the desired state: a task desired READY is held there."""
    if observed > TaskState.RUNNING:
        return Action.RELEASE if desired >= TaskState.REMOVE else Action.REST
    if desired >= TaskState.SHUTDOWN:
        return Action.STOP
    if observed == TaskState.READY and desired == TaskState.READY:
        return Action.HOLD
    return _FORWARD[observed]
