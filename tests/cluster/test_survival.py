"""kill -9 of what a node is made of: nothing acknowledged is lost, containers go on, a dead node's tasks move, nothing stays behind."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.enter import ROOT
from lab.processes import Process, identify
from tests.driver import MANAGER, OWN_SUBNET, WORKER1, WORKER2, Lab, until

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
        for folder, _, _ in os.walk(base):
            found |= _members(Path(folder))
    return {p for p in found if not role or re.search(PROGRAMS[role], cmdline(p))}


def _members(group: Path) -> set[int]:
    try:
        return {int(p) for p in (group / "cgroup.procs").read_text().split()}
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):  # a container's group that went while we looked
            return set()
        raise


def cmdline(pid: int) -> bytes:
    return _told(pid, "cmdline")


def _told(pid: int, file: str) -> bytes:
    """Empty of a process that is gone."""
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def containers(lab: Lab, node: str) -> dict[str, str]:
    return {r["Names"]: r["ID"] for r in lab.rows(node, "festoon", "container", "ls")}


def program_pids(lab: Lab, node: str) -> set[int]:
    return {p for p in pids(lab, node) if cmdline(p).startswith(b"sleep\0")}


def kill(targets: set[int]) -> None:
    assert targets
    for pid in targets:
        with contextlib.suppress(ProcessLookupError):  # it went with the first process of its namespace
            os.kill(pid, signal.SIGKILL)


def kill_all(lab: Lab, node: str) -> None:
    """Everything on this machine, also what it started while it was looked at: a node process that is not dead yet starts its manager again."""

    def nothing_left() -> bool:
        left = pids(lab, node)
        if left:
            kill(left)
        return not left

    assert pids(lab, node)
    assert until(nothing_left)


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
    kill_all(lab, WORKER1)
    moved = until(lambda: len(r := lab.running("festoon", "move")) == 3 and all(t["Node"] != WORKER1 for t in r))
    assert moved, lab.on(MANAGER, "festoon", "service", "ps", "move").stdout
    rows = lab.rows(MANAGER, "festoon", "node", "ls")
    assert [r["Status"] for r in rows if r["Hostname"] == WORKER1] == ["Down"]
    done = lab.festoon("up")
    assert done.returncode == 0, done.stderr
    assert until(lambda: [r["Status"] for r in lab.rows(MANAGER, "festoon", "node", "ls") if r["Hostname"] == WORKER1] == ["Ready"])


def test_nothing_is_left_after_kill_9_of_everything(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("gone", "--swarm")
    lab.ok(MANAGER, "festoon", "network", "create", "-d", "overlay", "net")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "web", "--network", "net", "-p", "8080:80", "--replicas", "3", "containous/whoami")
    assert until(lambda: len(lab.running("festoon", "web")) == 3)
    nodes = (WORKER2, WORKER1, MANAGER)
    groups = {box[:12] for node in nodes for box in containers(lab, node).values()}
    processes = {p for node in nodes for p in _identified(pids(lab, node))}
    there = traces(lab, groups, processes)
    assert {kind for kind, found in there.items() if found} == {"processes", "links", "addresses", "cgroups", "folders"}, "what is looked for would be found"
    for node in nodes:
        kill_all(lab, node)
    assert lab.festoon("down").returncode == 0
    assert until(lambda: not any(traces(lab, groups, processes).values())), traces(lab, groups, processes)


def _identified(found: set[int]) -> Iterator[Process]:
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            yield identify(pid)


def traces(lab: Lab, groups: set[str], processes: set[Process]) -> dict[str, list[str]]:
    """What this lab, made with OWN_SUBNET, has on this machine, where other labs come and go. `groups`: names that its containers' cgroups begin with,
    wherever they are; `processes`: that were its, in whatever group they are by now."""

    def lines(*argv: str) -> list[str]:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()

    def naming(text: str) -> bool:
        return re.search(rf"\bfl-{lab.name}\b|festoon-lab[-/ ]{lab.name}\b", text) is not None

    numbers = [int(p.name) for p in Path("/proc").glob("[0-9]*")]
    return {
        "processes": [str(p) for p in processes if p.alive] + [str(p) for p in numbers if naming((cmdline(p) + _told(p, "cgroup")).decode(errors="replace"))],
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if naming(line)],
        "links": [line for line in lines("ip", "-o", "link") if naming(line)],
        "addresses": [line for line in (*lines("ip", "-o", "addr"), *lines("ip", "route", "show", "table", "all")) if f"{OWN_SUBNET}." in line],
        "namespaces": [line for line in lines("ip", "netns", "list") if lab.name in line],
        "cgroups": [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if naming(folder) or os.path.basename(folder)[:12] in groups],
        "folders": [str(path) for path in (Path(ROOT, lab.name),) if path.exists()],
        "rules": [line for line in lines("nft", "list", "ruleset") if naming(line) or f"{OWN_SUBNET}." in line],
    }
