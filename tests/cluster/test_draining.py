"""A task that is taken away behind the mesh is missed by nobody: an honest client counts every request that fails."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster import walkthrough as walk
from tests.driver import ADDRESS, FESTOON, MANAGER, WORKER1, WORKER2, Lab, until

SERVER = "echo served to the end >/tmp/index.html; trap 'exit 0' TERM; httpd -f -p 80 -h /tmp & wait"  # the stop signal ends it in the middle of a request
CLIENT = """
import json, socket, sys, threading
host, port, stop, failures, served = sys.argv[1], int(sys.argv[2]), threading.Event(), [], []
def work():
    while not stop.is_set():
        answer = b""
        try:
            with socket.create_connection((host, port), timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n")
                while part := connection.recv(4096):
                    answer += part
        except OSError as error:
            failures.append(repr(error))
        (served if b"served to the end" in answer else failures).append(answer.decode())
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
sys.stdin.read()
stop.set()
[thread.join() for thread in threads]
print(json.dumps([len(served), failures[:5]]))
"""


@contextmanager
def asking(lab: Lab, node: str, port: int) -> Iterator[list[tuple[int, list[str]]]]:
    """New connections from `node` to the port of another node all the time; at the end (requests served, failures) is in the list."""
    command = [FESTOON, "lab", "exec", "--name", lab.name, node, "--", "python3", "-I", "-c", CLIENT, ADDRESS[WORKER2], str(port)]
    found: list[tuple[int, list[str]]] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        out: list[str] = []
        reader = threading.Thread(target=lambda: out.extend(client.stdout or ()))
        reader.start()
        try:
            yield found
        finally:
            assert client.stdin is not None
            client.stdin.close()
            reader.join()
    served, failures = json.loads("".join(out))
    found.append((served, failures))


@pytest.mark.parametrize("taken", [1, 4])
def test_taking_tasks_away_fails_no_request(lab: Lab, taken: int) -> None:
    name, port = f"shrink{taken}", 8090 + taken
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", name, "--replicas", "10", "-p", f"{port}:80", "busybox", "sh", "-c", SERVER)
    assert until(lambda: len(lab.running("festoon", name)) == 10)
    url = f"http://{ADDRESS[WORKER2]}:{port}/"
    assert until(lambda: all("to the end" in walk.fetch(lab, WORKER1, url) for _ in range(10)))
    with asking(lab, WORKER1, port) as counted:
        lab.ok(MANAGER, "festoon", "service", "scale", "-d", f"{name}={10 - taken}")
        assert until(lambda: _containers(lab, name) == 10 - taken)
    ((served, failures),) = counted
    assert failures == []
    assert served > 100
    lab.ok(MANAGER, "festoon", "service", "rm", name)


def test_an_answer_that_is_on_its_way_comes_to_its_end(lab: Lab) -> None:
    """The only task is taken away, and its program dies at once by the stop signal."""
    script = "printf '#!/bin/sh\\necho\\necho begun\\nsleep 1\\necho to the end\\n' >/tmp/cgi-bin/slow; chmod +x /tmp/cgi-bin/slow"
    lab.ok(MANAGER, "festoon", "service", "create", "--name", "slow", "-p", "8089:80", "busybox", "sh", "-c", f"mkdir /tmp/cgi-bin; {script}; {SERVER}")
    url = f"http://{ADDRESS[WORKER2]}:8089/"
    assert until(lambda: "to the end" in walk.fetch(lab, WORKER1, url))
    asking = [FESTOON, "lab", "exec", "--name", lab.name, WORKER1, "--", "curl", "-sN", f"{url}cgi-bin/slow"]
    with subprocess.Popen(asking, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "begun\n"
        lab.ok(MANAGER, "festoon", "service", "scale", "-d", "slow=0")
        assert client.stdout.read() == "to the end\n"
    assert client.returncode == 0
    assert until(lambda: _containers(lab, "slow") == 0)
    lab.ok(MANAGER, "festoon", "service", "rm", "slow")


def _containers(lab: Lab, service: str) -> int:
    rows = [row for node in ADDRESS for row in lab.rows(node, "festoon", "container", "ls")]
    return sum(row["Names"].startswith(f"{service}.") for row in rows)


def test_a_node_is_drained_without_a_failed_request_where_the_service_starts_first(lab: Lab) -> None:
    """Its only task goes on there until another one answers."""
    port = 8098
    health = ("--health-cmd", "wget -q -O /dev/null http://127.0.0.1/", "--health-interval", "200ms")
    where = ("--constraint", "node.role==worker", "--update-order", "start-first")
    lab.ok(MANAGER, "festoon", "service", "create", "--name", "moves", "-p", f"{port}:80", *health, *where, "busybox", "sh", "-c", SERVER)
    assert until(lambda: "to the end" in walk.fetch(lab, WORKER1, f"http://{ADDRESS[WORKER2]}:{port}/"))
    (before,) = lab.running("festoon", "moves")
    try:
        with asking(lab, MANAGER, port) as counted:
            lab.ok(MANAGER, "festoon", "node", "update", "--availability", "drain", before["Node"])
            assert until(lambda: [row["Node"] for row in lab.running("festoon", "moves")] == [WORKER1 if before["Node"] == WORKER2 else WORKER2])
            assert until(lambda: _containers(lab, "moves") == 1)
        ((served, failures),) = counted
        assert failures == []
        assert served > 100
        assert f"node {before['Node']} is drained" in lab.ok(MANAGER, "festoon", "why", before["ID"])
    finally:
        lab.ok(MANAGER, "festoon", "node", "update", "--availability", "active", before["Node"])
        lab.ok(MANAGER, "festoon", "service", "rm", "moves")


@pytest.mark.slow
def test_a_rolling_update_that_starts_first_behind_a_health_check_loses_no_request(lab: Lab) -> None:
    port = 8099
    health = ("--health-cmd", "wget -q -O /dev/null http://127.0.0.1/", "--health-interval", "200ms")
    order = ("--update-order", "start-first", "--update-monitor", "200ms")
    lab.ok(MANAGER, "festoon", "service", "create", "--name", "roll", "--replicas", "4", "-p", f"{port}:80", *health, *order, "busybox", "sh", "-c", SERVER)
    url = f"http://{ADDRESS[WORKER2]}:{port}/"
    assert until(lambda: all("to the end" in walk.fetch(lab, WORKER1, url) for _ in range(10)))
    load = [FESTOON, "lab", "exec", "--name", lab.name, WORKER1, "--", "wrk", "-t", "1", "-c", "2", "-d", "30s", url]
    with subprocess.Popen(load, stdout=subprocess.PIPE, text=True) as wrk, asking(lab, WORKER1, port) as counted:
        for turn in range(2):
            lab.ok(MANAGER, "festoon", "service", "update", "--wait", "--env-add", f"TURN={turn}", "roll", timeout_s=120)
        said = wrk.communicate()[0]
    ((served, failures),) = counted
    assert failures == []
    assert served > 100
    assert "Non-2xx" not in said
    assert "Socket errors" not in said
    assert int(said.partition(" requests in ")[0].split()[-1]) > 100
    lab.ok(MANAGER, "festoon", "service", "rm", "roll")
