"""The machine goes down, by halting or by losing its power, and comes up: what is to run runs again, the swarm too.

A machine here is a set of namespaces on its own files. Losing power is SIGKILL for every process in it at once; the next boot has
another boot id, an empty /run, no network devices, and pids from 1 on again, so that records name pids of other processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

BOOT = r"""
set -eu
export PATH="$BIN:$PATH" DOCKER_HOST="unix://$DIR/volatile/run/festoon.sock"
mount --bind "$DIR/boot_id" /proc/sys/kernel/random/boot_id
mount -t tmpfs none "$DIR/volatile"
mkdir "$DIR/volatile/run"
ip link set lo up
ip link add eth0 type veth peer name peer0
ip addr add 192.168.99.5/24 dev eth0
ip link set eth0 up
ip link set peer0 up
mkfifo "$DIR/volatile/run/ready"
festoond --root "$DIR/root" --run "$DIR/volatile/run" --ready-fd 9 9>"$DIR/volatile/run/ready" 2>>"$DIR/log" &
read -r line <"$DIR/volatile/run/ready"
until_true() { for _ in $(seq 300); do if "$@"; then return 0; fi; sleep 0.1; done; echo "waited in vain for: $*"; return 1; }
state() { festoon inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}' "$1"; }
runs() { test "$(festoon inspect --format '{{.State.Status}}' "$1")" = running; }
gone() { ! festoon inspect "$1" >/dev/null 2>&1; }
tasks() { test "$(festoon ps --filter label=com.docker.swarm.service.name=s --format '{{.Names}}' | wc -l)" = 2; }
"""
FIRST = r"""
tar -C / -c bin/busybox | festoon import - bb:1 >/dev/null
run() { festoon run -d "$@" >/dev/null; }
run --name always --restart always -v kept:/kept -p 8080:80 bb:1 \
  /bin/busybox sh -c 'trap "exit 3" TERM; /bin/busybox date >>/kept/starts; while :; do /bin/busybox sleep 0.1; done'
run --name unless --restart unless-stopped bb:1 /bin/busybox sleep 10000
run --name stopped --restart unless-stopped bb:1 /bin/busybox sleep 10000
festoon stop -t 0 stopped >/dev/null
run --name plain bb:1 /bin/busybox sh -c 'trap "exit 3" TERM; while :; do /bin/busybox sleep 0.1; done'
run --name rm --rm bb:1 /bin/busybox sleep 10000
festoon swarm init >/dev/null
festoon service create -d -q --name s --replicas 2 bb:1 /bin/busybox sleep 10000 >/dev/null
until_true tasks
echo up
"""
SECOND = r"""
until_true runs always
until_true runs unless
until_true gone rm
until_true tasks
echo "stopped: $(state stopped)"
echo "plain: $(state plain)"
echo "starts: $(festoon exec always /bin/busybox wc -l </dev/null /kept/starts)"
festoon node ls --format '{{.Status}} {{.ManagerStatus}}'
festoon service rm s >/dev/null
festoon swarm leave --force >/dev/null
festoon rm -f always unless stopped plain >/dev/null
festoon system uninstall --force --root "$DIR/root" --run "$DIR/volatile/run"
echo "left: $(ls "$DIR/volatile/run" "$DIR/root" 2>/dev/null | wc -w) $(ps -e -o args= | grep -c -e '-m [a]gent' -e '-m [m]anager' -e '-m [r]untime')"
links=$(ip -o link | grep -c -v -e ' lo:' -e eth0 -e peer0 || true)
echo "links: $links rules: $(nft list tables | wc -l) namespaces: $(grep -c "$DIR/volatile" /proc/self/mountinfo)"
"""


def boot(folder: Path, script: str) -> str:
    """One life of the machine, until its script ends."""
    (folder / "volatile").mkdir(exist_ok=True)
    (folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
    environment = {"BIN": str(Path(sys.executable).parent), "DIR": str(folder), "PATH": os.environ["PATH"]}
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", BOOT + script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + (folder / "log").read_text()
    return done.stdout


HALT = r"""
kill %1
wait %1
festoon system halt --root "$DIR/root" --run "$DIR/volatile/run"
"""


@pytest.mark.parametrize(("end", "status"), [("", 255), (HALT, 3)], ids=["power", "halt"])
def test_after_a_boot_policies_and_swarm_resume(tmp_path: Path, end: str, status: int) -> None:
    assert boot(tmp_path, FIRST + end).splitlines() == ["up"]
    lines = boot(tmp_path, SECOND).splitlines()
    assert lines[0].startswith("stopped: exited")
    assert lines[1] == f"plain: exited {status} 0"
    assert lines[2].split()[1] == "2"
    assert lines[3] == "Ready Leader"
    assert lines[-2:] == ["left: 0 0", "links: 0 rules: 0 namespaces: 1"]
    assert "Traceback" not in (tmp_path / "log").read_text()
