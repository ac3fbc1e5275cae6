"""What is changed on a running container from outside: paused, continued, other limits. Owns no container; runtime/supervisor/server.py has the
calls' table."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from runtime.cgroups import freezer, groups
from runtime.cgroups.limits import changed
from runtime.errors import NotPaused, RuntimeFault
from runtime.spec import Limits
from runtime.supervisor import journal
from runtime.supervisor.context import Context
from runtime.supervisor.journal import SpecRecord
from runtime.supervisor.states import Container, Phase

FREEZE_RETRY_S = 0.001
FREEZE_RETRIES_MAX = 2000
"""A process in the middle of a system call is frozen a moment later; v1 has no event for it."""

OnFrozen = Callable[[RuntimeFault | None], None]


def pause(context: Context, container: Container, outcome: OnFrozen) -> None:
    """Freezes it; `outcome` once every process has stopped, or with the fault (then they go on). Raises RuntimeFault, OSError."""
    found = _running(container)
    if not freezer.can_freeze(found):
        raise RuntimeFault("this node has no cgroup freezer: containers can't be paused")
    if container.paused:
        raise RuntimeFault(f"Container {container.spec.id} is already paused")
    freezer.freeze(found)
    container.paused = True
    _wait_frozen(context, container, found, outcome, 0)


def _wait_frozen(context: Context, container: Container, found: groups.Groups, outcome: OnFrozen, tries: int) -> None:
    if container.groups is not found or freezer.is_frozen(found):
        outcome(None if container.groups is found else RuntimeFault(f"Container {container.spec.id} is not running"))
    elif tries >= FREEZE_RETRIES_MAX:
        freezer.thaw(found)
        container.paused = False
        outcome(RuntimeFault(f"container {container.spec.id} can't be paused: a process of it does not stop"))
    else:
        if tries and not found.unified:
            freezer.freeze(found)  # v1 stays FREEZING when a process was forked meanwhile
        context.loop.after(FREEZE_RETRY_S, lambda: _wait_frozen(context, container, found, outcome, tries + 1))


def unpause(container: Container) -> None:
    """Raises NotPaused, RuntimeFault, OSError."""
    found = _running(container)
    if not container.paused:
        raise NotPaused(f"Container {container.spec.id} is not paused")
    freezer.thaw(found)
    container.paused = False


def update(context: Context, container: Container, limits: Limits) -> None:
    """Other limits from now on, also after a restart of the supervisor. What the kernel refuses is raised (StartFailed) and the limits before
    are written again."""
    before = container.spec.limits
    if container.groups is not None:
        unified = context.layout.unified
        try:
            groups.apply_limits(container.groups, changed(before, limits, unified=unified))
        except RuntimeFault:
            _restore(container.groups, before, limits, unified=unified)
            raise
    container.spec = msgspec.structs.replace(container.spec, limits=limits)
    journal.append(container.file, SpecRecord(container.spec))


def _restore(found: groups.Groups, before: Limits, limits: Limits, *, unified: bool) -> None:
    for setting in changed(limits, before, unified=unified):
        try:
            groups.apply_limits(found, (setting,))
        except RuntimeFault:
            continue  # it is the one that was refused


def _running(container: Container) -> groups.Groups:
    if container.phase is not Phase.RUNNING or container.groups is None:
        raise RuntimeFault(f"Container {container.spec.id} is not running")
    return container.groups
