"""A daemon behind ssh://, by festoon and by the real docker client, with a real sshd on the manager's machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.driver import ADDRESS, MANAGER, WORKER1, Lab, until

SSHD = "/usr/sbin/sshd"
pytestmark = pytest.mark.skipif(not Path(SSHD).exists() or shutil.which("ssh") is None, reason="needs openssh-server: ./check installs it")

SERVER = """\
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile {folder}/pid
SetEnv PATH={path} DOCKER_HOST=unix:///run/festoon/festoon.sock
"""
CLIENT = """\
Host *
  IdentityFile {folder}/user
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
"""


@pytest.fixture
def at_manager(lab: Lab, tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """at_manager(PROGRAM, ARG...): on another machine, with the manager as its host over ssh."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    path = lab.ok(MANAGER, "sh", "-c", "echo $PATH").strip()
    (tmp_path / "sshd_config").write_text(SERVER.format(folder=tmp_path, path=path))
    (tmp_path / "ssh_config").write_text(CLIENT.format(folder=tmp_path))
    lab.ok(MANAGER, "sh", "-c", f"mkdir -p /run/sshd && {SSHD} -f {tmp_path}/sshd_config -p 2222 -E {tmp_path}/log")
    assert until((tmp_path / "pid").exists)

    def run(program: str, *argv: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        own = f'mount --bind {tmp_path}/ssh_config /etc/ssh/ssh_config && exec "$@"'
        host = ("-H", f"ssh://root@{ADDRESS[MANAGER]}:2222")
        return lab.on(WORKER1, "unshare", "-m", "sh", "-c", own, "sh", program, *host, *argv, stdin=stdin)

    yield run
    lab.ok(MANAGER, "sh", "-c", f"kill $(cat {tmp_path}/pid)")


def test_requests_streams_and_raw_connections_go_through(lab: Lab, program: str, at_manager: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    name = f"ssh-{program}"
    assert at_manager(program, "info", "--format", "{{.Name}}").stdout == f"{MANAGER}\n"
    assert at_manager(program, "run", "-i", "--rm", "--name", name, "busybox", "sh", "-c", "cat; exit 3", stdin="there and back\n").stdout == "there and back\n"
    done = at_manager(program, "run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert name not in lab.ok(MANAGER, "festoon", "ps", "-a")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("ssh://root:secret@h", "ssh host connection is not valid: invalid SSH URL: plain-text password is not supported"),
        ("ssh://h/path", 'ssh host connection is not valid: invalid SSH URL: extra path after the host: "/path"'),
        ("ssh://", "ssh host connection is not valid: invalid SSH URL: hostname is empty"),
    ],
)
def test_what_is_no_address(lab: Lab, host: str, words: str) -> None:
    done = lab.on(WORKER1, "festoon", "-H", host, "ps")
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr


def test_a_host_that_does_not_answer_is_said_with_ssh_s_words(lab: Lab) -> None:
    done = lab.on(WORKER1, "festoon", "-H", f"ssh://{ADDRESS[MANAGER]}:2", "ps")
    assert done.returncode == 1
    assert f"error during connect: command [ssh -o ConnectTimeout=30 -T -p 2 -- {ADDRESS[MANAGER]} festoon system dial-stdio] has exited" in done.stderr
    assert "Connection refused" in done.stderr
