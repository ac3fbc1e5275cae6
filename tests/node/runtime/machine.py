"""A supervisor of its own with a root file system made of busybox, on the kernel that the test runs on; everything is gone afterwards, and that is asserted."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from runtime import logs
from runtime.cgroups.groups import read_layout
from runtime.client import Supervisor, open_supervisor
from runtime.spec import ContainerSpec, ExecSpec, Exited, RootFs
from runtime.supervisor.places import Places
from tests import leftovers

APPLETS = (
    "sh", "true", "false", "cat", "ls", "id", "sleep", "echo", "mount", "hostname", "ps", "tty", "grep", "kill", "stty", "env", "pwd",
    "head", "dd", "seq", "wc", "yes", "touch", "mkdir", "readlink", "ip", "stat", "tail", "test", "printf", "mknod",
)  # fmt: skip


@dataclass
class Machine:
    base: Path
    specs: list[ContainerSpec] = field(default_factory=list)

    @property
    def layer(self) -> Path:
        return self.base / "layer"

    @property
    def places(self) -> Places:
        return Places(str(self.base / "run"), str(self.base / "state"))

    def spec(self, *argv: str, layers: tuple[str, ...] = (), **options: object) -> ContainerSpec:
        """`layers` stand above the one with busybox."""
        container_id = os.urandom(32).hex()
        folder = self.base / "containers" / container_id
        (folder / "upper").mkdir(parents=True)
        (folder / "work").mkdir()
        rootfs = RootFs((*layers, str(self.layer)), str(folder / "upper"), str(folder / "work"), bool(options.pop("read_only", False)))
        options.setdefault("env", ("PATH=/bin",))
        options.setdefault("log_path", str(folder / "log"))
        spec = ContainerSpec(id=container_id, argv=argv, rootfs=rootfs, **options)  # type: ignore[arg-type]
        self.specs.append(spec)
        return spec

    def exec_spec(self, spec: ContainerSpec, *argv: str, **options: object) -> ExecSpec:
        options.setdefault("env", ("PATH=/bin",))
        return ExecSpec(spec.id, os.urandom(16).hex(), argv, **options)  # type: ignore[arg-type]

    def output(self, spec: ContainerSpec) -> str:
        return b"".join(record.data for record in logs.read(spec.log_path)).decode()

    def run(self, body: Callable[[Supervisor], Awaitable[None]]) -> None:
        """Runs the body with a client, within 60 s."""

        async def main() -> None:
            with trio.fail_after(60):
                async with open_supervisor(self.places.run, self.places.state) as supervisor:
                    await body(supervisor)

        trio.run(main)

    async def started(self, supervisor: Supervisor, spec: ContainerSpec) -> int:
        await supervisor.create(spec)
        return await supervisor.start(spec.id)

    async def ran(self, supervisor: Supervisor, spec: ContainerSpec) -> Exited:
        await self.started(supervisor, spec)
        return await supervisor.wait(spec.id)

    def cgroup_folders(self) -> list[str]:
        """The cgroups of this machine's containers that exist, and of its children in reserve."""
        layout = read_layout()
        prefix = f"{zlib.crc32(os.fsencode(self.places.state)):08x}-"
        names = {spec.id[:12] for spec in self.specs}
        found = []
        for hierarchy in (*layout.v1, *([layout.v2] if layout.v2 else [])):
            folder = os.path.join(hierarchy.own, "festoon")
            if os.path.isdir(folder):
                found += [os.path.join(folder, name) for name in os.listdir(folder) if name in names or name.startswith(prefix)]
        return found

    def groups_of(self, pid: int) -> list[str]:
        """The folders of the cgroups that a process is in, in the hierarchies that we use."""
        layout = read_layout()
        owns = {h.own for h in (*layout.v1, *([layout.v2] if layout.v2 else []))}
        names = {line.rpartition("/")[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if "/festoon/" in line}
        return [path for own in sorted(owns) for name in names if os.path.isdir(path := os.path.join(own, "festoon", name))]

    def idle_groups(self) -> list[str]:
        """Cgroups in which nothing is: neither a container nor a child in reserve."""
        found = []
        for folder in self.cgroup_folders():
            with contextlib.suppress(OSError):  # it goes just now
                if not Path(folder, "cgroup.procs").read_text().strip():
                    found.append(folder)
        return found

    def processes(self) -> list[int]:
        """Our stem, supervisor, and whatever has this machine's folder in its command line."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    command = Path(f"/proc/{name}/cmdline").read_bytes()
                except OSError:
                    continue
                if os.fsencode(self.places.run) in command:
                    found.append(int(name))
        return found

    def daemons(self) -> list[int]:
        """Stem, supervisor and nursery: children in reserve stand in pid namespaces of their own."""
        found = []
        for pid in self.processes():
            try:
                spaces = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("NSpid"))
            except FileNotFoundError:
                continue
            if len(spaces.split()) == 2:
                found.append(pid)
        return found

    def programs(self) -> set[str]:
        """The modules that the daemons run."""
        found: set[str] = set()
        for pid in self.daemons():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                found.update(words[number + 1] for number, word in enumerate(words[:-1]) if word == "-m")
        return found

    def pid_of(self, module: str) -> int:
        for pid in self.daemons():
            if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
        raise LookupError(module)


def kill_and_wait(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(10_000)
    finally:
        os.close(pidfd)


@contextmanager
def machine_in(base: Path, busybox: str) -> Iterator[Machine]:
    """`base`: a folder of its own, which is removed."""
    base.mkdir(exist_ok=True)
    leftovers.note_folder(base)
    made = Machine(base)
    for folder in ("bin", "etc", "tmp", "proc", "sys", "dev", "root"):
        (made.layer / folder).mkdir(parents=True)
    shutil.copy(busybox, made.layer / "bin/busybox")
    for applet in APPLETS:
        (made.layer / "bin" / applet).symlink_to("busybox")
    (made.layer / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    try:
        yield made

        async def shut_down(supervisor: Supervisor) -> None:
            await supervisor.shutdown()

        made.run(shut_down)
        journal = Path(made.places.journal).read_text()
        assert made.cgroup_folders() == []
        assert os.listdir(made.places.state) == ["exits"]
        assert made.processes() == []
        assert not os.path.exists(made.places.socket)
        assert "Traceback" not in journal, journal
    finally:
        for pid in made.processes():
            kill_and_wait(pid)
        shutil.rmtree(made.base)
