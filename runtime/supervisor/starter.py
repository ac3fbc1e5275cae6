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
from runtime.child.compile import compile_container
from runtime.child.execution import explain
from runtime.child.faults import Refused
from runtime.child.host import Opened
from runtime.child.namespaces import new_namespaces
from runtime.errors import RuntimeFault, StartFailed
from runtime.kernel import constants as k
from runtime.kernel.overlay import Shift, mount_overlay
from runtime.spec import ContainerSpec, Exited
from runtime.supervisor import ending, streams
from runtime.supervisor.births import Numbering, TooLarge
from runtime.supervisor.context import Context
from runtime.supervisor.prepared import Prepared, namespaces_ahead
from runtime.supervisor.probe import devices_of, privileged_devices
from runtime.supervisor.spaces import open_namespaces, pid_namespace
from runtime.supervisor.spawn import close_all, read_report, spawn
from runtime.supervisor.states import Container, Happening, OnStart, Phase


class Launch:
    """One start under way. `settle` is called when the error pipe speaks and, in case that was not seen yet, before
    the end is."""

    def __init__(self, context: Context, container: Container, opened: Opened, errors: int) -> None:
        """`opened`: what the child's list was made for."""
        self._context = context
        self._container = container
        self._opened = opened
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
            conclude(container, None)
            return
        index, error = report
        spec = container.spec
        compiled = compile_container(spec, self._context.host, self._opened)
        self.fault = explain(compiled.operations, index, error, os.strerror(error), spec.argv[0], spec.cwd)

    def ended(self) -> StartFailed | None:
        """The first process has ended: the fault, if it never executed the program."""
        self.settle()
        return self.fault


def conclude(container: Container, fault: RuntimeFault | None) -> None:
    """Tells those who asked for the start, once."""
    outcomes, container.when_started = container.when_started, []
    for outcome in outcomes:
        outcome(fault)


def start(context: Context, container: Container, key: str, outcome: OnStart) -> None:
    """Begins a start; `outcome` is called when it is known to have happened or not."""
    before = container.phase, container.exited
    container.move(Happening.START)
    container.exited = None
    container.start_key, container.started_at_ns = key, time.time_ns()
    container.when_started.append(outcome)
    if is_usual(container.spec):
        flags = namespaces_ahead(new_namespaces(container.spec))
        context.reserve.take(flags, lambda taken: _begin(context, container, before, taken))
    else:
        _begin(context, container, before, None)


def is_usual(spec: ContainerSpec) -> bool:
    """Whether a child of the reserve can become this container."""
    return not (spec.pid_mode or spec.privileged or spec.cgroup_parent or spec.devices or spec.device_rules or spec.ids is not None)


def _begin(context: Context, container: Container, before: tuple[Phase, Exited | None], taken: Prepared | RuntimeFault | None) -> None:
    """With a child of the reserve, with one that is forked for it (None), or with the reason why there is none."""
    fault: RuntimeFault | None = None
    try:
        with ExitStack() as opened:
            prepared = None
            if isinstance(taken, Prepared):
                prepared = taken
                opened.callback(context.reserve.give_back, prepared)
            elif taken is not None:
                raise taken
            if container.phase is not Phase.STARTING:
                raise RuntimeFault(f"container {container.spec.id} is marked for removal and cannot be started")
            if context.halting:
                raise RuntimeFault(f"container {container.spec.id} cannot be started: this node is going down")
            gate = _fork(context, container, prepared, opened)
            context.save(container)
            os.write(gate, b"\1")
    except Exception as error:
        if container.process is None and container.phase is Phase.STARTING:
            container.phase, container.exited = before
            ending.release(context, container)
        # else the child finds its gate closed and ends by itself, as a start that failed
        fault = error if isinstance(error, RuntimeFault) else StartFailed(str(error))
        if not isinstance(error, (OSError, Refused, RuntimeFault)):
            conclude(container, fault)
            raise
    if fault is not None:
        conclude(container, fault)


def _fork(context: Context, container: Container, prepared: Prepared | None, stack: ExitStack) -> int:
    """Gives the list to a child of the reserve, or forks one; returns the gate it waits at. Everything that only the
    child needs is closed with `stack`."""
    spec = container.spec
    _make_groups(context, container, prepared)
    streams.prepare(context, container)
    gate_reader, gate = _pipe(stack)
    report, errors = os.pipe2(os.O_CLOEXEC)
    stack.callback(os.close, errors)
    try:
        opened = _open(context, container, gate_reader, stack)
        there = _hand_over(context, spec, prepared, opened, errors) if prepared is not None else None
        pid = -1
        if there is None:
            prepared = None
            there, group = _open_groups(context, container, opened, stack)
            compiled = compile_container(spec, context.host, there)
            pid = spawn(compiled, errors, home=context.home, enter=pid_namespace(context, spec), group=group, drop=(gate, report))
        if container.stdin_ended:
            streams.close_stdin(context, container)
    except (OSError, Refused, RuntimeFault):
        os.close(report)
        raise
    os.set_blocking(report, False)
    launch = Launch(context, container, there, report)

    def ended(exited: Exited) -> None:
        fault = launch.ended()
        ending.ended(context, container, exited, fault)
        conclude(container, fault)

    if prepared is not None:
        prepared.on_exit = ended
        container.process = prepared.process
    else:
        container.process = context.reaper.watch_child(pid, ended)
    ending.watch_memory(context, container)
    return gate


def _make_groups(context: Context, container: Container, prepared: Prepared | None) -> None:
    """The container's groups with their limits: those that the child is in already, or new ones."""
    spec = container.spec
    if prepared is None:
        container.group = ""
        container.groups = context.parents.make(spec.cgroup_parent, container.group_name, spec.limits, spec.privileged, _device_rules(spec))
    else:
        container.group, container.groups = prepared.group, prepared.groups
        context.parents.limit(prepared.groups, spec.limits)


def _device_rules(spec: ContainerSpec) -> tuple[str, ...]:
    """Beyond the default ones. Raises StartFailed."""
    return (*devices_of(spec.devices)[1], *spec.device_rules)


def _open_groups(context: Context, container: Container, opened: Opened, stack: ExitStack) -> tuple[Opened, int]:
    """For a child that is in no group yet; the second is what it is born in. Where one of the reserve was of no use,
    the container gets groups of its own."""
    if container.group:
        _make_groups(context, container, None)
    assert container.groups is not None
    group = cgroups.open_unified(container.groups)
    stack.callback(close_all, (group,))
    procs = cgroups.open_procs(container.groups, born=True)
    stack.callback(close_all, procs)
    return opened._replace(cgroups=tuple(procs), views=cgroups.views_of(container.groups, context.layout)), group


def _hand_over(context: Context, spec: ContainerSpec, prepared: Prepared, opened: Opened, errors: int) -> Opened | None:
    """What is open at the child, which has its list now; None when that is too large, or the child has gone. Raises Refused."""
    number = Numbering()
    there = opened._replace(separated=prepared.flags).numbered(number)
    try:
        packed = context.lists.find(spec, there, prepared.group, prepared.room)
    except TooLarge:
        return None
    return there if prepared.hand_over(packed, (*number.descriptors, errors)) else None


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
    spaces = {flag: keep(descriptor) for flag, descriptor in open_namespaces(context, spec).items()}
    user = spaces.get(k.CLONE_NEWUSER, -1)
    shift = Shift(user, spec.outside(0)) if spec.ids is not None else None
    root = keep(mount_overlay(spec.rootfs.lower, spec.rootfs.upper, spec.rootfs.work, shift))
    ends = {name: keep(descriptor) for name, descriptor in streams.open_for_child(context, container).items()}
    return Opened(
        root=root,
        mount_point=context.places.mount_point,
        gate=gate,
        cgroups=(),  # one in reserve is in its groups already; see _open_groups
        network=spaces.get(k.CLONE_NEWNET, -1),
        ipc=spaces.get(k.CLONE_NEWIPC, -1),
        uts=spaces.get(k.CLONE_NEWUTS, -1),
        user=user,
        views=cgroups.views_of(container.groups, context.layout),
        devices=privileged_devices(spec.devices) if spec.privileged else devices_of(spec.devices)[0],
        folders=_folders(spec),
        filter=context.filters.find(spec.seccomp, spec.capabilities, spec.privileged),
        **ends,
    )


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
