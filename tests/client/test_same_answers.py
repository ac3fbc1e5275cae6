"""What both clients show of the same objects is the same, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.driver import MANAGER, Lab

SERVICES = {
    "plain": (),
    "ports": ("--publish", "18471:80", "--publish", "mode=host,target=90,published=18472,protocol=udp"),
    "rich": (
        "--label", "a", "--label", "b=c", "--env", "A=1", "--hostname", "h", "--user", "u", "--workdir", "/w", "--init", "--read-only", "--stop-signal", "INT",
        "--sysctl", "net.ipv4.ip_forward=1", "--ulimit", "nofile=100:200", "--cap-add", "NET_ADMIN", "--cap-drop", "CHOWN", "--limit-memory", "50M",
        "--limit-cpu", "1.5", "--limit-pids", "5", "--reserve-cpu", ".1", "--restart-delay", "3s", "--update-delay", "2s", "--rollback-monitor", "3s",
        "--log-driver", "json-file", "--log-opt", "max-size=1m", "--dns", "192.0.2.1", "--host", "x:192.0.2.2", "--endpoint-mode", "dnsrr",
        "--placement-pref", "spread=node.labels.x", "--replicas-max-per-node", "3", "--constraint", "node.role==manager", "--health-cmd", "true",
        "--health-interval", "5s", "--mount", "type=volume,source=v,target=/v", "--mount", "type=tmpfs,target=/t", "--container-label", "d=e",
    ),
    "everywhere": ("--mode", "global"),
}  # fmt: skip


@pytest.fixture(scope="module")
def services(lab: Lab) -> Iterator[tuple[str, ...]]:
    for name, flags in SERVICES.items():
        replicas = () if "global" in flags else ("--replicas", "0")
        lab.ok(MANAGER, "docker", "service", "create", "-d", "--name", f"same-{name}", *replicas, *flags, "busybox", "sleep", "1000")
    names = tuple(f"same-{name}" for name in SERVICES)
    try:
        yield names
    finally:
        lab.on(MANAGER, "festoon", "service", "rm", *names)


@pytest.mark.parametrize(
    "command",
    [
        ("service", "inspect", "--pretty"), ("service", "inspect"), ("node", "inspect", "--pretty", "self"), ("node", "inspect", "self"),
        ("network", "inspect", "ingress"), ("image", "inspect", "busybox"), ("inspect", "busybox"), ("history", "busybox"), ("images", "--digests"),
        ("system", "df"), ("network", "ls"), ("volume", "ls"), ("service", "ls"), ("swarm", "ca"), ("swarm", "join-token", "worker"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_both_clients_show_the_same(lab: Lab, services: tuple[str, ...], command: tuple[str, ...]) -> None:
    words = (*command, *services) if command[:2] == ("service", "inspect") else command
    ours = lab.ok(MANAGER, "festoon", *words).replace("festoon swarm", "docker swarm")
    theirs = lab.ok(MANAGER, "docker", *words)
    assert ours == theirs
