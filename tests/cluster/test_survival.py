"""kill -9 of what a node is made of: nothing acknowledged is lost, containers go on, a dead node's tasks move, nothing stays behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.driver import MANAGER, WORKER1, WORKER2, Lab, until

PROGRAMS = {
    "node": rb"-m\0agent\0",
    "manager": rb"-m\0manager\0",
    "supervisor": rb"-m\0runtime.supervisor\0",
    "stem": rb"-m\0runtime.stem\0",
}


def pids(lab: Lab, node: str, role: str = "") -> set[int]:
    """Processes in the node's groups; with `role` only Festoon's own of that kind."""
    found: set[int] = set()
    for base in Path("/sys/fs/cgroup").glob(f"*/festoon-lab/{lab.name}/{node}"):
        for procs in base.rglob("cgroup.procs"):
            found |= {int(p) for p in procs.read_text().split()}
    return {p for p in found if not role or re.search(PROGRAMS[role], cmdline(p))}


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def containers(lab: Lab, node: str) -> dict[str, str]:
    return {r["Names"]: r["ID"] for r in lab.rows(node, "festoon", "container", "ls")}


def program_pids(lab: Lab, node: str) -> set[int]:
    return {p for p in pids(lab, node) if cmdline(p).startswith(b"sleep\0")}


def kill(targets: set[int]) -> None:
    assert targets
    for pid in targets:
        os.kill(pid, signal.SIGKILL)


def test_a_killed_node_process_finds_its_containers_again(lab: Lab) -> None:
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "keep", "--replicas", "3", "busybox", "sleep", "100000")
    assert until(lambda: len(lab.running("festoon", "keep")) == 3)
    before, programs = containers(lab, WORKER1), program_pids(lab, WORKER1)
    assert programs
    kill(pids(lab, WORKER1, "node"))
    assert lab.festoon("up").returncode == 0
    assert until(lambda: lab.on(WORKER1, "festoon", "info").returncode == 0)
    assert containers(lab, WORKER1) == before
    assert program_pids(lab, WORKER1) == programs
    assert len(lab.running("festoon", "keep")) == 3


def test_a_killed_supervisor_is_replaced_and_containers_go_on(lab: Lab) -> None:
    programs = program_pids(lab, WORKER2)
    assert programs
    kill(pids(lab, WORKER2, "supervisor"))
    assert until(lambda: len(pids(lab, WORKER2, "supervisor")) == 1)
    assert program_pids(lab, WORKER2) == programs
    (name, box), *_ = containers(lab, WORKER2).items()
    assert lab.on(WORKER2, "festoon", "exec", box, "true").returncode == 0
    lab.ok(WORKER2, "festoon", "kill", box)
    assert until(lambda: name not in containers(lab, WORKER2) and len(lab.running("festoon", "keep")) == 3)


def test_a_killed_manager_loses_nothing_acknowledged(lab: Lab) -> None:
    for number in range(3):
        lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", f"kept{number}", "--replicas", "0", "busybox", "true")
        kill(pids(lab, MANAGER, "manager"))
        names = until(lambda: set(lab.on(MANAGER, "festoon", "service", "ls", "--format", "{{.Name}}").stdout.split()))
        assert {f"kept{n}" for n in range(number + 1)} <= names
    assert until(lambda: len(lab.running("festoon", "keep")) == 3)
    for name in ("kept0", "kept1", "kept2", "keep"):
        lab.ok(MANAGER, "festoon", "service", "rm", name)


def test_a_dead_nodes_tasks_move_and_it_comes_back(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("dead", "--swarm")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "move", "--replicas", "3", "busybox", "sleep", "100000")
    assert until(lambda: len(lab.running("festoon", "move")) == 3)
    kill(pids(lab, WORKER1))
    moved = until(lambda: len(r := lab.running("festoon", "move")) == 3 and all(t["Node"] != WORKER1 for t in r))
    assert moved, lab.on(MANAGER, "festoon", "service", "ps", "move").stdout
    rows = lab.rows(MANAGER, "festoon", "node", "ls")
    assert [r["Status"] for r in rows if r["Hostname"] == WORKER1] == ["Down"]
    done = lab.festoon("up")
    assert done.returncode == 0, done.stderr
    assert until(lambda: [r["Status"] for r in lab.rows(MANAGER, "festoon", "node", "ls") if r["Hostname"] == WORKER1] == ["Ready"])


def test_nothing_is_left_after_kill_9_of_everything(make_lab: Callable[..., Lab]) -> None:
    before = traces()
    lab = make_lab("gone", "--swarm")
    lab.ok(MANAGER, "festoon", "network", "create", "-d", "overlay", "net")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "web", "--network", "net", "-p", "8080:80", "--replicas", "3", "containous/whoami")
    assert until(lambda: len(lab.running("festoon", "web")) == 3)
    for node in (WORKER2, WORKER1, MANAGER):
        kill(pids(lab, node))
    assert lab.festoon("down").returncode == 0
    left = until(lambda: not any(now - before[kind] for kind, now in traces().items()))
    assert left, {kind: sorted(now - before[kind])[:5] for kind, now in traces().items()}


def traces() -> dict[str, set[str]]:
    """What a lab could leave on this machine."""

    def words(*argv: str) -> str:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout

    processes = {str(p) for p in Path("/proc").glob("[0-9]*") if re.search(rb"-m\0(agent|manager|runtime)", cmdline(int(p.name)))}
    return {
        "processes": processes,
        "mounts": {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()},
        "links": set(re.findall(r"^\d+: ([^:@]+)", words("ip", "-o", "link"), re.MULTILINE)),
        "namespaces": set(words("ip", "netns", "list").split()),
        "cgroups": {str(p) for p in Path("/sys/fs/cgroup").rglob("*festoon*")},
        "rules": set(re.findall(r"^table (.*) \{", words("nft", "list", "ruleset"), re.MULTILINE)),
    }
