"""festoond --metrics-addr: the metrics at an address of their own, which answers nothing else; one that cannot be had is said so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.exposition import parse, value

SCRIPT = r"""
set -eu
export PATH="$BIN:$PATH" DOCKER_HOST="unix://$DIR/run/festoon.sock"
ip link set lo up
mkfifo "$DIR/ready"
festoond --root "$DIR/root" --run "$DIR/run" --metrics-addr 127.0.0.1:9323 --ready-fd 9 9>"$DIR/ready" 2>"$DIR/log" &
node=$!
read -r line <"$DIR/ready"
"$PYTHON" - <<'END'
import http.client, os
def ask(method, path):
    connection = http.client.HTTPConnection("127.0.0.1", 9323)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.headers["Content-Type"], answer.read().decode()
for method, path in (("GET", "/info"), ("GET", "/"), ("POST", "/containers/create"), ("POST", "/metrics")):
    print(method, path, ask(method, path)[0])
before = ask("GET", "/metrics")
print(before[:2])
os.system("festoon swarm init --advertise-addr 127.0.0.1 >/dev/null")
for name, text in ("before", before[2]), ("after", ask("GET", "/metrics")[2]):
    with open(os.environ["DIR"] + "/" + name, "w") as file:
        file.write(text)
END
for address in 127.0.0.1:9323 nonsense 192.0.2.1:9323; do
    wrong=0; festoond --root "$DIR/root2" --run "$DIR/run2" --metrics-addr $address 2>"$DIR/wrong" || wrong=$?
    echo "$wrong $(cat "$DIR/wrong")"
done
festoon swarm leave --force >/dev/null
kill $node
wait $node
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_metrics_at_an_address(tmp_path: Path) -> None:
    environment = {"BIN": str(Path(sys.executable).parent), "PYTHON": sys.executable, "DIR": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(["unshare", "-n", "-m", "bash", "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "log").read_text()
    assert done.stdout.splitlines() == [
        "GET /info 404", "GET / 404", "POST /containers/create 404", "POST /metrics 405", "(200, 'text/plain; version=0.0.4; charset=utf-8')",
        "1 festoond: listen tcp 127.0.0.1:9323: bind: address already in use", "1 festoond: invalid address 'nonsense': host:port is needed",
        "1 festoond: listen tcp 192.0.2.1:9323: bind: cannot assign requested address",
    ]  # fmt: skip
    before, after = (parse((tmp_path / name).read_text()) for name in ("before", "after"))
    assert value(before, "swarm_node_manager") == 0
    assert "swarm_node_info" not in before
    assert value(after, "swarm_node_manager") == 1
    assert value(after, "swarm_manager_leader") == 1
