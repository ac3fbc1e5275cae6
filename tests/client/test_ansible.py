"""Ansible's community.docker on a node's socket: its swarm modules make a cluster, its networks, secrets, services and stacks, see no change where there
is none, and take it all away again."""

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


def test_the_swarm_modules(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    lab = make_lab("ansible", "--nodes", "1")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    environment = [
        f"DOCKER_HOST=unix://{machines.socket_of(lab.name, MANAGER)}", f"HOME={tmp_path}", "ANSIBLE_LOCALHOST_WARNING=0", "LC_ALL=C.UTF-8",
    ]  # fmt: skip
    given = ["-e", f"ansible_python_interpreter={sys.executable}", "-e", f"address={OWN_SUBNET}.10"]
    played = lab.on(MANAGER, "env", *environment, str(PLAYBOOK_PROGRAM), "-i", "localhost,", *given, str(tmp_path / "play.yml"), timeout_s=300)
    assert played.returncode == 0, played.stdout + played.stderr
    assert "failed=0" in played.stdout
    assert "Swarm: inactive" in lab.ok(MANAGER, "festoon", "info")
