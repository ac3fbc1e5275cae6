"""Debian's dockerd with festoon-oci as its runtime: run, statuses, exec, stop, logs, a terminal, and an error in Docker's words."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).parent / "festoon-oci")
BUSYBOX = "/bin/busybox"
START_S, COMMAND_S = 60, 90

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("dockerd") or not shutil.which("docker") or not Path(BUSYBOX).exists(),
    reason="needs root, dockerd (docker.io), a docker client and busybox",
)


class Docker:
    def __init__(self, prefix: list[str]) -> None:
        self._prefix = prefix

    def command(self, *arguments: str) -> list[str]:
        return [*self._prefix, "docker", *arguments]

    def __call__(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), stdin=stdin, capture_output=True, text=True, timeout=COMMAND_S, check=False)


@contextmanager
def _network(name: str) -> Iterator[None]:
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


def _wait_for_api(log: Path, daemon: subprocess.Popen[bytes], pipe: int) -> None:
    """Until the daemon's log says that it listens."""
    seen = b""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while b"API listen on" not in seen:
        ready = poll.poll(START_S * 1000)
        data = os.read(pipe, 65536) if ready else b""
        seen += data
        if not data:
            pytest.skip(f"dockerd does not start on this machine (status {daemon.poll()}): {seen.decode(errors='replace')[-300:]}")
    log.write_bytes(seen)


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    base = Path(tempfile.mkdtemp(prefix="oci-docker-"))
    name = f"oci{os.getpid()}"
    (base / "daemon.json").write_text("{}")
    reader, writer = os.pipe()
    with _network(name):
        daemon = subprocess.Popen(
            ["unshare", "--mount", "nsenter", f"--net=/run/netns/{name}", "dockerd",
             "--config-file", str(base / "daemon.json"), "--data-root", str(base / "data"),
             "--exec-root", str(base / "exec"), "-H", f"unix://{base}/d.sock", "-p", str(base / "pid"), "--add-runtime", f"festoon={PROGRAM}"],
            stdout=writer, stderr=writer, start_new_session=True,
        )  # fmt: skip
        os.close(writer)
        try:
            _wait_for_api(base / "log", daemon, reader)
            with subprocess.Popen(["cat"], stdin=reader, stdout=subprocess.DEVNULL) as drain:
                client = Docker(["env", f"DOCKER_HOST=unix://{base}/d.sock", "DOCKER_API_VERSION=1.41", f"HOME={base}"])
                _import_busybox(client, base)
                yield client
                client("rm", "-f", *client("ps", "-aq").stdout.split())
                daemon.terminate()
                daemon.wait(COMMAND_S)
                drain.terminate()
        finally:
            os.close(reader)
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
            for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
                if line.split()[1].startswith(str(base)):
                    subprocess.run(["umount", "-l", line.split()[1]], check=False)
            subprocess.run(["rm", "-rf", "--one-file-system", str(base)], check=False)


def _import_busybox(client: Docker, base: Path) -> None:
    root = base / "root" / "bin"
    root.mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "busybox")
    for applet in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (root / applet).symlink_to("busybox")
    archive = base / "root.tar"
    subprocess.run(["tar", "-C", str(base / "root"), "-cf", str(archive), "."], check=True)
    done = client("import", "-c", 'ENV PATH=/bin', "-c", 'CMD ["sh"]', str(archive), "busybox")
    assert done.returncode == 0, done.stderr


RUN = ("run", "--runtime", "festoon")


def test_run_gives_output_and_exit_status(docker: Docker) -> None:
    done = docker(*RUN, "--rm", "busybox", "sh", "-c", "echo hello; echo error >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "hello\n", "error\n")


def test_it_is_this_runtime_with_dockers_seccomp_and_capabilities(docker: Docker) -> None:
    done = docker(*RUN, "--rm", "-m", "64m", "--pids-limit", "40", "busybox", "grep", "-E", "Seccomp:|CapEff", "/proc/self/status")
    assert done.stdout.split() == ["CapEff:", "00000000a80425fb", "Seccomp:", "2"], done.stderr


def test_exec_stop_logs_and_removal(docker: Docker) -> None:
    done = docker(*RUN, "-d", "--name", "one", "busybox", "sh", "-c", "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 1; done")
    assert done.returncode == 0, done.stderr
    assert docker("exec", "one", "sh", "-c", "exit 5").returncode == 5
    assert docker("exec", "-e", "WORD=inside", "one", "sh", "-c", "echo $WORD").stdout == "inside\n"
    assert docker("pause", "one").returncode == 0
    assert docker("unpause", "one").returncode == 0
    assert docker("update", "--pids-limit", "33", "one").returncode == 0
    assert "sleep" in docker("top", "one").stdout
    assert docker("stop", "one").returncode == 0
    assert docker("logs", "one").stdout == "up\nbye\n"
    assert docker("inspect", "-f", "{{.State.ExitCode}} {{.HostConfig.Runtime}}", "one").stdout == "9 festoon\n"
    assert docker("rm", "one").returncode == 0


def test_a_terminal(docker: Docker) -> None:
    done = docker(*RUN, "--rm", "-t", "busybox", "sh", "-c", "tty; exit 4")
    assert (done.returncode, done.stdout.strip()) == (4, "/dev/pts/0")


@pytest.mark.parametrize(("program", "status"), [("nope", 127), ("/bin", 126)])
def test_a_program_that_can_not_run(docker: Docker, program: str, status: int) -> None:
    done = docker(*RUN, "--rm", "busybox", program)
    assert done.returncode == status
    assert f'exec: "{program}": ' in done.stderr


def test_privileged_volumes_and_limits(docker: Docker) -> None:
    done = docker(*RUN, "--rm", "--privileged", "--read-only", "--tmpfs", "/scratch", "-v", "/etc:/host:ro", "busybox", "sh", "-c",
                  "touch /scratch/x && test -f /host/hostname && ! touch /y 2>/dev/null && ! touch /host/y 2>/dev/null && echo fine")  # fmt: skip
    assert done.stdout == "fine\n", done.stderr


def test_stats_kill_restart_and_a_terminal_of_an_exec(docker: Docker) -> None:
    assert docker(*RUN, "-d", "--name", "two", "busybox", "sh", "-c", "echo up; exec sleep 1000").returncode == 0
    row = docker("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "two").stdout
    assert row == "two 1\n"
    assert docker("exec", "-t", "two", "tty").stdout.strip() == "/dev/pts/0"
    assert docker("restart", "-t", "0", "two").returncode == 0
    assert docker("logs", "two").stdout == "up\nup\n"
    assert docker("update", "--memory", "64m", "--memory-swap", "64m", "two").returncode == 0
    assert docker("kill", "two").returncode == 0
    docker("wait", "two")
    assert docker("inspect", "-f", "{{.State.ExitCode}}", "two").stdout == "137\n"
    assert docker("rm", "two").returncode == 0


def test_out_of_memory_is_reported(docker: Docker) -> None:
    done = docker(*RUN, "--name", "oom", "-m", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", "tail /dev/zero")
    assert done.returncode in (1, 137), done
    assert docker("inspect", "-f", "{{.State.OOMKilled}}", "oom").stdout == "true\n"
    docker("rm", "oom")


def test_a_health_check_is_run(docker: Docker) -> None:
    health = ("--health-cmd", "test -e /well", "--health-interval", "200ms", "--health-retries", "100")
    assert docker(*RUN, "-d", "--name", "sick", *health, "busybox", "sleep", "1000").returncode == 0
    follow = docker.command("events", "--filter", "event=health_status", "--filter", "container=sick")
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as events:
        assert docker("exec", "sick", "touch", "/well").returncode == 0
        if docker("inspect", "-f", "{{.State.Health.Status}}", "sick").stdout != "healthy\n":
            assert events.stdout is not None
            ready = select.select([events.stdout], [], [], COMMAND_S)[0]
            assert ready
            assert "healthy" in events.stdout.readline()
        events.terminate()
    assert docker("inspect", "-f", "{{.State.Health.Status}}", "sick").stdout == "healthy\n"
    docker("rm", "-f", "sick")
