"""The runtime alone: from a request on the supervisor's socket to the program running, exec, and sustained starts;
beside crun and runc with an equivalent bundle, in turn, in the same run.

crun refuses a hybrid cgroup host: once the supervisor runs, this process hides the unified mount in a mount namespace
of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.bundle import docker_seccomp, hide_unified, write_bundle
from bench.report import Report
from bench.supervisor import RuntimeClient, supervisor
from runtime.spec import ContainerSpec, ExecSpec, RootFs

APPLETS = ("sh", "true", "sleep")
IN_FLIGHT = 4
SUSTAINED_S = float(os.environ.get("BENCH_SUSTAINED_S", "30"))
BATCH = 10
"""Starts of each peer in turn that make one counted run; the run's figure is their median."""


def measure(report: Report, runs: int) -> None:
    """Adds the figures. Needs root; crun and runc where they are installed."""
    base = Path(tempfile.mkdtemp(prefix="bench-runtime-"))
    try:
        _root(base)
        with supervisor(base) as client, contextlib.ExitStack() as stack:
            hide_unified()
            seccomp = docker_seccomp()
            peers = {name: _Peer(base, name, seccomp) for name in ("crun", "runc") if shutil.which(name)}
            if "crun" in peers:
                peers["crun, no seccomp"] = _Peer(base, "crun", None)
            running = _spec(base, "sleep", "100000")
            client.create(running)
            client.start(running.id)
            stack.callback(client.remove, running.id)
            for peer in peers.values():
                stack.enter_context(peer.running())
            for _ in range(3):
                _one(base, client)
            for _ in range(runs * BATCH):
                _measure_once(report, base, client, running, peers)
            for _ in range(max(1, runs // 5)):
                report.add("starts/s, four in flight", "festoon", _sustained(lambda number: _worker(base, client, number)))
                for name, peer in peers.items():
                    report.add("starts/s, four in flight", name, _sustained(lambda number, peer=peer: peer.worker(number)))
            report.add("supervisor and reserve, PSS (MB)", "festoon", client.pss_bytes() / 1e6)
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", str(base)], check=False)
        for group in Path("/sys/fs/cgroup").glob("*/festoon-bench"):  # the peers leave the parent of their groups
            with contextlib.suppress(OSError):
                group.rmdir()


def _measure_once(report: Report, base: Path, client: RuntimeClient, running: ContainerSpec, peers: dict[str, _Peer]) -> None:
    started, whole, start_only = _one(base, client)
    report.add("request to program running (ms)", "festoon", started)
    report.add("start request to program running (ms)", "festoon", start_only)
    report.add("request to end seen (ms)", "festoon", whole)
    for name, peer in peers.items():
        taken = _timed(peer.run)
        report.add("request to program running (ms)", name, taken)
        report.add("start request to program running (ms)", name, taken)
        report.add("request to end seen (ms)", name, taken)
    report.add("exec and its end (ms)", "festoon", _timed(lambda: client.exec(ExecSpec(running.id, os.urandom(8).hex(), ("true",), ("PATH=/bin",)))))
    for name, peer in peers.items():
        report.add("exec and its end (ms)", name, _timed(peer.exec))


def _one(base: Path, client: RuntimeClient) -> tuple[float, float, float]:
    """(create and start, with the end seen, start alone) in ms; removed afterwards, not counted."""
    spec = _spec(base, "true")
    began = time.perf_counter()
    client.create(spec)
    created = time.perf_counter()
    client.start(spec.id)
    started = time.perf_counter()
    client.wait(spec.id)
    ended = time.perf_counter()
    client.remove(spec.id)
    return (started - began) * 1000, (ended - began) * 1000, (started - created) * 1000


def _timed(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def _sustained(worker: Callable[[int], Callable[[], None]]) -> float:
    """Whole lives (created, started, ended, removed) per second."""
    actions = [worker(number) for number in range(IN_FLIGHT)]
    counts = [0] * IN_FLIGHT
    end = time.monotonic() + SUSTAINED_S

    def work(number: int) -> None:
        while time.monotonic() < end:
            actions[number]()
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(IN_FLIGHT)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - began)


def _worker(base: Path, client: RuntimeClient, _number: int) -> Callable[[], None]:
    mine = client.another()
    return lambda: _discard(_one(base, mine))


def _discard(_result: object) -> None:
    return


def _root(base: Path) -> None:
    for folder in ("bin", "etc", "tmp", "proc", "sys", "dev"):
        (base / "layer" / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", base / "layer/bin/busybox")
    for applet in APPLETS:
        (base / "layer/bin" / applet).symlink_to("busybox")


def _spec(base: Path, *argv: str) -> ContainerSpec:
    """A new container with a network namespace of its own; its folders are made before the clock runs, as a bundle is."""
    container_id = os.urandom(32).hex()
    folder = base / "containers" / container_id
    (folder / "upper").mkdir(parents=True)
    (folder / "work").mkdir()
    rootfs = RootFs((str(base / "layer"),), str(folder / "upper"), str(folder / "work"))
    return ContainerSpec(id=container_id, argv=argv, env=("PATH=/bin",), rootfs=rootfs, log_path=str(folder / "log"))


class _Peer:
    """crun or runc with two bundles: one that ends at once, one that runs. `seccomp`: of config.json, None for none."""

    def __init__(self, base: Path, program: str, seccomp: dict[str, Any] | None) -> None:
        self._program = program if seccomp is not None else f"{program}-unfiltered"
        self._base = base
        self._seccomp = seccomp
        self._command = [program, "--root", str(base / f"{self._program}-root")]
        self._said = (base / f"{self._program}.stderr").open("a+b", 0)  # a file: a detached container keeps it
        self._name = f"bench-{self._program}-{os.getpid()}"
        self._write(f"{self._program}-true", ("true",), "0")
        self._write(f"{self._program}-sleep", ("sleep", "100000"), "sleep")

    def _write(self, bundle: str, argv: tuple[str, ...], suffix: str) -> None:
        write_bundle(self._base / bundle, self._base / "layer", argv, f"/festoon-bench/{self._name}-{suffix}", self._seccomp)

    def _do(self, *arguments: str) -> None:
        command = [*self._command, *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said, check=False)
        if done.returncode:
            said = os.pread(self._said.fileno(), 300, max(0, self._said.tell() - 300)).decode()
            raise RuntimeError(f"{' '.join(command)}: {said}")

    def run(self) -> None:
        self._do("run", "--bundle", str(self._base / f"{self._program}-true"), f"{self._name}-0")

    def exec(self) -> None:
        self._do("exec", f"{self._name}-sleep", "true")

    def worker(self, number: int) -> Callable[[], None]:
        bundle = f"{self._program}-true-{number}"
        self._write(bundle, ("true",), str(number))
        return lambda: self._do("run", "--bundle", str(self._base / bundle), f"{self._name}-{number}")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        folder = self._base / f"{self._program}-sleep"
        self._do("run", "--detach", "--pid-file", str(folder / "pid"), "--bundle", str(folder), f"{self._name}-sleep")
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
            self._do("delete", "--force", f"{self._name}-sleep")
