"""Processes that join a running container. Owns each from its fork to the record of its end; its descriptors go to
the client."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from runtime.cgroups import groups as cgroups
from runtime.child.compile import compile_exec
from runtime.child.execution import explain
from runtime.child.faults import Refused
from runtime.child.host import Joined
from runtime.errors import NoSuchContainer, RuntimeFault, StartFailed
from runtime.kernel.detached import open_container_ptmx, open_terminal, resize_terminal
from runtime.spec import ExecSpec, Exited
from runtime.supervisor import journal
from runtime.supervisor.context import Context
from runtime.supervisor.journal import EXEC_PREFIX, ExecRecord
from runtime.supervisor.spawn import close_all, read_report, spawn
from runtime.supervisor.states import Container, Phase, RunningExec
from runtime.supervisor.streams import TTY_GID

FINISHED_MAX = 100
"""Records of ended execs kept for each container."""

Outcome = Callable[[RuntimeFault | None, int, dict[str, int]], None]
"""Called once: (None, pid, the client's descriptors, which it owns now), or the fault."""


def find(container: Container, exec_id: str) -> RunningExec:
    """Raises NoSuchContainer."""
    found = container.execs.get(exec_id)
    if found is None:
        raise NoSuchContainer(f"No such exec instance: {exec_id}")
    return found


def start(context: Context, container: Container, spec: ExecSpec, outcome: Outcome) -> None:
    """Begins; raises RuntimeFault for what is wrong already, later faults go to `outcome`."""
    if container.phase is not Phase.RUNNING or container.process is None:
        raise RuntimeFault(f"Container {container.spec.id} is not running")
    if spec.exec_id in container.execs:
        raise RuntimeFault(f"exec {spec.exec_id} has been started already")
    ours: dict[str, int] = {}
    try:
        with ExitStack() as stack:
            _begin(context, container, spec, outcome, ours, stack)
    except (OSError, Refused) as error:
        close_all(tuple(ours.values()))
        raise StartFailed(str(error)) from error


def _begin(context: Context, container: Container, spec: ExecSpec, outcome: Outcome, ours: dict[str, int], stack: ExitStack) -> None:
    process = container.process
    assert process is not None
    theirs = _streams(process.pid, spec, ours, stack)
    gate_reader, gate = os.pipe2(os.O_CLOEXEC)
    stack.callback(close_all, (gate_reader, gate))
    report, errors = os.pipe2(os.O_CLOEXEC)
    stack.callback(os.close, errors)
    procs = cgroups.open_procs(container.groups) if container.groups is not None else []
    stack.callback(close_all, procs)
    try:
        compiled = compile_exec(spec, container.spec, context.host, Joined(process.pidfd, tuple(procs), gate_reader, **theirs))
        pid = spawn(compiled, errors, home=context.home, enter=process.pidfd)
    except (OSError, Refused):
        os.close(report)
        raise
    running = RunningExec(spec, None, os.dup(ours["tty"]) if spec.tty else -1)
    container.execs[spec.exec_id] = running
    pending = [report]

    def settle() -> RuntimeFault | None:
        """The report, once it is there: the fault, None for none."""
        failed = read_report(report)
        context.loop.forget(report)
        os.close(pending.pop())
        if failed is None:
            outcome(None, pid, ours)
            return None
        index, error = failed
        return explain(compiled.operations, index, error, os.strerror(error), spec.argv[0], spec.cwd)

    faults: list[RuntimeFault] = []

    def reported(_events: int = 0) -> None:
        try:
            fault = settle() if pending else None
        except BlockingIOError:
            return
        if fault is not None:
            faults.append(fault)

    def ended(exited: Exited) -> None:
        reported()
        finish(container, spec.exec_id, running, exited)
        if faults:
            del container.execs[spec.exec_id]
            journal.forget_exec(container.folder, spec.exec_id)
            close_all(tuple(ours.values()))
            outcome(faults[0], 0, {})

    os.set_blocking(report, False)
    context.loop.watch(report, reported)
    running.process = context.reaper.watch_child(pid, ended)
    record = ExecRecord(context.record_of(running.process))
    journal.write_if_possible(container.folder, EXEC_PREFIX + spec.exec_id, record, durable=False)
    os.write(gate, b"\1")


def _streams(init: int, spec: ExecSpec, ours: dict[str, int], stack: ExitStack) -> dict[str, int]:
    """Fills `ours` with the client's ends; the process's ends are returned by their names in Joined and closed with
    `stack`."""
    theirs: dict[str, int] = {}

    def keep(name: str, descriptor: int) -> None:
        stack.callback(os.close, descriptor)
        theirs[name] = descriptor

    if spec.tty:
        ours["tty"] = open_container_ptmx(init)
        keep("terminal", open_terminal(ours["tty"]))
        os.fchown(theirs["terminal"], spec.user.uid, TTY_GID)
        if spec.rows and spec.columns:
            resize_terminal(ours["tty"], spec.rows, spec.columns)
        return theirs
    if spec.open_stdin:
        reader, ours["stdin"] = os.pipe2(os.O_CLOEXEC)
        keep("stdin", reader)
    else:
        keep("stdin", os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
    for name in ("stdout", "stderr"):
        ours[name], writer = os.pipe2(os.O_CLOEXEC)
        os.fchown(writer, spec.user.uid, spec.user.gid)
        keep(name, writer)
    return theirs


def finish(container: Container, exec_id: str, running: RunningExec, exited: Exited) -> None:
    """Keeps the status, tells who waits, forgets the oldest."""
    running.process, running.exited = None, exited
    close_all((running.terminal,))
    running.terminal = -1
    kept = journal.read(container.folder, EXEC_PREFIX + exec_id, ExecRecord)
    if kept is not None:
        record = ExecRecord(kept.process, exited)
        journal.write_if_possible(container.folder, EXEC_PREFIX + exec_id, record, durable=False)
    waiters, running.waiters = running.waiters, []
    for waiter in waiters:
        waiter(exited)
    finished = [name for name, other in container.execs.items() if other.exited is not None]
    for name in finished[: max(0, len(finished) - FINISHED_MAX)]:
        del container.execs[name]
        journal.forget_exec(container.folder, name)
