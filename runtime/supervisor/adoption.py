"""A new supervisor's first act: the containers that an earlier one left, on disk and running. Owns nothing
afterwards.

A pid is trusted only with the same boot and start time. A start that was under way is undone: its child waits at a
gate that closed with the earlier supervisor, or has just been executed without anybody knowing; both are killed, and
the client's repeated request starts anew.
"""

from __future__ import annotations

import os
import select

from runtime.cgroups import freezer
from runtime.kernel.processes import send_signal, start_time
from runtime.spec import Exited
from runtime.supervisor import ending, execs, journal, streams
from runtime.supervisor.context import Context
from runtime.supervisor.journal import ExecRecord, Kept, ProcessRecord
from runtime.supervisor.reaper import LOST_STATUS
from runtime.supervisor.states import Container, Phase, RunningExec

KILLED_WAIT_MS = 10_000


def adopt_all(context: Context) -> None:
    """Fills context.containers from the journal. Raises OSError when the state folder can't be read."""
    for file, kept in list(journal.containers(context.places.state)):
        assert kept.spec is not None
        container = Container(kept.spec, file)
        context.containers[kept.spec.id] = container
        container.started_at_ns, container.start_key = kept.state.started_at_ns, kept.state.start_key
        container.group = kept.state.group
        _adopt(context, container, kept)
    context.reaper.clean_records()
    streams.sweep(context)


def _adopt(context: Context, container: Container, kept: Kept) -> None:
    record = kept.state
    phase = Phase(record.phase)
    if phase is Phase.STARTING:
        _undo(context, container, record.process)
    elif phase is Phase.RUNNING and record.process is not None:
        _adopt_running(context, container, record.process)
    elif phase is Phase.EXITED:
        container.phase, container.exited = phase, record.exited
        container.groups = context.parents.find(container.spec.cgroup_parent, container.group_name)  # if their removal was interrupted
        ending.release(context, container)
    for exec_record in kept.execs.values():
        _adopt_exec(context, container, exec_record)


def _undo(context: Context, container: Container, process: ProcessRecord | None) -> None:
    """Kills the child of an unfinished start and waits for its end (at once, or nearly)."""
    container.started_at_ns, container.start_key = 0, ""
    if process is not None and process.boot_id == context.boot_id:
        try:
            pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            pidfd = -1
        if pidfd >= 0:
            if start_time(process.pid) == process.start_time and send_signal(pidfd, ending.SIGKILL):
                waiting = select.poll()
                waiting.register(pidfd, select.POLLIN)
                waiting.poll(KILLED_WAIT_MS)
            os.close(pidfd)
    container.groups = context.parents.find(container.spec.cgroup_parent, container.group_name)
    ending.release(context, container)
    context.save_happened(container)


def _adopt_running(context: Context, container: Container, process: ProcessRecord) -> None:
    container.phase = Phase.RUNNING
    container.groups = context.parents.find(container.spec.cgroup_parent, container.group_name)

    def ended(exited: Exited) -> None:
        ending.ended(context, container, exited, None)

    if process.boot_id == context.boot_id:
        container.process = context.reaper.adopt(process.pid, process.start_time, ended)
    try:
        streams.take_over(context, container)
    except FileNotFoundError:
        container.output = None  # its FIFOs are gone (somebody cleaned the state folder): it runs on without a log
    if container.process is not None:
        container.paused = freezer.is_frozen(container.groups)
        ending.watch_memory(context, container)
        return
    exited = context.reaper.take_record(process.pid, process.start_time) if process.boot_id == context.boot_id else None
    ended(exited or Exited(LOST_STATUS, known=False))


def _adopt_exec(context: Context, container: Container, record: ExecRecord) -> None:
    exec_id, process = record.exec_id, record.process
    running = RunningExec(None, None, exited=record.exited)
    container.execs[exec_id] = running
    if record.exited is not None or process is None:
        return
    if process.boot_id == context.boot_id:
        running.process = context.reaper.adopt(process.pid, process.start_time, lambda exited: execs.finish(container, exec_id, running, exited))
        if running.process is not None:
            return
    exited = context.reaper.take_record(process.pid, process.start_time) if process.boot_id == context.boot_id else None
    execs.finish(container, exec_id, running, exited or Exited(LOST_STATUS, known=False))
