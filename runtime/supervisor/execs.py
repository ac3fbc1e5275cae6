"""Processes that join a running container. Owns each from its fork to the record of its end; its descriptors go to
the client."""

from __future__ import annotations

import os
import socket
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
from runtime.kernel.operations import Operation
from runtime.spec import ContainerSpec, ExecSpec, Exited
from runtime.supervisor import journal
from runtime.supervisor.births import Numbering, TooLarge, pack_list, send_list
from runtime.supervisor.context import Context
from runtime.supervisor.journal import ExecRecord
from runtime.supervisor.reaper import LOST_STATUS, Process
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
    joining = _Joining(context, container, spec, RunningExec(spec, None), outcome, ours)
    try:
        with ExitStack() as stack:
            joining.begin(container.process, stack)
    except Exception as error:
        joining.abandoned = True
        close_all((*ours.values(), joining.running.terminal, joining.report))
        if isinstance(error, (OSError, Refused)):
            raise StartFailed(str(error)) from error
        raise
    container.execs[spec.exec_id] = joining.running


@dataclass(slots=True)
class _Joining:
    """One exec from its birth to its end: the report first, whatever of the two events is seen first. `abandoned`: the
    child that comes is not needed."""

    context: Context
    container: Container
    spec: ExecSpec
    running: RunningExec
    outcome: Outcome
    ours: dict[str, int]
    operations: tuple[Operation, ...] = ()
    report: int = -1
    fault: RuntimeFault | None = None
    abandoned: bool = False

    def begin(self, init: Process, stack: ExitStack) -> None:
        """Wishes for a child in the container's pid namespace and group; opens and compiles what it needs while it is born, so that its list waits
        for it. What only the child needs is closed with `stack`, or when the child is there. Raises OSError, Refused, RuntimeFault."""
        context, groups = self.context, self.container.groups
        assert groups is not None
        number = Numbering()
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(channel.close)
        room, held, gate = context.births.room, ExitStack(), -1

        def born(result: int | StartFailed) -> None:
            if self.abandoned:
                if not isinstance(result, StartFailed):
                    context.reaper.watch_child(result, lambda _exited: None)
                return
            with held:
                if not isinstance(result, StartFailed) and context.births.room != room:  # another nursery's child
                    send_list(channel, pack_list(self.operations, context.births.room), tuple(number.descriptors))
                self._begun(result, gate)

        with theirs:
            group = cgroups.open_unified(groups)
            try:
                context.births.wish(theirs, group, init.pidfd, born)
            finally:
                close_all((group,))
        joined, gate, errors = self._open(init, stack)
        there = joined.numbered(number)
        number(errors)
        try:
            self.operations = self._compile(there)
            send_list(channel, pack_list(self.operations, room), tuple(number.descriptors))
            held.push(stack.pop_all())
        except TooLarge:
            self.abandoned = True
            self._begun(self._spawn(joined, errors, gate), gate)

    def _spawn(self, joined: Joined, errors: int, gate: int) -> int:
        """A child forked here, for a list that the nursery's have no room for."""
        groups = self.container.groups
        assert groups is not None
        self.operations = self._compile(joined)
        group = cgroups.open_unified(groups)
        try:
            return spawn(Compiled(self.operations), errors, home=self.context.home, enter=joined.init, group=group, drop=(gate, self.report))
        finally:
            close_all((group,))

    def _open(self, init: Process, stack: ExitStack) -> tuple[Joined, int, int]:
        """What the child needs, our end of its gate, its error pipe."""
        context, whole, groups = self.context, self.container.spec, self.container.groups
        assert groups is not None
        theirs = _streams(init.pid, whole, self.spec, self.ours, stack)
        if self.spec.tty:
            self.running.terminal = os.dup(self.ours["tty"])
        gate_reader, gate = os.pipe2(os.O_CLOEXEC)
        stack.callback(close_all, (gate_reader, gate))
        pidfd = os.dup(init.pidfd)
        stack.callback(os.close, pidfd)
        procs = cgroups.open_procs(groups, born=True)
        stack.callback(close_all, procs)
        self.report, errors = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        stack.callback(os.close, errors)
        code = context.filters.find(whole.seccomp, whole.capabilities, whole.privileged)
        return Joined(pidfd, tuple(procs), gate_reader, filter=code, **theirs), gate, errors

    def _compile(self, joined: Joined) -> tuple[Operation, ...]:
        return compile_exec(self.spec, self.container.spec, self.context.host, joined).operations

    def _begun(self, result: int | StartFailed, gate: int) -> None:
        """The child has its list, and waits at its gate for its record; or there is none."""
        if isinstance(result, StartFailed):
            self.fault = result
            os.close(self.report)
            self.report = -1
            self._ended(0, Exited(LOST_STATUS, known=False))
            return
        self.context.loop.watch(self.report, lambda _events: self._reported(result))
        self.running.process = self.context.reaper.watch_child(result, lambda exited: self._ended(result, exited))
        record = ExecRecord(self.spec.exec_id, self.context.record_of(self.running.process))
        journal.append_if_possible(self.container.file, record, durable=False)
        os.write(gate, b"\1")

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
        self.fault = explain(self.operations, index, error, os.strerror(error), spec.argv[0], spec.cwd)

    def _ended(self, pid: int, exited: Exited) -> None:
        self._reported(pid)
        finish(self.container, self.spec.exec_id, self.running, exited)
        if self.fault is not None:
            self.container.execs.pop(self.spec.exec_id, None)
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
