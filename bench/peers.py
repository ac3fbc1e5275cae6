"""Who is measured: a one-node Festoon lab, and Debian's dockerd in a network namespace of its own, side by side. Both start here and are removed here."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.engine import Engine
from lab.layout import DEFAULT_SUBNET, FIRST_NODE_OFFSET

FESTOON = str(Path(sys.executable).with_name("festoon"))
LAB = os.environ.get("BENCH_LAB", "bench")
SUBNET = os.environ.get("BENCH_SUBNET", DEFAULT_SUBNET)
"""Of the lab; dockerd's namespace has the same addresses."""
OURS = re.compile(rb"-m\0(agent|manager|runtime\.stem|runtime\.supervisor)\0")
NETNS = f"festoon-{LAB}-docker"
FAIR_GROUP = Path(f"/sys/fs/cgroup/cpu/festoon-lab/{LAB}-docker")
"""Where dockerd gets its processor time: a lab is one group, which weighs as much as one process outside. On a loaded machine
dockerd would have many times our share."""
NODE = f"{ipaddress.IPv4Network(SUBNET)[FIRST_NODE_OFFSET]}"


@dataclass(frozen=True)
class Daemon:
    engine: Engine
    socket: Path
    processes: Callable[[], list[int]]  # pids that belong to the daemon, containers' programs left out


def run(*argv: str, data: bytes | None = None) -> str:
    """Run a command; raises RuntimeError with what it printed when it fails."""
    done = subprocess.run(argv, capture_output=True, input=data, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {(done.stdout + done.stderr).decode(errors='replace')[-500:]}")
    return done.stdout.decode()


@contextlib.contextmanager
def daemons() -> Iterator[dict[str, Daemon]]:
    """Both daemons, each a one-node swarm with a busybox image; dockerd only where it is installed."""
    with contextlib.ExitStack() as stack:
        found = {"festoon": stack.enter_context(_festoon())}
        if shutil.which("dockerd"):
            found["docker"] = stack.enter_context(_docker())
        for daemon in found.values():
            daemon.engine.request("POST", "/swarm/init", {"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": NODE})
        yield found


@contextlib.contextmanager
def peers() -> Iterator[dict[str, Engine]]:
    with daemons() as running:
        yield {name: daemon.engine for name, daemon in running.items()}


@contextlib.contextmanager
def _festoon() -> Iterator[Daemon]:
    run(FESTOON, "lab", "up", "--nodes", "1", "--name", LAB, "--subnet", SUBNET)
    try:
        node = members(LAB)
        path = Path(f"/proc/{node[0]}/root/run/festoon/festoon.sock")
        yield Daemon(Engine(str(path)), path, lambda: members(LAB))
    finally:
        run(FESTOON, "lab", "down", "--name", LAB)


def members(lab: str) -> list[int]:
    """Festoon's own processes in the lab's groups; the first is the node's."""
    found: set[int] = set()
    for pattern in (f"*/festoon-lab/{lab}", f"festoon-lab/{lab}"):  # cgroup v1, v2
        for base in Path("/sys/fs/cgroup").glob(pattern):
            for procs in base.rglob("cgroup.procs"):
                with contextlib.suppress(OSError):
                    found.update(int(p) for p in procs.read_text().split())
    lines = {}
    for pid in found:
        with contextlib.suppress(OSError):
            lines[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()
    return sorted((p for p, line in lines.items() if OURS.search(line)), key=lambda p: (b"-m\0agent" not in lines[p], p))


@contextlib.contextmanager
def _docker() -> Iterator[Daemon]:
    root = Path(tempfile.mkdtemp(prefix="bench-docker-"))
    subprocess.run(["ip", "netns", "del", NETNS], capture_output=True, check=False)  # left by a run that was killed
    run("ip", "netns", "add", NETNS)
    for words in ("link set lo up", "link add eth0 type veth peer name peer0", "link set peer0 up", f"addr add {NODE}/24 dev eth0", "link set eth0 up"):
        run("ip", "-n", NETNS, *words.split())
    (root / "daemon.json").write_text("{}")
    with contextlib.suppress(OSError):  # cgroup v2, or no lab
        FAIR_GROUP.mkdir()
    script = (
        f"echo $$ 2>/dev/null >{FAIR_GROUP}/cgroup.procs; exec nsenter --net=/run/netns/{NETNS} dockerd --config-file {root}/daemon.json"
        f" --data-root {root}/data --exec-root {root}/exec -H unix://{root}/docker.sock -p {root}/pid >{root}/log 2>&1"
    )
    daemon = subprocess.Popen(["unshare", "--uts", "sh", "-c", script], start_new_session=True)
    try:
        engine = answering(str(root / "docker.sock"), root / "log")
        archive = Path("/bin/busybox")
        engine.request("POST", "/images/create?fromSrc=-&repo=busybox&tag=latest", raw=root_archive(archive), kind="application/x-tar")
        yield Daemon(engine, root / "docker.sock", lambda: _docker_processes(root))
    finally:
        daemon.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(30)
        for pid in _docker_processes(root):  # hundreds of containers take it longer than that
            _kill_with_children(pid)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if line.split()[1].startswith(str(root)):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        subprocess.run(["ip", "netns", "del", NETNS], check=False)
        subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=False)
        with contextlib.suppress(OSError):
            FAIR_GROUP.rmdir()


def _kill_with_children(pid: int) -> None:
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (*map(int, children), pid):
            os.kill(each, signal.SIGKILL)


def _docker_processes(root: Path) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes()
            program = line.split(b"\0")[0].rpartition(b"/")[2]
            if program.startswith((b"dockerd", b"containerd")) and str(root).encode() in line:
                found.append(int(folder.name))
    return found


def answering(path: str, log: Path, seconds: float = 30) -> Engine:
    """A daemon's engine, as soon as it answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        engine = Engine(path)
        try:
            engine.request("GET", "/info")
        except (OSError, RuntimeError):
            time.sleep(0.1)
        else:
            return engine
    raise RuntimeError("dockerd did not start: " + log.read_text()[-500:])


def root_archive(busybox: Path) -> bytes:
    """An image's root folder with nothing but busybox."""
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "tmp", "etc"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = busybox.stat().st_size, 0o755
        tar.addfile(program, io.BytesIO(busybox.read_bytes()))
        for applet in ("sh", "sleep", "true"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return out.getvalue()
