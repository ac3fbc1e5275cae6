"""festoond --host tcp://…: the real docker client and ours over mutual TLS, what is refused without it, and what in the clear."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = r"""
set -eu
export PATH="$BIN:$PATH" DOCKER_CONFIG="$DIR/config"
ip link set lo up
node() {
    mkfifo "$DIR/ready$1"
    festoond --root "$DIR/root" --run "$DIR/run" --ready-fd 9 "${@:2}" 9>"$DIR/ready$1" 2>"$DIR/log$1" &
    node=$!
    read -r line <"$DIR/ready$1"
}
over() { "$CLIENT" --tlsverify --tlscacert "$DIR/tls/ca.pem" --tlscert "$1" --tlskey "$2" -H tcp://localhost:2376 "${@:3}"; }
festoon system certs "$DIR/tls" >/dev/null
cp "$DIR/tls/ca.pem" "$DIR/first-ca.pem"
festoon system certs "$DIR/tls" >/dev/null  # again: the same authority
cmp "$DIR/tls/ca.pem" "$DIR/first-ca.pem"
stat -c %a "$DIR/tls/ca-key.pem" "$DIR/tls/server-key.pem" "$DIR/tls/key.pem" "$DIR/tls/cert.pem" | tr '\n' ' '
echo
node 1 -H tcp://127.0.0.1:2376 --tlscacert "$DIR/tls/ca.pem" --tlscert "$DIR/tls/server-cert.pem" --tlskey "$DIR/tls/server-key.pem"
festoon -H "unix://$DIR/run/festoon.sock" import "$DIR/fs.tar" box:1 >/dev/null
mine() { over "$DIR/tls/cert.pem" "$DIR/tls/key.pem" "$@"; }
mine version --format '{{.Server.Os}}'
head -c 3000000 /dev/zero | mine run --rm -i --network none box:1 /bin/busybox wc -c
status=0; said=$(mine run --rm --network none box:1 /bin/busybox sh -c 'echo out; echo err >&2; exit 7' 2>&1) || status=$?
echo "$said" | sort
echo "$status"
DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH="$DIR/tls" DOCKER_HOST=tcp://localhost:2376 "$CLIENT" images -q | wc -l
festoon system certs "$DIR/foreign" >/dev/null
said() { status=0; "$@" >"$DIR/answer" 2>&1 || status=$?; echo "$status $(sed 's/v1[.][0-9]*/v1/' "$DIR/answer")"; }
said over "$DIR/foreign/cert.pem" "$DIR/foreign/key.pem" ps
said over "$DIR/tls/server-cert.pem" "$DIR/tls/server-key.pem" ps
said "$CLIENT" -H tcp://localhost:2376 --tlsverify --tlscacert "$DIR/tls/ca.pem" ps
said "$CLIENT" -H tcp://localhost:2376 ps
"$PYTHON" - "$DIR/tls/ca.pem" <<'END'
import socket, ssl, sys
connected = ssl.create_default_context(cafile=sys.argv[1]).wrap_socket(socket.create_connection(("localhost", 2376)), server_hostname="localhost")
try:
    connected.sendall(bytes(1000000))  # who still sends hears why all the same
    connected.recv(1)
except OSError as error:
    print(getattr(error, "reason", error))
END
said festoon system certs --host 'no name' "$DIR/other"
echo | timeout 5 openssl s_client -connect localhost:2376 -quiet 2>/dev/null | head -c 1 | wc -c
kill $node; wait $node

node 2 -H tcp://127.0.0.1:2375 --insecure-tcp
"$CLIENT" -H tcp://127.0.0.1:2375 images -q | wc -l
"$PYTHON" - <<'END'
import http.client
for headers in ({}, {"Origin": "http://evil.example"}, {"Host": "evil.example:2375"}, {"Host": "localhost"}, {"Host": "[::1]:2375"}):
    connection = http.client.HTTPConnection("127.0.0.1", 2375)
    connection.request("GET", "/_ping", headers=headers)
    print(connection.getresponse().status, *headers)
END
kill $node; wait $node

certificates="--tlscacert /nosuch --tlscert /nosuch --tlskey /nosuch"
for words in "-H tcp://127.0.0.1:2376" "-H tcp://0.0.0.0:2375 --insecure-tcp" "-H fd://" "-H tcp://127.0.0.1:2376 $certificates"; do
    wrong=0; festoond --root "$DIR/root2" --run "$DIR/run2" $words 2>"$DIR/wrong" || wrong=$?
    echo "$wrong $(cat "$DIR/wrong")"
done
"""


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/bin/busybox").exists(), reason="needs root and busybox")
@pytest.mark.parametrize("program", ["docker", "festoon"])
def test_the_engine_over_tcp(tmp_path: Path, program: str) -> None:
    client = shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if client is None:
        pytest.skip("no docker client here")
    subprocess.run(["tar", "-C", "/", "-cf", tmp_path / "fs.tar", "bin/busybox"], check=True)
    environment = {"BIN": str(Path(sys.executable).parent), "PYTHON": sys.executable, "CLIENT": client, "DIR": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(["unshare", "-n", "-m", "bash", "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + "".join(log.read_text() for log in sorted(tmp_path.glob("log*")))
    certificates = "--tlscacert, --tlscert and --tlskey are needed (`festoon system certs` makes them), or --insecure-tcp for an address of loopback"
    asked = '1 error during connect: Get "https://localhost:2376/v1/containers/json": remote error: tls: '
    assert done.stdout.splitlines() == [
        "600 600 600 644 ", "linux", "3000000", "err", "out", "7", "1",
        f"{asked}unknown certificate authority", f"{asked}unsupported certificate", f"{asked}certificate required",
        "1 Error response from daemon: Client sent an HTTP request to an HTTPS server.", "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "1 'no name' is no host name or address", "0", "1",
        "200", "403 Origin", "403 Host", "200 Host", "200 Host",
        f"1 festoond: tcp://127.0.0.1:2376: {certificates}", "1 festoond: tcp://0.0.0.0:2375: without TLS only an address of loopback is served",
        "1 festoond: fd://: festoond listens on its own socket and on tcp://HOST:PORT", "1 festoond: TLS for tcp://127.0.0.1:2376: No such file or directory",
    ]  # fmt: skip
