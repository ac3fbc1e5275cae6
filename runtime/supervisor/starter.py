"""Starting a container: open what it needs, compile, fork, write its state, open the gate, learn whether it was
executed. Owns a start under way.

Nothing waits: the child's report comes as an event, so any number of starts run at once.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import ExitStack

from runtime.cgroups import groups as cgroups
from runtime.child.compile import Compiled, compile_container
from runtime.child.execution import explain
from runtime.child.faults import Refused
from runtime.child.host import Opened
from runtime.child.namespaces import CONTAINER_PREFIX, HOST, HOST_NETWORK, NO_OTHER, new_namespaces
from runtime.errors import RuntimeFault, StartFailed
from runtime.kernel.detached import mount_overlay
from runtime.spec import ContainerSpec, Exited
from runtime.supervisor import ending, streams
from runtime.supervisor.context import Context
from runtime.supervisor.prepared import Prepared, namespaces_ahead, numbered
from runtime.supervisor.probe import host_devices
from runtime.supervisor.reaper import Process
from runtime.supervisor.spawn import read_report, spawn
from runtime.supervisor.states import Container, Happening, OnStart, Phase


class Launch:
    """One start under way. `settle` is called when the error pipe speaks and, in case that was not seen yet, before
    the end is."""

    def __init__(self, context: Context, container: Container, compiled: Compiled, errors: int) -> None:
        self._context = context
        self._container = container
        self._compiled = compiled
        self._errors = errors
        self.fault: StartFailed | None = None
        context.reserve.begin()
        context.loop.watch(errors, lambda _events: self.settle())

    def settle(self) -> None:
        """Reads the report, once; running from here on, unless there is a fault."""
        if self._errors < 0:
            return
        try:
            report = read_report(self._errors)
        except BlockingIOError:
            return
        self._context.loop.forget(self._errors)
        os.close(self._errors)
        self._errors = -1
        self._context.reserve.done()
        container = self._container
        if report is None:
            container.move(Happening.EXECUTED)
            if container.phase is Phase.RUNNING:
                self._context.save_happened(container)
            self.conclude(None)
            return
        index, error = report
        spec = container.spec
        self.fault = explain(self._compiled.operations, index, error, os.strerror(error), spec.argv[0], spec.cwd)

    def ended(self) -> StartFailed | None:
        """The first process has ended: the fault, if it never executed the program."""
        self.settle()
        return self.fault

    def conclude(self, fault: RuntimeFault | None) -> None:
        """Tells those who asked for the start, once."""
        outcomes, self._container.when_started = self._container.when_started, []
        for outcome in outcomes:
            outcome(fault)


def start(context: Context, container: Container, key: str, outcome: OnStart) -> None:
    """Begins a start. Raises RuntimeFault for what is wrong already; later faults go to `outcome`."""
    before, exited = container.phase, container.exited
    container.move(Happening.START)
    container.exited = None
    container.start_key, container.started_at_ns = key, time.time_ns()
    try:
        with ExitStack() as opened:
            gate = _fork(context, container, opened)
            context.save(container)
            container.when_started.append(outcome)
            os.write(gate, b"\1")
    except (OSError, Refused, RuntimeFault) as error:
        if container.process is None:
            container.phase, container.exited = before, exited
            ending.release(context, container)
        # else the child finds its gate closed and ends by itself, as a start that failed
        if isinstance(error, RuntimeFault):
            raise
        raise StartFailed(str(error)) from error


def _fork(context: Context, container: Container, stack: ExitStack) -> int:
    """Forks the child; returns the gate it waits at. Everything that only the child needs is closed with `stack`."""
    spec = container.spec
    container.groups = context.parents.make(spec.cgroup_parent, spec.id[:12], spec.limits, spec.privileged)
    context.reserve.announce()  # not before: it holds the kernel's lock of all cgroups
    streams.prepare(context, container)
    gate_reader, gate = _pipe(stack)
    report, errors = os.pipe2(os.O_CLOEXEC)
    stack.callback(os.close, errors)
    try:
        opened = _open(context, container, gate_reader, stack)
        ready = _hand_over(context, spec, opened, errors)
        compiled = ready[1] if ready is not None else compile_container(spec, context.host, opened)
        pid = -1
        if ready is None:
            pid = spawn(compiled, errors, home=context.home, enter=_pid_namespace(context, spec), drop=(gate, report))
        if container.stdin_ended:
            streams.close_stdin(context, container)
    except (OSError, Refused, RuntimeFault):
        os.close(report)
        raise
    os.set_blocking(report, False)
    launch = Launch(context, container, compiled, report)

    def ended(exited: Exited) -> None:
        fault = launch.ended()
        ending.ended(context, container, exited, fault)
        launch.conclude(fault)

    if ready is not None:
        ready[0].on_exit = ended
        container.process = ready[0].process
    else:
        container.process = context.reaper.watch_child(pid, ended)
    ending.watch_memory(context, container)
    return gate


def _hand_over(context: Context, spec: ContainerSpec, opened: Opened, errors: int) -> tuple[Prepared, Compiled] | None:
    """A child of the reserve that has its list now, and the list; None when there is none that suits. Raises
    Refused."""
    if spec.pid_mode:
        return None
    flags = namespaces_ahead(new_namespaces(spec))
    prepared = context.reserve.take(flags)
    if prepared is None:
        return None
    there, descriptors = numbered(opened._replace(separated=flags))
    try:
        compiled = compile_container(spec, context.host, there)
        if prepared.hand_over(compiled, (*descriptors, errors)):
            return prepared, compiled
    except Refused:
        context.reserve.dismiss(prepared)
        raise
    context.reserve.dismiss(prepared)
    return None


def _pipe(stack: ExitStack) -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    stack.callback(os.close, reader)
    stack.callback(os.close, writer)
    return reader, writer


def _open(context: Context, container: Container, gate: int, stack: ExitStack) -> Opened:
    """Everything that the list refers to by number. Raises OSError, StartFailed."""
    spec = container.spec

    def keep(descriptor: int) -> int:
        stack.callback(os.close, descriptor)
        return descriptor

    assert container.groups is not None
    root = keep(mount_overlay(spec.rootfs.lower, spec.rootfs.upper, spec.rootfs.work))
    ends = {name: keep(descriptor) for name, descriptor in streams.open_for_child(container).items()}
    return Opened(
        root=root,
        mount_point=context.places.mount_point,
        gate=gate,
        cgroups=tuple(keep(descriptor) for descriptor in cgroups.open_procs(container.groups)),
        network=keep(_open_network(context, spec)) if spec.network_namespace not in ("", HOST_NETWORK) else -1,
        ipc=keep(_open_other(context, spec.ipc_mode, "ipc")) if spec.ipc_mode not in NO_OTHER else -1,
        uts=keep(_open_other(context, spec.uts_mode, "uts")) if spec.uts_mode not in NO_OTHER else -1,
        views=cgroups.views_of(container.groups, context.layout),
        devices=host_devices() if spec.privileged else (),
        folders=_folders(spec),
        filter=context.filters.find(spec.seccomp, spec.capabilities, spec.privileged),
        **ends,
    )


def _pid_namespace(context: Context, spec: ContainerSpec) -> int:
    """For spawn: what the child is born in; -1 a new one."""
    if spec.pid_mode in NO_OTHER:
        return context.home if spec.pid_mode == HOST else -1
    return _other(context, spec.pid_mode, "pid").pidfd


def _other(context: Context, container_id: str, what: str) -> Process:
    """The first process of a container whose namespace is joined. Raises StartFailed."""
    other = context.containers.get(container_id)
    if other is None or other.process is None or other.phase is not Phase.RUNNING:
        raise StartFailed(f"cannot join {what} namespace of a non running container: {container_id}")
    return other.process


def _open_other(context: Context, container_id: str, what: str) -> int:
    return os.dup(_other(context, container_id, what).pidfd)


def _open_network(context: Context, spec: ContainerSpec) -> int:
    if spec.network_namespace.startswith(CONTAINER_PREFIX):
        return _open_other(context, spec.network_namespace.removeprefix(CONTAINER_PREFIX), "network")
    try:
        return os.open(spec.network_namespace, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise StartFailed(f"the network namespace {spec.network_namespace} does not exist") from error


def _folders(spec: ContainerSpec) -> frozenset[str]:
    """Which bind sources are folders. Raises StartFailed for one that does not exist, in Docker's words."""
    found: set[str] = set()
    for mount in spec.mounts:
        if mount.kind != "bind":
            continue
        try:
            mode = os.stat(mount.source).st_mode
        except FileNotFoundError as error:
            text = f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
            raise StartFailed(text) from error
        if stat.S_ISDIR(mode):
            found.add(mount.source)
    return frozenset(found)
