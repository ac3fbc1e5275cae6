"""festoond --userns-remap: every container in a user namespace, also those of services; --userns=host opts out; another range changes no file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = r"""
set -eu
export PATH="$BIN:$PATH" DOCKER_HOST="unix://$DIR/run/festoon.sock"
ip link set lo up
ip link add eth0 type veth peer name peer0
ip addr add 192.168.99.5/24 dev eth0
ip link set eth0 up
ip link set peer0 up
serve() {
  rm -f "$DIR/ready"; mkfifo "$DIR/ready"
  festoond --root "$DIR/root" --run "$DIR/run" --ready-fd 9 "$@" 9>"$DIR/ready" 2>>"$DIR/log" &
  node=$!
  read -r line <"$DIR/ready"
}
end() { kill $node; wait $node; node=; }
node=; trap '[ -z "$node" ] || end' EXIT
serve --userns-remap=300000:65536
tar -C / -c bin/busybox | festoon import - bb:1 >/dev/null
festoon info --format '{{json .SecurityOptions}}'
festoon run --rm bb:1 /bin/busybox cat /proc/self/uid_map
festoon run --rm --userns=host bb:1 /bin/busybox cat /proc/self/uid_map
festoon run --rm --privileged bb:1 /bin/busybox true || echo "privileged: $?"
festoon run --rm --privileged --userns=host bb:1 /bin/busybox true
festoon run --name kept bb:1 /bin/busybox sh -c '/bin/busybox touch /mine; /bin/busybox stat -c %u:%g /mine'
festoon swarm init >/dev/null
festoon service create -q --name s bb:1 /bin/busybox sleep 1000 >/dev/null
echo "task: $(stat -c %u /proc/$(festoon inspect -f '{{.State.Pid}}' $(festoon ps -q)))"
festoon service rm s >/dev/null
festoon swarm leave --force >/dev/null
end
serve --userns-remap=400000:65536
festoon start -a kept
festoon run --rm --volumes-from kept bb:1 /bin/busybox cat /proc/self/uid_map
festoon rm kept >/dev/null
end
wrong=0; festoond --root "$DIR/root" --run "$DIR/run" --userns-remap=nobody-at-all 2>"$DIR/wrong" || wrong=$?
echo "wrong: $wrong $(cat "$DIR/wrong")"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_user_namespaces_by_default(tmp_path: Path) -> None:
    environment = {"BIN": str(Path(sys.executable).parent), "DIR": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(["unshare", "-n", "-m", "bash", "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120, check=False)
    log = (tmp_path / "log").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines == [
        '["name=seccomp,profile=builtin","name=userns"]', "0 300000 65536", "0 0 4294967295", "privileged: 125", "0:0", "task: 300000", "0:0", "0 400000 65536",
        "wrong: 1 festoond: can't create ID mappings: no subuid ranges found for user 'nobody-at-all' in /etc/subuid",
    ], done.stderr  # fmt: skip
    assert "privileged mode is incompatible with user namespaces" in done.stderr
    assert "Traceback" not in log
