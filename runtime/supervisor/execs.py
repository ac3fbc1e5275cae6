"""Processes that join a running container. Owns each from its fork to the record of its end; its descriptors go to
the client."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from runtime.cgroups import groups as cgroups
from runtime.child.compile import Compiled, compile_exec
from runtime.child.execution import explain
from runtime.child.faults import Refused
from runtime.child.host import Joined
from runtime.errors import NoSuchContainer, RuntimeFault, StartFailed
from runtime.kernel.detached import TTY_GID, open_container_ptmx, open_terminal, resize_terminal
from runtime.spec import ContainerSpec, ExecSpec, Exited
from runtime.supervisor import journal
from runtime.supervisor.context import Context
from runtime.supervisor.journal import ExecRecord
from runtime.supervisor.reaper import Process
from runtime.supervisor.spawn import close_all, read_report, spawn
from runtime.supervisor.states import Container, Phase, RunningExec

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


def _begin(
    context: Context, container: Container, spec: ExecSpec, outcome: Outcome, ours: dict[str, int], stack: ExitStack
) -> None:
    """Forks the child, writes its record, opens its gate. What only the child needs is closed with `stack`."""
    process = container.process
    assert process is not None
    theirs = _streams(process.pid, container.spec, spec, ours, stack)
    gate_reader, gate = os.pipe2(os.O_CLOEXEC)
    stack.callback(close_all, (gate_reader, gate))
    group = cgroups.open_unified(container.groups) if container.groups is not None else -1
    stack.callback(close_all, (group,))
    procs = cgroups.open_procs(container.groups, born=True) if container.groups is not None else []
    stack.callback(close_all, procs)
    whole = container.spec
    code = context.filters.find(whole.seccomp, whole.capabilities, whole.privileged)
    joined = Joined(process.pidfd, tuple(procs), gate_reader, filter=code, **theirs)
    compiled = compile_exec(spec, whole, context.host, joined)
    terminal = os.dup(ours["tty"]) if spec.tty else -1
    report, errors = os.pipe2(os.O_CLOEXEC)
    stack.callback(os.close, errors)
    try:
        pid = spawn(compiled, errors, home=context.home, enter=process.pidfd, group=group)
    except OSError:
        close_all((report, terminal))
        raise
    os.set_blocking(report, False)
    running = container.execs[spec.exec_id] = RunningExec(spec, None, terminal)
    joining = _Joining(context, container, running, spec, compiled, report, outcome, ours)
    running.process = joining.watch(pid)
    record = ExecRecord(spec.exec_id, context.record_of(running.process))
    journal.append_if_possible(container.file, record, durable=False)
    os.write(gate, b"\1")


@dataclass(slots=True)
class _Joining:
    """One exec from its fork to its end: the report first, whatever of the two events is seen first."""

    context: Context
    container: Container
    running: RunningExec
    spec: ExecSpec
    compiled: Compiled
    report: int
    outcome: Outcome
    ours: dict[str, int]
    fault: RuntimeFault | None = None

    def watch(self, pid: int) -> Process:
        self.context.loop.watch(self.report, lambda _events: self._reported(pid))
        return self.context.reaper.watch_child(pid, lambda exited: self._ended(pid, exited))

    def _reported(self, pid: int) -> None:
        """Executed: the client gets its streams. Failed: kept until the process has been reaped."""
        if self.report < 0:
            return
        try:
            failed = read_report(self.report)
        except BlockingIOError:
            return
        self.context.loop.forget(self.report)
        os.close(self.report)
        self.report = -1
        if failed is None:
            self.outcome(None, pid, self.ours)
            return
        index, error = failed
        spec = self.spec
        self.fault = explain(self.compiled.operations, index, error, os.strerror(error), spec.argv[0], spec.cwd)

    def _ended(self, pid: int, exited: Exited) -> None:
        self._reported(pid)
        finish(self.container, self.spec.exec_id, self.running, exited)
        if self.fault is not None:
            del self.container.execs[self.spec.exec_id]
            journal.append_if_possible(self.container.file, ExecRecord(self.spec.exec_id), durable=False)
            close_all(tuple(self.ours.values()))
            self.outcome(self.fault, 0, {})


def _streams(init: int, whole: ContainerSpec, spec: ExecSpec, ours: dict[str, int], stack: ExitStack) -> dict[str, int]:
    """Fills `ours` with the client's ends; the process's ends are returned by their names in Joined and closed with
    `stack`."""
    theirs: dict[str, int] = {}

    def keep(name: str, descriptor: int) -> None:
        stack.callback(os.close, descriptor)
        theirs[name] = descriptor

    if spec.tty:
        ours["tty"] = open_container_ptmx(init)
        keep("terminal", open_terminal(ours["tty"]))
        os.fchown(theirs["terminal"], whole.outside(spec.user.uid), whole.outside(TTY_GID))
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
        os.fchown(writer, whole.outside(spec.user.uid), whole.outside(spec.user.gid))
        keep(name, writer)
    return theirs


def finish(container: Container, exec_id: str, running: RunningExec, exited: Exited) -> None:
    """Keeps the status, tells who waits, forgets the oldest."""
    running.process, running.exited = None, exited
    close_all((running.terminal,))
    running.terminal = -1
    journal.append_if_possible(container.file, ExecRecord(exec_id, None, exited), durable=False)
    waiters, running.waiters = running.waiters, []
    for waiter in waiters:
        waiter(exited)
    finished = [name for name, other in container.execs.items() if other.exited is not None]
    for name in finished[: max(0, len(finished) - FINISHED_MAX)]:
        del container.execs[name]
        journal.append_if_possible(container.file, ExecRecord(name), durable=False)
