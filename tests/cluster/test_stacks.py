"""Stacks in a real cluster: one file makes the same services by our command line and by the real client; dependencies are waited for, plans change nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.driver import MANAGER, Lab, until

EVERYTHING = """
x-base: &base {image: busybox, command: sleep 100000, init: true}
services:
  web:
    <<: *base
    hostname: "h{{.Task.Slot}}"
    environment: {A: "1", B: "${B:-two}", C: }
    env_file: [e.env]
    ports: ["8095:80", {target: 81, published: 8096, protocol: udp, mode: host}]
    networks: {front: {aliases: [w]}, default: }
    configs: [{source: cc, target: /cc, mode: 0440, uid: "5"}]
    secrets: [ss]
    volumes: ["data:/data:ro", "/tmp:/e:rslave", "/anon", {type: tmpfs, target: /t, tmpfs: {size: 65536}}]
    healthcheck: {test: "true", interval: 1m30s, timeout: 10s, retries: 3, start_period: 5s}
    labels: [a=b, c]
    extra_hosts: ["x:1.2.3.4"]
    dns: 8.8.8.8
    cap_add: [NET_ADMIN]
    ulimits: {nofile: {soft: 100, hard: 200}, nproc: 500}
    stop_grace_period: 2s
    stop_signal: SIGINT
    user: "5"
    working_dir: /tmp
    deploy:
      replicas: 0
      labels: {x: "y"}
      update_config: {parallelism: 2, delay: 10s, order: start-first, max_failure_ratio: 0.3, failure_action: rollback}
      rollback_config: {parallelism: 0}
      resources: {limits: {cpus: "0.5", memory: 50M, pids: 100}, reservations: {cpus: "0.25", memory: 20M}}
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 120s}
      placement: {constraints: ["node.role == manager"], preferences: [{spread: node.labels.z}], max_replicas_per_node: 3}
  all: {<<: *base, deploy: {mode: global, endpoint_mode: dnsrr, placement: {constraints: ["node.labels.no==1"]}}, restart: "no"}
networks: {front: {attachable: true, labels: {k: v}}}
volumes: {data: {labels: {l: m}}}
configs: {cc: {file: ./cc.txt}}
secrets: {ss: {file: ./ss.txt}}
"""
CHAIN = """
services:
  web: {image: busybox, command: sleep 100000, depends_on: {db: {condition: service_healthy}}}
  db:
    image: busybox
    command: sleep 100000
    healthcheck: {test: "test -e /tmp/ready", interval: 100ms, retries: 1000}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("all.yml", EVERYTHING), ("chain.yml", CHAIN), ("e.env", "X=1\n# no\nY=2\n"), ("cc.txt", "cc"), ("ss.txt", "ss")):
        (tmp_path / name).write_text(text)
    return tmp_path


def specs(lab: Lab, stack: str) -> dict[str, Any]:
    """The services' specs, without what differs from one stack to another."""
    names = [row["Name"] for row in lab.rows(MANAGER, "festoon", "stack", "services", stack)]
    text = lab.ok(MANAGER, "festoon", "service", "inspect", *names)
    for name in ("ss", "cc"):
        word = "secret" if name == "ss" else "config"
        text = text.replace(json.loads(lab.ok(MANAGER, "festoon", word, "inspect", f"{stack}_{name}"))[0]["ID"], f"{name}'s id")
    for network in ("front", "default"):
        text = text.replace(json.loads(lab.ok(MANAGER, "festoon", "network", "inspect", f"{stack}_{network}"))[0]["Id"], f"{network}'s id")
    return {one["Spec"]["Name"]: one["Spec"] for one in json.loads(text.replace(f"{stack}_", "S_").replace(f'"{stack}"', '"S"'))}


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs the docker client on the PATH")
def test_the_same_file_makes_the_same_services_by_both_clients(make_lab: Callable[..., Lab], folder: Path) -> None:
    lab = make_lab("stack", "--nodes", "1", "--swarm")
    file = str(folder / "all.yml")
    said, made = {}, {}
    for program, stack in (("docker", "one"), ("festoon", "two")):
        done = lab.on(MANAGER, program, "stack", "deploy", "--resolve-image", "never", "-c", file, stack)
        assert done.returncode == 0, done.stderr
        said[program] = sorted(done.stdout.replace(f"{stack}_", "S_").splitlines()), done.stderr
        made[program] = specs(lab, stack)
        lab.ok(MANAGER, program, "stack", "rm", stack)
    assert said["festoon"] == said["docker"]
    assert made["festoon"] == made["docker"]
    printed = {program: lab.ok(MANAGER, program, "stack", "config", "-c", file) for program in ("docker", "festoon")}
    assert printed["festoon"] == printed["docker"]


def test_a_service_waits_until_what_it_depends_on_is_healthy(make_lab: Callable[..., Lab], folder: Path) -> None:
    lab = make_lab("stack", "--nodes", "1", "--swarm")
    plan = lab.on(MANAGER, "festoon", "plan", "-f", str(folder / "chain.yml"), "st")
    assert plan.returncode == 0, plan.stderr
    assert "st_db: 1 to be placed\n" in plan.stdout
    assert "st_web: 1 to be placed\n" in plan.stdout
    assert plan.stdout.endswith("Nothing was changed.\n")
    assert lab.rows(MANAGER, "festoon", "service", "ls") == []
    lab.ok(MANAGER, "festoon", "stack", "deploy", "-c", str(folder / "chain.yml"), "st")
    box = until(lambda: lab.ok(MANAGER, "festoon", "ps", "-q", "--filter", "name=st_db").strip())
    why = "waits for service st_db to be healthy (0 of 1 tasks)"
    assert until(lambda: why in lab.ok(MANAGER, "festoon", "why", "st_web"))
    assert why in lab.ok(MANAGER, "festoon", "service", "ps", "--no-trunc", "st_web")
    lab.ok(MANAGER, "festoon", "exec", box, "touch", "/tmp/ready")
    assert until(lambda: lab.running("festoon", "st_web"))
    assert [row["Services"] for row in lab.rows(MANAGER, "festoon", "stack", "ls")] == ["2"]
    removed = lab.ok(MANAGER, "festoon", "stack", "rm", "--detach=false", "st")
    assert removed.splitlines() == ["Removing service st_db", "Removing service st_web", "Removing network st_default"]
    assert lab.ok(MANAGER, "festoon", "ps", "-q") == ""


def test_nothing_is_deployed_of_a_file_that_is_wrong(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    lab = make_lab("stack", "--nodes", "1", "--swarm")
    file = tmp_path / "c.yml"
    for text, message in (
        ("services:\n  a: {image: x}\n  b:\n    image: x\n    nosuch: 1\n", "c.yml:5: services.b Additional property nosuch is not allowed"),
        ("services:\n  a: {image: x}\n  b:\n    image: x\n    volumes: [vvv:/v]\n", 'c.yml:5: service b: undefined volume "vvv"'),
        ("services:\n  a: {image: x, secrets: [s]}\nsecrets: {s: {file: ./nosuch}}\n", f"c.yml:3: open {tmp_path}/nosuch: no such file or directory"),
        ("services:\n  a: {image: x, secrets: [s]}\nsecrets: {s: {external: true}}\n", "secret not found: s"),
    ):
        file.write_text(text)
        done = lab.on(MANAGER, "festoon", "stack", "deploy", "-c", str(file), "st")
        assert (done.returncode, done.stdout) == (1, "")
        assert message in done.stderr
    for noun in ("service", "secret", "stack"):
        assert lab.rows(MANAGER, "festoon", noun, "ls") == []
    assert "st_default" not in lab.ok(MANAGER, "festoon", "network", "ls")


def test_a_dry_run_changes_nothing_and_says_what_would_come(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("stack", "--nodes", "2", "--swarm")
    lab.ok(MANAGER, "festoon", "service", "create", "-q", "--verify", "0s", "--name", "web", "--replicas", "2", "busybox", "sleep", "100000")
    before = lab.ok(MANAGER, "festoon", "service", "inspect", "web")
    done = lab.on(MANAGER, "festoon", "service", "update", "--dry-run", "--replicas", "3", "--env-add", "A=b", "web")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "web: 3 to be placed, 2 to be stopped")
    done = lab.on(MANAGER, "festoon", "service", "create", "--dry-run", "--name", "no", "--constraint", "node.labels.x==y", "busybox")
    assert done.returncode == 5
    assert "no suitable node (scheduling constraints not satisfied on 2 nodes)" in done.stdout
    assert lab.ok(MANAGER, "festoon", "service", "inspect", "web") == before
    assert [row["Name"] for row in lab.rows(MANAGER, "festoon", "service", "ls")] == ["web"]
