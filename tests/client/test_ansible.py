"""Ansible's community.docker on a node's socket: its swarm modules make a cluster, its networks, secrets, services and stacks, see no change where there
is none, and take it all away again; its container module sees whether a container is what it would make."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import machines
from tests.driver import MANAGER, OWN_SUBNET, Lab

PLAYBOOK_PROGRAM = Path(sys.executable).parent / "ansible-playbook"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PLAYBOOK_PROGRAM.exists(), reason="needs the PyPI package ansible: ./check --long installs it"),
]

PLAYBOOK = """\
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    service: &service
      name: web
      image: busybox
      command: sleep 1000
      replicas: 2
      networks: [front]
      secrets: [{secret_name: quiet}]
      configs: [{config_name: loud, filename: /loud}]
      publish: [{published_port: 8099, target_port: 80}]
      env: {A: b}
      labels: {x: y}
      limits: {memory: 64M}
      restart_config: {condition: on-failure}
      update_config: {parallelism: 1, order: start-first}
      placement: {constraints: ["node.role==manager"]}
  tasks:
    - community.docker.docker_swarm: {state: present, advertise_addr: "{{ address }}"}
    - community.docker.docker_swarm_info: {nodes: true, services: true, tasks: true}
      register: swarm
    - assert: {that: "swarm.nodes | map(attribute='Hostname') | list == ['swarm-manager']"}
    - community.docker.docker_network: {name: front, driver: overlay, attachable: true}
    - community.docker.docker_secret: {name: quiet, data: hush}
    - community.docker.docker_config: {name: loud, data: hey}
    - community.docker.docker_swarm_service: *service
      register: first
    - community.docker.docker_swarm_service: *service
      register: second
    - assert: {that: "first.changed and not second.changed"}
    - community.docker.docker_swarm_service: {name: web, image: busybox, command: sleep 1000, replicas: 3}
    - community.docker.docker_swarm_service_info: {name: web}
      register: info
    - assert: {that: "info.service.Spec.Mode.Replicated.Replicas == 3"}
    - community.docker.docker_node: {hostname: swarm-manager, labels: {zone: a}, availability: active}
    - community.docker.docker_node_info: {self: true}
      register: node
    - assert: {that: "node.nodes[0].Spec.Labels.zone == 'a'"}
    - community.docker.docker_stack: {name: several, state: present, compose: [{version: "3.8", services: {one: {image: busybox, command: sleep 1000}}}]}
    - community.docker.docker_stack_info: {}
      register: stacks
    - assert: {that: "stacks.results == [{'Name': 'several', 'Services': '1'}]"}
    - community.docker.docker_stack: {name: several, state: absent}
    - community.docker.docker_swarm_service: {name: web, state: absent}
    - community.docker.docker_secret: {name: quiet, state: absent}
    - community.docker.docker_config: {name: loud, state: absent}
    - community.docker.docker_network: {name: front, state: absent}
    - community.docker.docker_swarm: {state: absent, force: true}
"""


OPTIONS = [
    "{capabilities: [sys_time], cap_drop: [chown]}", "{entrypoint: []}", "{env: {A: b}, labels: {x: y}}", "{init: false}", "{mac_address: '92:d0:c6:0a:29:33'}",
    "{runtime: runc}", "{published_ports: ['9009:80', '9010-9012:81']}", "{healthcheck: {test: [CMD, 'true'], interval: 1h}}",
    "{volumes: ['/tmp:/t:ro', '/anonymous']}", "{tmpfs: ['/t:size=1m']}", "{ulimits: ['nofile:99:99'], sysctls: {net.ipv4.ip_forward: '1'}}",
    "{memory: 64M, cpus: 0.5, pids_limit: 10}", "{networks: [{name: back, ipv4_address: 10.77.7.9, aliases: [a]}]}",
]  # fmt: skip
CONTAINERS = f"""\
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {{options: [{", ".join(OPTIONS)}], base: {{name: one, image: busybox, command: sleep 1000, force_kill: true}}}}
  tasks:
    - community.docker.docker_network: {{name: back, ipam_config: [{{subnet: 10.77.7.0/24}}]}}
    - include_tasks: twice.yml
      loop: "{{{{ options }}}}"
    - community.docker.docker_container: {{name: one, state: absent, force_kill: true}}
    - community.docker.docker_network: {{name: back, state: absent}}
    - community.docker.docker_swarm: {{state: present, advertise_addr: "{{{{ address }}}}", keep_old_snapshots: 0}}
    - community.docker.docker_swarm: {{state: present, keep_old_snapshots: 2}}
    - community.docker.docker_swarm: {{state: present, keep_old_snapshots: 0}}
    - community.docker.docker_swarm: {{state: present, keep_old_snapshots: 0}}
      register: again
    - assert: {{that: not again.changed}}
    - community.docker.docker_network: {{name: ingress, state: absent}}
    - community.docker.docker_network: {{name: own-ingress, driver: overlay, ingress: true}}
    - community.docker.docker_swarm: {{state: absent, force: true}}
"""
TWICE = """\
- community.docker.docker_container: "{{ base | combine(item) }}"
- community.docker.docker_container: "{{ base | combine(item) }}"
  register: second
- assert: {that: not second.changed, fail_msg: "made anew for {{ item }}"}
"""


def test_the_swarm_modules(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    lab = make_lab("ansible", "--nodes", "1")
    _played(lab, tmp_path, PLAYBOOK)
    assert "Swarm: inactive" in lab.ok(MANAGER, "festoon", "info")


def test_a_container_that_is_as_it_shall_be_is_left_alone(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    """The module compares what `inspect` shows with what it would ask for."""
    lab = make_lab("ansible", "--nodes", "1")
    (tmp_path / "twice.yml").write_text(TWICE)
    _played(lab, tmp_path, CONTAINERS)
    assert lab.ok(MANAGER, "festoon", "ps", "-aq") == ""


def _played(lab: Lab, tmp_path: Path, playbook: str) -> None:
    (tmp_path / "play.yml").write_text(playbook)
    environment = [
        f"DOCKER_HOST=unix://{machines.socket_of(lab.name, MANAGER)}", f"HOME={tmp_path}", "ANSIBLE_LOCALHOST_WARNING=0", "LC_ALL=C.UTF-8",
    ]  # fmt: skip
    given = ["-e", f"ansible_python_interpreter={sys.executable}", "-e", f"address={OWN_SUBNET}.10"]
    played = lab.on(MANAGER, "env", *environment, str(PLAYBOOK_PROGRAM), "-i", "localhost,", *given, str(tmp_path / "play.yml"), timeout_s=300)
    assert played.returncode == 0, played.stdout + played.stderr
    assert "failed=0" in played.stdout
