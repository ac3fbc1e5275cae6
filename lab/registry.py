"""The lab's own registry (`festoon lab up --registry`): Debian's docker-registry at port 5000 of the lab's bridge.

Owns its configuration and start. It runs in the bridge's namespace and groups, so that it goes with the lab; its images
lie in the lab's folder. Machines are told that it has no TLS.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import time

from lab import groups, processes, records
from lab.layout import LabError, Layout
from netfabric.netlink import netns

PORT = 5000
PROGRAM = "docker-registry"
START_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 1.0
ROUND_MS = 50  # between two attempts to connect, unless it ends meanwhile


def address(layout: Layout) -> str:
    """HOST:PORT, as images name it."""
    return f"{layout.gateway}:{PORT}"


def program() -> str:
    """Where it is. Raises LabError when it is not installed."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise LabError(f"--registry needs Debian's {PROGRAM}, which is not installed: apt-get install {PROGRAM}")
    return found


def start(layout: Layout, namespace: int, machine: str) -> None:
    """Start it in the bridge's namespace where it does not run; returns when it answers. Raises LabError."""
    folder = records.gateway_folder(layout.name)
    if records.read_process(folder, "registry") is not None:
        return
    executable = program()
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog:\n  level: warn\nstorage:\n  delete:\n    enabled: true\n  filesystem:\n    rootdirectory: {folder}/registry-data\n"
        f"http:\n  addr: {address(layout)}\n"
    )
    with netns.in_namespace(namespace), open(folder / "registry.log", "ab") as log:
        process = subprocess.Popen(  # lives on: the kernel gives it to init
            [executable, "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            env={"PATH": os.defpath, "OTEL_TRACES_EXPORTER": "none"},
        )  # fmt: skip
        for group in groups.make(layout.name, machine):
            with open(f"{group}/cgroup.procs", "w", encoding="ascii") as file:
                file.write(str(process.pid))
        records.write_process(folder, "registry", processes.identify(process.pid))
        _wait(layout, process, folder / "registry.log")
    process.returncode = 0  # not ours to wait for


def _wait(layout: Layout, process: subprocess.Popen[bytes], log: os.PathLike[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    ended = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        while time.monotonic() < deadline:
            try:
                socket.create_connection((layout.gateway, PORT), CONNECT_TIMEOUT_S).close()
                return
            except OSError:
                if poll.poll(ROUND_MS):
                    process.wait()
                    break
    finally:
        os.close(ended)
    with open(log, encoding="utf-8", errors="replace") as file:
        last = file.read().strip().rpartition("\n")[2]
    raise LabError(f"{PROGRAM} does not answer at {address(layout)}: {last or 'it says nothing'}")
