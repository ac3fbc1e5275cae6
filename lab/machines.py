"""A lab's machines: brought up together, revived one by one, taken down without a trace.

Owns the order of things and what happens when one of them fails. Decides nothing about clusters: `up` makes machines
and starts the node's program on them, no more.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import msgspec

from lab import boot, bridge, groups, images, processes, records, registry
from lab.layout import LabError, Layout, Machine
from netfabric.netlink import netns
from runtime.images.store import ImageStore
from runtime.storage import overlay

READY_TIMEOUT_S = 180.0
"""A bound for the slowest machine, a guest without KVM: a program that ends before is heard of at once."""
LOG_TAIL_LINES = 15
GATEWAY = "gateway"
READY_LINE = b"ready\n"


@dataclass(frozen=True)
class Program:
    """What runs on every machine; `{ready}` is the descriptor that gets the line `ready`."""

    argv: tuple[str, ...]

    def at(self, ready: int) -> list[str]:
        return [a.replace("{ready}", str(ready)) for a in self.argv]


def festoond(insecure_registry: str) -> Program:
    """The node's program, with the interpreter that runs us."""
    where = ("--root", "/var/lib/festoon", "--run", "/run/festoon", "--ready-fd", "{ready}", "--insecure-registry", insecure_registry)
    return Program((sys.executable, "-I", "-m", "agent", *where))


@dataclass(frozen=True)
class Status:
    """A machine as `ls` shows it. `state`: up, festoond stopped, down."""

    machine: Machine
    state: str


class Step(IntEnum):
    """What a machine has come to: its namespaces and groups, its processes, a festoond that answers."""

    MADE = 1
    BOOTED = 2
    READY = 3


Told = Callable[[str, Step], None]


def up(
    layout: Layout, *, uplink: bool = False, program: Program | None = None, with_registry: bool = False, told: Told = lambda _machine, _step: None
) -> tuple[str, ...]:
    """Make the lab, or revive what has died of it; returns the names of the machines whose program was started. `told` hears of each step of a machine
    that is started.

    Raises LabError with one sentence. A new lab that does not come up is taken away again; an old one stays as it is.
    """
    if with_registry:
        registry.program()
    with records.locked():
        fresh = not (records.lab_folder(layout.name) / "lab.json").exists()
        if fresh:
            _remove(layout.name)  # what an `up` left that was killed before it had written anything down
        host = netns.current()
        try:
            if fresh:
                bridge.check_free(layout, host)
                records.make_mount_point()
                before = bridge.forwarding() if uplink else ""
                records.write(records.Record(layout=layout, uplink=uplink, ip_forward_before=before, registry=with_registry))
            elif with_registry:
                records.write(msgspec.structs.replace(records.read(layout.name), registry=True))
            done = False
            try:
                started = _bring_up(records.read(layout.name), host, program or festoond(registry.address(layout)), told)
                done = True
            finally:
                if fresh and not done:
                    _remove(layout.name)
        finally:
            os.close(host)
            _tidy()
    return started


def down(name: str) -> bool:
    """Kill everything in the lab and remove every trace; False when there was none. Raises LabError on one of its own
    machines.
    """
    if name not in records.names():
        return False
    with records.locked():
        _remove(name)
        records.remove_roots()
    return True


def status(name: str) -> tuple[Status, ...]:
    """Raises LabError when there is no such lab."""
    layout = records.read(name).layout
    return tuple(Status(machine, _state(name, machine)) for machine in layout.machines)


def socket_of(name: str, machine: str) -> str:
    """The node's socket, as a path that works on the host. Raises LabError when the machine is down."""
    holder = records.read_process(records.machine_folder(name, machine), "holder")
    if holder is None:
        raise LabError(f"{machine} is down: `festoon lab up` revives it with its state")
    return f"/proc/{holder.pid}/root/run/festoon/festoon.sock"


def log_of(name: str, machine: str) -> Path:
    """What festoond says there. Raises LabError for a machine that is not in the lab."""
    return records.machine_folder(name, records.read(name).layout.machine(machine).name) / boot.LOG


def _state(name: str, machine: Machine) -> str:
    folder = records.machine_folder(name, machine.name)
    if records.read_process(folder, "holder") is None:
        return "down"
    return "up" if records.read_process(folder, "festoond") is not None else "festoond stopped"


def _bring_up(record: records.Record, host: int, program: Program, told: Told) -> tuple[str, ...]:
    layout = record.layout
    with contextlib.ExitStack() as stack:
        gateway, rebuilt = _gateway(record, host)
        stack.callback(os.close, gateway)
        if record.registry:
            registry.start(layout, gateway, GATEWAY)
        new: list[tuple[Machine, int]] = []
        attached: list[tuple[Machine, int]] = []
        stopped: list[Machine] = []
        for machine in layout.machines:
            state = _state(layout.name, machine)
            if state == "down":
                namespace = _new_machine(layout, machine)
                new.append((machine, namespace))
                told(machine.name, Step.MADE)
            else:
                namespace = _namespace(records.machine_folder(layout.name, machine.name))
                if state != "up":
                    stopped.append(machine)
            stack.callback(os.close, namespace)
            if state == "down" or rebuilt:
                attached.append((machine, namespace))
        bridge.attach(layout, gateway, attached)
        boots = [stack.enter_context(_booting(layout, m, fd, program)) for m, fd in new]
        boots += [stack.enter_context(_booting(layout, m, -1, program)) for m in stopped]
        _load_images([records.machine_folder(layout.name, m.name) for m, _ in new])
        for one in boots:
            one.finish()
            told(one.machine.name, Step.BOOTED)
        _wait_ready(layout.name, boots, told)
        return tuple(one.machine.name for one in boots)


def _gateway(record: records.Record, host: int) -> tuple[int, bool]:
    """A descriptor of the bridge's namespace, and whether it was made anew."""
    layout = record.layout
    folder = records.gateway_folder(layout.name)
    if records.read_process(folder, "holder") is not None:
        return _namespace(folder), False
    groups.empty(layout.name, GATEWAY)
    folder.mkdir(mode=0o700, exist_ok=True)
    made = groups.make(layout.name, GATEWAY)
    namespace = netns.create_anonymous()
    with netns.in_namespace(namespace):
        reader, writer = os.pipe()
        holder = subprocess.Popen(  # lives on: the kernel gives it to init
            [f"festoon-lab {layout.name} {GATEWAY}"],
            executable=boot.HOLDER,
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writer,),
            start_new_session=True,
            cwd="/",
            env={},
        )
    os.close(reader)
    os.close(writer)
    for group in made:
        Path(group, "cgroup.procs").write_text(str(holder.pid))
    records.write_process(folder, "holder", processes.identify(holder.pid))
    holder.returncode = 0  # not ours to wait for
    bridge.build(layout, namespace, host, uplink=record.uplink)
    if record.uplink:
        bridge.open_uplink(layout, host)
    return namespace, True


def _new_machine(layout: Layout, machine: Machine) -> int:
    """Folders, groups and a network namespace; what is left of an earlier life is killed, its state is kept."""
    groups.empty(layout.name, machine.name)
    folder = records.machine_folder(layout.name, machine.name)
    (folder / "state").mkdir(mode=0o700, parents=True, exist_ok=True)
    records.write_groups(folder, groups.make(layout.name, machine.name))
    return netns.create_anonymous()


def _namespace(folder: Path) -> int:
    holder = records.read_process(folder, "holder")
    if holder is None:
        raise LabError(f"{folder.name} has died just now: run `festoon lab up` again")
    return os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@dataclass
class _Boot:
    machine: Machine
    process: subprocess.Popen[str]
    ready: int
    said: bytes = b""

    def finish(self) -> None:
        """Wait for the machine to be made. Raises LabError with what went wrong."""
        _, errors = self.process.communicate()
        if self.process.returncode:
            raise LabError(errors.strip() or f"{self.machine.name}: lab.boot ended with status {self.process.returncode}")


@contextlib.contextmanager
def _booting(layout: Layout, machine: Machine, namespace: int, program: Program) -> Iterator[_Boot]:
    reader, writer = os.pipe()
    passed = (writer,) if namespace < 0 else (writer, namespace)
    folder = records.machine_folder(layout.name, machine.name)
    arguments = [str(folder), layout.name, machine.name, str(namespace), str(writer), *program.at(writer)]
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "lab.boot", *arguments],
        pass_fds=passed,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    try:
        with process:
            yield _Boot(machine, process, reader)
    finally:
        os.close(reader)


def _load_images(machines: Sequence[Path]) -> None:
    """The lab's images, for machines that have never had them: a user's `image rm` is not undone by the next `up`."""
    wanting = [folder for folder in machines if not (folder / "images-loaded").exists()]
    if not wanting:
        return
    try:
        archives = images.archives()
    except (FileNotFoundError, ValueError) as error:
        raise LabError(f"the lab's images need Debian's busybox-static: {error}") from None
    for folder in wanting:
        store = ImageStore(folder / "state" / "images")
        try:
            for data in archives.values():
                store.load(io.BytesIO(data))
        finally:
            store.close()
        (folder / "images-loaded").touch()


def _wait_ready(name: str, boots: Sequence[_Boot], told: Told) -> None:
    poll = select.poll()
    waiting = {one.ready: one for one in boots}
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + READY_TIMEOUT_S
    while waiting:
        left = deadline - time.monotonic()
        events = poll.poll(left * 1000) if left > 0 else []
        if not events:
            late = ", ".join(one.machine.name for one in waiting.values())
            raise LabError(f"{late}: festoond did not answer within {READY_TIMEOUT_S:.0f} s; `festoon lab logs` has its words")
        for fd, _ in events:
            one = waiting[fd]
            piece = os.read(fd, 64)
            one.said += piece
            if one.said.endswith(READY_LINE):
                poll.unregister(fd)
                del waiting[fd]
                told(one.machine.name, Step.READY)
            elif not piece:
                raise LabError(f"{one.machine.name}: festoond ended before it was ready{_tail(name, one.machine)}")


def _tail(name: str, machine: Machine) -> str:
    try:
        lines = (records.machine_folder(name, machine.name) / boot.LOG).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "".join(f"\n  {line}" for line in lines[-LOG_TAIL_LINES:])


def _remove(name: str) -> None:
    """Everything that a lab of this name has made, from whatever is written down."""
    groups.empty(name)
    try:
        record: records.Record | None = records.read(name)
    except LabError:
        record = None
    folder = records.lab_folder(name)
    for machine in sorted(folder.iterdir()) if folder.is_dir() else ():
        if machine.is_dir() and records.read_process(machine, "holder") is not None:
            raise LabError("this is a machine of the lab: run the command on the host")
    groups.remove(name)
    if record is not None:
        host = netns.current()
        try:
            bridge.remove_host_link(record.layout, host)
            if record.uplink:
                bridge.close_uplink(record.layout, host, _forwarding_to_put_back(record))
        finally:
            os.close(host)
    if folder.is_dir():
        overlay.remove(folder)


def _forwarding_to_put_back(record: records.Record) -> str:
    """The host's ip_forward from before any lab: the last lab with an uplink puts it back, one that goes earlier hands it on and gets nothing."""
    for name in records.names():
        try:
            other = records.read(name)
        except LabError:
            continue  # made by an `up` that was killed, or broken: it has no uplink that we know of
        if other.uplink and other.layout.name != record.layout.name:
            if record.ip_forward_before == "0":
                records.write(msgspec.structs.replace(other, ip_forward_before="0"))
            return ""
    return record.ip_forward_before


def _tidy() -> None:
    if not records.names():
        records.remove_roots()
