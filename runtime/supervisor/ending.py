"""The end of a container's run, and of the container: output drained, statuses recorded, cgroups removed, waiters
told. Owns removal."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from runtime.cgroups import freezer, members, v2
from runtime.cgroups import groups as cgroups
from runtime.errors import StartFailed
from runtime.kernel import constants as k
from runtime.kernel.inotify import open_watch, read_changes
from runtime.kernel.processes import send_signal
from runtime.spec import Exited
from runtime.supervisor import journal, streams
from runtime.supervisor.context import Context
from runtime.supervisor.messages import Event
from runtime.supervisor.reaper import LOST_STATUS
from runtime.supervisor.states import Container, Happening, Phase

SIGKILL = 9
RMDIR_RETRY_S = 0.005
RMDIR_RETRIES_MAX = 1000
"""A group is busy until its last process has been taken off it, a moment after that process's end; there is no
event for it on cgroup v1."""


def ended(context: Context, container: Container, exited: Exited, fault: StartFailed | None) -> None:
    """The first process has ended. With `fault` its program was never executed: the container is as it was before
    the start."""
    container.process = None
    _end_the_rest(container)
    kills = cgroups.oom_kills(container.groups) if container.groups is not None else 0
    if container.oom_watch >= 0 and kills > container.oom_kills_before and not container.oom_told:
        context.publish(Event("oom", container.spec.id))  # the end was seen before the kernel's word of it, which it holds back for up to 10 ms
    _release_streams(context, container)
    if fault is not None or container.phase is Phase.STARTING:
        container.move(Happening.FAILED)
        container.started_at_ns, container.exited = 0, None
        if container.phase is not Phase.REMOVING:
            context.save_happened(container)
    else:
        container.exited = msgspec.structs.replace(exited, oom_killed=kills > 0)
        container.move(Happening.ENDED)
        if container.phase is not Phase.REMOVING:
            context.save_happened(container)
        waiters, container.waiters = container.waiters, []
        for waiter in waiters:
            waiter(container.exited)
        context.publish(Event("exited", container.spec.id, container.exited))
    release(context, container)  # after the answers: a move between cgroups elsewhere may hold this up for milliseconds
    idle, container.when_idle = container.when_idle, []
    for action in idle:
        action()


def _end_the_rest(container: Container) -> None:
    """With a pid namespace of its own the kernel has killed them already, frozen ones too once they are thawed."""
    if container.groups is None:
        return
    if container.spec.pid_mode:
        members.kill(container.groups)
    if container.paused:
        freezer.thaw(container.groups)
        container.paused = False


def _release_streams(context: Context, container: Container) -> None:
    streams.finish(context, container)
    if container.oom_watch >= 0:
        context.loop.forget(container.oom_watch)
        os.close(container.oom_watch)
        container.oom_watch = -1


def release(context: Context, container: Container) -> None:
    """Gives back what a run needed: streams, cgroups, watches."""
    _release_streams(context, container)
    if container.groups is not None:
        found, container.groups = container.groups, None
        container.leaving += 1
        _remove_groups(context, container, found, 0)


def _remove_groups(context: Context, container: Container, found: cgroups.Groups, tries: int) -> None:
    """Removes the groups as soon as their last process is off them, unless a new run uses them; then whoever waits for
    that is called."""
    if container.groups != found and not cgroups.remove(found) and tries < RMDIR_RETRIES_MAX:
        context.loop.after(RMDIR_RETRY_S, lambda: _remove_groups(context, container, found, tries + 1))
        return
    container.leaving -= 1
    if not container.leaving:
        waiting, container.when_left = container.when_left, []
        for action in waiting:
            action()


def remove(context: Context, container: Container, done: Callable[[], None]) -> None:
    """Kills what is left and removes everything; `done` when nothing is there any more."""
    container.move(Happening.REMOVE)

    def clear() -> None:
        release(context, container)
        if container.leaving:
            container.when_left.append(forget)
        else:
            forget()

    def forget() -> None:
        if context.containers.get(container.spec.id) is container:
            journal.remove(container.file)
            del context.containers[container.spec.id]
        for waiter in container.waiters:
            waiter(Exited(LOST_STATUS, known=False))
        done()

    if container.process is None:
        clear()
        return
    container.when_idle.append(clear)
    kill(container)


def kill(container: Container) -> None:
    """The end of pid 1 is the end of its pid namespace; a unified group is killed as well, for whoever joined the
    group only."""
    if container.groups is not None and container.groups.unified:
        v2.kill(container.groups.unified)
    if container.process is not None:
        send_signal(container.process.pidfd, SIGKILL)
    if container.paused and container.groups is not None:
        freezer.thaw(container.groups)  # v1: a frozen process dies when it is thawed
        container.paused = False


def watch_memory(context: Context, container: Container) -> None:
    """Publishes `oom` when the kernel kills for want of memory in a container that has a limit. Raises OSError."""
    found = container.groups
    if found is None or not found.folder_of("memory") or not container.spec.limits.memory_bytes:
        return
    descriptor, happened = _watch_v2(found) if found.folder_of("memory") == found.unified else _watch_v1(found)

    def changed(_events: int) -> None:
        if happened():
            container.oom_told = True
            context.publish(Event("oom", container.spec.id))

    container.oom_watch, container.oom_told, container.oom_kills_before = descriptor, False, cgroups.oom_kills(found)
    context.loop.watch(descriptor, changed)


def _watch_v1(found: cgroups.Groups) -> tuple[int, Callable[[], bool]]:
    descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    cgroups.notify_oom(found, descriptor)

    def happened() -> bool:
        try:
            return os.eventfd_read(descriptor) > 0
        except BlockingIOError:
            return False

    return descriptor, happened


def _watch_v2(found: cgroups.Groups) -> tuple[int, Callable[[], bool]]:
    descriptor = open_watch(os.path.join(found.unified, "memory.events"), k.IN_MODIFY)
    seen = [0]

    def happened() -> bool:
        changes = len(list(read_changes(descriptor)))
        before, seen[0] = seen[0], cgroups.oom_kills(found)
        return changes > 0 and seen[0] > before

    return descriptor, happened
