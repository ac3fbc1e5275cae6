"""The next step of one task on its node, as a pure table: (observed state, desired state, what its container does) -> action. agent/executor.py performs it.

A task moves exactly one step at a time and never back (cluster/model/task_state.py). One whose container is probed is RUNNING only when the probes say
so; one that turns unhealthy has failed. Source: swarmkit's agent/exec `Do`, moby's daemon/cluster/executor/container/controller.go.
"""

from __future__ import annotations

import enum

from cluster.model.task_state import TaskState


class Seen(enum.Enum):
    """What the task's container does."""

    NOTHING = "nothing"  # there is none, or it has not been started
    PROVING = "proving"  # is being started, or runs and its probes have not answered yet
    WELL = "well"  # runs; its probes answer, or it has none
    UNHEALTHY = "unhealthy"  # runs; its probes have failed
    ENDED = "ended"


class Action(enum.Enum):
    ACCEPT = "accept"  # -> ACCEPTED: this agent takes responsibility
    PREPARE = "prepare"  # -> PREPARING, READY: image, folders, record
    HOLD = "hold"  # READY and desired READY: wait for the release
    START = "start"  # -> STARTING: networks, process
    PROVE = "prove"  # STARTING: wait until it runs and for the probes' word, or the exit
    CONFIRM = "confirm"  # -> RUNNING
    WATCH = "watch"  # RUNNING: wait for the exit, or for a bad word of the probes
    CONDEMN = "condemn"  # unhealthy: stopped as if by STOP, -> FAILED
    CONCLUDE = "conclude"  # it has ended by itself: -> COMPLETE or FAILED
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
}
_STARTED = {
    (TaskState.STARTING, Seen.NOTHING): Action.START,  # the node ended in the middle
    (TaskState.STARTING, Seen.PROVING): Action.PROVE,
    (TaskState.STARTING, Seen.WELL): Action.CONFIRM,
    (TaskState.STARTING, Seen.UNHEALTHY): Action.CONDEMN,
    (TaskState.STARTING, Seen.ENDED): Action.CONCLUDE,
    (TaskState.RUNNING, Seen.NOTHING): Action.CONCLUDE,  # somebody has removed it
    (TaskState.RUNNING, Seen.PROVING): Action.WATCH,  # its probes began anew after a pause
    (TaskState.RUNNING, Seen.WELL): Action.WATCH,
    (TaskState.RUNNING, Seen.UNHEALTHY): Action.CONDEMN,
    (TaskState.RUNNING, Seen.ENDED): Action.CONCLUDE,
}


def step(observed: TaskState, desired: TaskState, seen: Seen) -> Action:
    """What to do next. Progress never passes the desired state: a task desired READY is held there."""
    if observed > TaskState.RUNNING:
        return Action.RELEASE if desired >= TaskState.REMOVE else Action.REST
    if desired >= TaskState.SHUTDOWN:
        return Action.STOP
    if observed == TaskState.READY and desired == TaskState.READY:
        return Action.HOLD
    return _FORWARD.get(observed) or _STARTED[observed, seen]
