"""What a node is said to have beside processors and memory is reserved by services, named to their programs, and shown as Docker shows it."""

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
wrong=0; festoond --root "$DIR/x" --run "$DIR/x" --node-generic-resource gpu 2>"$DIR/wrong" || wrong=$?
echo "$wrong $(tail -1 "$DIR/wrong")"
mkfifo "$DIR/ready"
festoond --root "$DIR/root" --run "$DIR/run" --node-generic-resource card=a,card=b --node-generic-resource gpu=1 --ready-fd 9 9>"$DIR/ready" 2>"$DIR/log" &
node=$!
read -r line <"$DIR/ready"
tar -C / -c bin/busybox | festoon import - bb:1 >/dev/null
festoon swarm init --advertise-addr 127.0.0.1 >/dev/null
festoon info --format '{{json .GenericResources}}'
festoon node inspect self --format '{{json .Description.Resources.GenericResources}}'
program='echo $DOCKER_RESOURCE_CARD $DOCKER_RESOURCE_GPU; exec /bin/busybox sleep 1000'
festoon service create -q --name two --generic-resource card=2 --restart-condition none bb:1 /bin/busybox sh -c "$program" >/dev/null
festoon service create -q -d --name late --generic-resource card=1 --generic-resource gpu=1 bb:1 /bin/busybox sh -c "$program" >/dev/null
until festoon service ps late --no-trunc --format '{{.Error}}' | grep -q resources; do sleep 0.1; done
festoon service ps late --no-trunc --format '{{.Error}}'
festoon why late | grep -o 'card: .* free'
festoon service logs --raw two
festoon service rm two >/dev/null
until festoon service logs --raw late 2>/dev/null | grep .; do sleep 0.1; done
festoon service inspect late --format '{{json .Spec.TaskTemplate.Resources.Reservations.GenericResources}}'
festoon service update -q --generic-resource-rm card late >/dev/null
festoon service inspect late --format '{{json .Spec.TaskTemplate.Resources.Reservations.GenericResources}}'
festoon service rm late >/dev/null
festoon swarm leave --force >/dev/null
kill $node
wait $node
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_reserved_named_and_shown(tmp_path: Path) -> None:
    environment = {"BIN": str(Path(sys.executable).parent), "DIR": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(["unshare", "-n", "-m", "bash", "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "log").read_text()
    cards = [f'{{"NamedResourceSpec":{{"Kind":"card","Value":"{name}"}}}}' for name in "ab"]
    have = f'[{cards[0]},{cards[1]},{{"DiscreteResourceSpec":{{"Kind":"gpu","Value":1}}}}]'
    one = {kind: f'{{"DiscreteResourceSpec":{{"Kind":"{kind}","Value":1}}}}' for kind in ("card", "gpu")}
    assert done.stdout.splitlines() == [
        "2 festoond: error: could not parse GenericResource: incorrect term gpu, missing '=' or malformed expression", have, have,
        '"no suitable node (insufficient resources on 1 node)"', "card: 1 asked, 0 of 2 free", "a,b", "a 1", f"[{one['card']},{one['gpu']}]", f"[{one['gpu']}]",
    ]  # fmt: skip
