"""`docker run` and what goes with it on a running node, by the real client and by festoon: streams, statuses, limits, restarts, health, ports."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.driver import Lab

DEADLINE_S = 20.0


@pytest.fixture
def names(lab: Lab, program: str) -> Iterator[Callable[[str], str]]:
    made: list[str] = []

    def name(base: str) -> str:
        made.append(f"run-{program}-{base}")
        return made[-1]

    yield name
    for each in made:
        lab.on("swarm-manager", program, "rm", "-f", each)


def shown(lab: Lab, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(lab.on("swarm-manager", "festoon", "inspect", name).stdout)
    return found[0]


def until(lab: Lab, name: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What inspect shows once it holds; the last that was seen at the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not holds(found := shown(lab, name)) and time.monotonic() < end:
        time.sleep(0.1)  # a test may look again; the product never does
    return found


@pytest.mark.parametrize(
    ("words", "status", "out"),
    [
        (("sh", "-c", "echo out; exit 3"), 3, "out\n"),
        (("nosuchprogram",), 127, ""),
        (("/etc/passwd",), 126, ""),
        (("sh", "-c", "kill -9 $$; exit 4"), 4, ""),
    ],
)
def test_the_programs_status_is_the_commands(lab: Lab, program: str, words: tuple[str, ...], status: int, out: str) -> None:
    done = lab.on("swarm-manager", program, "run", "--rm", "busybox", *words)
    assert (done.returncode, done.stdout) == (status, out), done.stderr


def test_who_outlives_an_exec_does_not_hold_its_client(lab: Lab, program: str, names: Callable[[str], str]) -> None:
    name = names("outlived")
    lab.ok("swarm-manager", program, "run", "-d", "--name", name, "busybox", "sleep", "1000")
    script = "sleep 1000 & echo started; exit 3"
    done = lab.on("swarm-manager", "timeout", "30", program, "exec", name, "sh", "-c", script)
    assert (done.returncode, done.stdout) == (3, "started\n")
    assert lab.ok("swarm-manager", program, "exec", name, "sh", "-c", "ps | grep -c '[s]leep 1000'").strip() == "2"


def test_a_tmpfs_has_the_mode_of_the_images_folder_that_it_covers(lab: Lab, program: str) -> None:
    show = ("busybox", "stat", "-c", "%a", "/root")
    assert lab.ok("swarm-manager", program, "run", "--rm", "--tmpfs", "/root", *show) == "700\n"
    assert lab.ok("swarm-manager", program, "run", "--rm", "--tmpfs", "/root:mode=751", *show) == "751\n"


def test_input_ends_and_large_output_is_whole(lab: Lab, program: str) -> None:
    text = f"head -c 2000000 /dev/zero | {program} run --rm -i busybox sh -c 'wc -c; head -c 1000000 /dev/zero | tr \"\\0\" x' | tail -c 1000010"
    done = lab.on("swarm-manager", "sh", "-c", text)
    assert done.stdout.startswith("2000000\n")
    assert done.stdout.count("x") == 1000000


def test_limits_and_namespaces_are_as_asked(lab: Lab, program: str) -> None:
    script = "cat /proc/self/oom_score_adj; ulimit -n; hostname; ls /sys/class/net; grep NoNewPrivs /proc/self/status"
    flags = ("--oom-score-adj", "300", "--ulimit", "nofile=99:99", "--hostname", "h1", "--network", "none", "--security-opt", "no-new-privileges")
    done = lab.on("swarm-manager", program, "run", "--rm", *flags, "busybox", "sh", "-c", script)
    assert done.stdout.split() == ["300", "99", "h1", "lo", "NoNewPrivs:", "1"], done.stderr


def test_a_pause_stops_it_and_execs_are_refused_meanwhile(lab: Lab, program: str, names: Callable[[str], str]) -> None:
    name = names("pause")
    assert lab.on("swarm-manager", program, "run", "-d", "--name", name, "busybox", "sleep", "1000").returncode == 0
    assert lab.on("swarm-manager", program, "pause", name).returncode == 0
    refused = lab.on("swarm-manager", program, "exec", name, "true")
    assert refused.returncode == 1
    assert f"Container {name} is paused, unpause the container before exec" in refused.stderr
    assert lab.on("swarm-manager", program, "unpause", name).returncode == 0
    assert lab.on("swarm-manager", program, "exec", name, "true").returncode == 0
    assert lab.on("swarm-manager", program, "exec", name, "nosuch").returncode == 126


def test_a_failing_container_is_restarted_as_often_as_asked(lab: Lab, program: str, names: Callable[[str], str]) -> None:
    name = names("restart")
    lab.on("swarm-manager", program, "run", "-d", "--name", name, "--restart", "on-failure:2", "busybox", "sh", "-c", "exit 5")
    found = until(lab, name, lambda c: c["RestartCount"] == 2 and c["State"]["Status"] == "exited")
    assert (found["RestartCount"], found["State"]["Status"], found["State"]["ExitCode"]) == (2, "exited", 5)


def test_what_is_asked_of_a_container_while_its_policy_starts_it_stays(lab: Lab, program: str, names: Callable[[str], str]) -> None:
    name = names("renamed")
    once = f"{program} rename {name} {name}-x && {program} rename {name}-x {name} && {program} restart -t 0 {name} >/dev/null || exit 1"
    made = f"{program} run -d --name {name} --restart always busybox false >/dev/null"
    script = f"for i in 1 2 3 4; do {made}; for j in 1 2 3; do {once}; done; {program} rm -f {name}; done"
    done = lab.on("swarm-manager", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, f"{name}\n" * 4), done.stderr


def test_one_that_goes_with_its_program_can_be_restarted(lab: Lab, program: str, names: Callable[[str], str]) -> None:
    name = names("passing")
    lab.ok("swarm-manager", program, "run", "-d", "--rm", "--name", name, "busybox", "sleep", "1000")
    lab.ok("swarm-manager", program, "restart", "-t", "0", name)
    assert shown(lab, name)["State"]["Status"] == "running"
    lab.ok("swarm-manager", "sh", "-c", f"{program} wait {name} & {program} stop -t 0 {name}; wait; ! {program} inspect {name}")


def test_an_ipc_namespace_is_asked_for_where_there_is_one(lab: Lab, program: str, names: Callable[[str], str]) -> None:
    donor = names("donor")
    made = lab.ok("swarm-manager", program, "create", "--name", donor, "busybox", "sleep", "1000").strip()
    refused = lab.on("swarm-manager", program, "run", "--rm", "--ipc", f"container:{donor}", "busybox", "true")
    assert f"can't join IPC of container {made}: container {made} is not running" in refused.stderr


def test_create_fails_with_one_and_its_sentence_alone(lab: Lab, program: str, tmp_path: Path) -> None:
    (tmp_path / "cid").touch()
    for words, sentence in (
        (("--cidfile", f"{tmp_path}/cid", "busybox"), f"container ID file found, make sure the other container isn't running or delete {tmp_path}/cid"),
        (("a:b:c",), "invalid reference format"),
        (("0" * 64,), f"Error response from daemon: No such image: {'0' * 64}"),
    ):
        done = lab.on("swarm-manager", program, "create", *words)
        assert (done.returncode, done.stderr.strip()) == (1, sentence)


def test_probes_say_how_it_is(lab: Lab, program: str, names: Callable[[str], str]) -> None:
    name = names("health")
    flags = ("--health-cmd", "test -e /well", "--health-interval", "100ms", "--health-retries", "2")
    lab.on("swarm-manager", program, "run", "-d", "--name", name, *flags, "busybox", "sleep", "1000")
    assert until(lab, name, lambda c: c["State"]["Health"]["Status"] == "unhealthy")["State"]["Health"]["FailingStreak"] >= 2
    lab.on("swarm-manager", program, "exec", name, "touch", "/well")
    assert until(lab, name, lambda c: c["State"]["Health"]["Status"] == "healthy")["State"]["Health"]["FailingStreak"] == 0
    lab.ok("swarm-manager", program, "stop", "-t", "0", name)
    assert shown(lab, name)["State"]["Health"]["Status"] == "unhealthy"


def test_limits_can_be_changed_and_are_measured(lab: Lab, program: str, names: Callable[[str], str]) -> None:
    name = names("update")
    lab.on("swarm-manager", program, "run", "-d", "--name", name, "--memory", "64m", "busybox", "sleep", "1000")
    done = lab.on("swarm-manager", program, "update", "--memory", "128m", "--memory-swap", "256m", name)
    assert done.stdout.strip() == name, done.stderr
    read = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
    limit = lab.on("swarm-manager", program, "exec", name, "sh", "-c", read)
    assert limit.stdout.strip() == str(128 << 20)
    stats = lab.on("swarm-manager", program, "stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", name)
    assert stats.stdout.strip() == f"{name} 1"


def test_a_port_is_published_and_taken(lab: Lab, program: str, names: Callable[[str], str]) -> None:
    one, two = names("port1"), names("port2")
    lab.on("swarm-manager", program, "run", "-d", "--name", one, "-p", "18099:80", "busybox", "sleep", "1000")
    assert "0.0.0.0:18099" in lab.on("swarm-manager", program, "port", one, "80").stdout
    taken = lab.on("swarm-manager", program, "run", "-d", "--name", two, "-p", "18099:80", "busybox", "true")
    assert taken.returncode == 125
    assert "Bind for 0.0.0.0:18099 failed: port is already allocated" in taken.stderr
