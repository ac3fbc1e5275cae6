"""A container started piece by piece, so that one defence can be left out of its list: what an escape test needs to show that it could fail.

Everything happens in the child's own mount namespace, on targets made for the test.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.cgroups import groups as cgroups
from runtime.child.compile import Compiled, compile_container
from runtime.child.host import Opened
from runtime.child.namespaces import OWNED
from runtime.kernel import constants as k
from runtime.kernel import userns
from runtime.kernel.operations import Operation
from runtime.kernel.overlay import Shift, mount_overlay
from runtime.kernel.syscalls import Call
from runtime.seccomp.filters import filters_of_this_machine
from runtime.spec import ContainerSpec, Limits
from runtime.supervisor.probe import probe_host
from runtime.supervisor.spawn import read_report, spawn

Change = Callable[[Operation], Operation]


@dataclass
class Outcome:
    """`status` 0: the attempt succeeded. `failed_step`: of a start that failed."""

    status: int
    output: str
    failed_step: str = ""

    @property
    def succeeded(self) -> bool:
        return self.status == 0 and not self.failed_step


def nothing(operation: Operation) -> Operation:
    """In its place, so that the distances in the list stay."""
    return Operation(Call.UMASK, (0o022,), operation.step, operation.into)


def without(wanted: Callable[[Operation], bool]) -> Change:
    return lambda operation: nothing(operation) if wanted(operation) else operation


def resolving_anything(step: str) -> Change:
    """openat2 in steps of that name without any restriction."""

    def change(operation: Operation) -> Operation:
        if operation.call is not Call.OPENAT2 or not operation.step.startswith(step):
            return operation
        base, path, how, size = operation.arguments
        assert isinstance(how, bytes)
        return operation._replace(arguments=(base, path, struct.pack("=3Q", *struct.unpack("=3Q", how)[:2], 0), size))

    return change


@dataclass
class Running:
    pid: int
    compiled: Compiled
    report: int
    output: Any
    stdin: int
    undo: ExitStack = field(default_factory=ExitStack)

    def wait(self) -> Outcome:
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        failed = read_report(self.report)
        self.output.seek(0)
        text = self.output.read().decode(errors="replace")
        self.undo.close()
        operations = self.compiled.operations
        step = "" if failed is None else operations[failed[0]].step if failed[0] < len(operations) else "exec"
        return Outcome(status, text, step)


def start(machine: Any, spec: ContainerSpec, change: Change | None = None, *, home: int) -> Running:
    """Forks, opens the gate. With a change, it must have changed something: the defence is in the list."""
    host = probe_host()
    layout = cgroups.read_layout()
    parents = cgroups.Parents(layout)
    parent = f"festoon-attempts-{os.getpid()}"
    with ExitStack() as stack:
        groups = parents.make(parent, spec.id[:12], Limits(), spec.privileged)
        stack.callback(parents.remove_all)
        stack.callback(cgroups.remove, groups)
        output = stack.enter_context(tempfile.TemporaryFile())
        mount_point = stack.enter_context(tempfile.TemporaryDirectory(prefix="festoon-attempt-"))
        closing = ExitStack()
        gate_reader, gate = os.pipe2(os.O_CLOEXEC)
        report, errors = os.pipe2(os.O_CLOEXEC)
        stdin_reader, stdin = os.pipe2(os.O_CLOEXEC)
        spaces: dict[int, int] = {}
        if spec.ids is not None:
            ids = (userns.Mapping(0, spec.ids.base, spec.ids.count),)
            spaces = userns.new_user_namespace(ids, ids, OWNED)
        shift = Shift(spaces[k.CLONE_NEWUSER], spec.outside(0)) if spaces else None
        root = mount_overlay(spec.rootfs.lower, spec.rootfs.upper, spec.rootfs.work, shift)
        os.fchown(output.fileno(), spec.outside(0), spec.outside(0))
        procs = cgroups.open_procs(groups)
        opened = Opened(
            root=root, mount_point=mount_point, gate=gate_reader, cgroups=tuple(procs), stdin=stdin_reader, stdout=output.fileno(),
            stderr=output.fileno(), views=cgroups.views_of(groups, layout),
            folders=frozenset(mount.source for mount in spec.mounts if os.path.isdir(mount.source)),
            user=spaces.get(k.CLONE_NEWUSER, -1), network=spaces.get(k.CLONE_NEWNET, -1),
            ipc=spaces.get(k.CLONE_NEWIPC, -1), uts=spaces.get(k.CLONE_NEWUTS, -1),
            filter=filters_of_this_machine(host.last_capability).find(spec.seccomp, spec.capabilities, spec.privileged),
        )  # fmt: skip
        compiled = compile_container(spec, host, opened)
        if change is not None:
            changed = tuple(change(operation) for operation in compiled.operations)
            assert changed != compiled.operations, "the defence is not in the list"
            compiled = compiled._replace(operations=changed)
        pid = spawn(compiled, errors, home=home)
        os.write(gate, b"\1")
        for descriptor in (gate_reader, gate, errors, root, stdin_reader, *procs, *spaces.values()):
            closing.callback(os.close, descriptor)
        closing.close()
        stack.callback(os.close, report)
        stack.callback(os.close, stdin)
        return Running(pid, compiled, report, output, stdin, stack.pop_all())


def attempt(machine: Any, script: str, change: Change | None = None, **options: object) -> Outcome:
    """Runs the shell script in a container of its own; exit status 0 means that it got what it wanted."""
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return start(machine, machine.spec("sh", "-c", script, **options), change, home=home).wait()
    finally:
        os.close(home)


def isolated(body: Callable[[], bool]) -> bool:
    """In a process with a private mount namespace of its own: whatever is mounted by mistake goes with it."""
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            from runtime.kernel.libc import call

            call(Call.UNSHARE, k.CLONE_NEWNS)
            call(Call.MOUNT, 0, b"/", 0, k.MS_PRIVATE | k.MS_REC, 0)
            status = 0 if body() else 1
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 1), "the attempt itself failed"
    return status == 0


def folder_with_secret(base: Path) -> Path:
    outside = base / "outside"
    outside.mkdir()
    (outside / "secret").write_text("not for containers\n")
    return outside
