"""Published ports on a cluster, by festoon and by the real docker client: whom a task sees, who answers whom, ranges, host mode, names only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.cluster.walkthrough import FETCH
from tests.driver import ADDRESS, MANAGER, WORKER1, WORKER2, Lab, until

WHOAMI = "containous/whoami"
QUICK = ("--stop-grace-period", "100ms")  # these servers take no notice of a stop signal


@pytest.fixture
def services(lab: Lab) -> Iterator[list[str]]:
    """Names of services that the test has made: they go with it."""
    made: list[str] = []
    yield made
    for name in made:
        lab.on(MANAGER, "festoon", "service", "rm", name)
    assert until(lambda: not any(row["Names"].startswith(tuple(made)) for node in ADDRESS for row in lab.rows(node, "festoon", "container", "ls", "-a")))


def ask(lab: Lab, node: str, url: str) -> dict[str, str]:
    """What whoami says: Hostname, RemoteAddr; empty when it does not answer."""
    answer = lab.on(node, "python3", "-I", "-c", FETCH, url).stdout
    return dict(re.findall(r"^(Hostname|RemoteAddr): (\S+)", answer, re.MULTILINE))


def peer(lab: Lab, node: str, url: str) -> str:
    """The address that a task sees when `node` asks it."""
    return ask(lab, node, url).get("RemoteAddr", "").rpartition(":")[0]


def publish(lab: Lab, services: list[str], program: str, name: str, *flags: str) -> None:
    services.append(name)
    lab.ok(MANAGER, program, "service", "create", "-d", "--name", name, *QUICK, *flags, WHOAMI)
    assert until(lambda: lab.running("festoon", name))


def test_a_task_sees_its_client_through_a_node_that_has_no_task(lab: Lab, services: list[str], program: str) -> None:
    publish(lab, services, program, f"seen-{program}", "-p", "8101:80", "--constraint", f"node.hostname=={MANAGER}")
    assert until(lambda: peer(lab, WORKER1, f"http://{ADDRESS[WORKER2]}:8101/")) == ADDRESS[WORKER1]
    assert peer(lab, WORKER1, f"http://{ADDRESS[MANAGER]}:8101/") == ADDRESS[WORKER1]
    assert peer(lab, WORKER2, f"http://{ADDRESS[WORKER2]}:8101/").startswith("10.0.0.")
    assert peer(lab, WORKER2, "http://127.0.0.1:8101/").startswith("10.0.0.")


def test_docker_keeps_what_a_label_says_of_a_port(lab: Lab, services: list[str], program: str) -> None:
    """`source-ip=masquerade` by our flag, by the label for docker's client; an update by docker's client changes nothing about it."""
    asked = ["-p", "published=8102,target=80,source-ip=masquerade"]
    if program == "docker":
        asked = ["-p", "8102:80", "--label", "festoon.port.8102.source-ip=masquerade"]
    publish(lab, services, program, f"hid-{program}", *asked, "--constraint", f"node.hostname=={MANAGER}")
    url = f"http://{ADDRESS[WORKER2]}:8102/"
    assert str(until(lambda: peer(lab, WORKER1, url))).startswith("10.0.0.")
    lab.ok(MANAGER, program, "service", "update", "-d", "--label-add", "other=1", f"hid-{program}")
    labels = json.loads(lab.ok(MANAGER, program, "service", "inspect", f"hid-{program}"))[0]["Spec"]["Labels"]
    assert labels == {"festoon.port.8102.source-ip": "masquerade", "other": "1"}
    assert peer(lab, WORKER1, url).startswith("10.0.0.")
    lab.ok(MANAGER, program, "service", "update", "-d", "--label-add", "festoon.port.8102.source-ip=preserve", f"hid-{program}")
    assert until(lambda: peer(lab, WORKER1, url) == ADDRESS[WORKER1])


def test_a_client_stays_with_its_task(lab: Lab, services: list[str]) -> None:
    publish(lab, services, "festoon", "stay", "-p", "published=8103,target=80,affinity=client-ip", "--replicas", "4")
    assert until(lambda: len(lab.running("festoon", "stay")) == 4)
    for node in (WORKER1, WORKER2):
        other = ADDRESS[MANAGER]
        assert until(lambda n=node, o=other: ask(lab, n, f"http://{o}:8103/"))  # type: ignore[misc]
        assert len({ask(lab, node, f"http://{other}:8103/")["Hostname"] for _ in range(6)}) == 1


def test_a_range_of_ports_goes_to_a_range_of_targets(lab: Lab, services: list[str], program: str) -> None:
    name = f"range-{program}"
    services.append(name)
    serve = "for n in 0 1 2; do mkdir -p /tmp/$n; echo port $n >/tmp/$n/index.html; httpd -p 8$n -h /tmp/$n; done; sleep 1000"
    lab.ok(MANAGER, program, "service", "create", "-d", "--name", name, *QUICK, "-p", "8110-8112:80-82", "busybox", "sh", "-c", serve)
    for number in range(3):
        url = f"http://{ADDRESS[WORKER2]}:{8110 + number}/"
        assert until(lambda u=url, n=number: lab.on(WORKER1, "python3", "-I", "-c", FETCH, u).stdout == f"port {n}\n")  # type: ignore[misc]
    lab.ok(MANAGER, program, "service", "update", "-d", "--publish-rm", "8110-8111:80-81", name)
    ports = json.loads(lab.ok(MANAGER, program, "service", "inspect", name))[0]["Endpoint"]["Ports"]
    assert [p["PublishedPort"] for p in ports] == [8112]


def test_a_port_in_host_mode_answers_only_where_a_task_is(lab: Lab, services: list[str], program: str) -> None:
    where = ("--constraint", f"node.hostname=={WORKER1}", "--endpoint-mode", "dnsrr")
    publish(lab, services, program, f"host-{program}", "-p", "mode=host,published=8120,target=80", *where)
    assert until(lambda: peer(lab, MANAGER, f"http://{ADDRESS[WORKER1]}:8120/")) == ADDRESS[MANAGER]
    assert peer(lab, MANAGER, f"http://{ADDRESS[WORKER2]}:8120/") == ""


def test_a_taken_port_is_refused_in_dockers_words(lab: Lab, services: list[str], program: str) -> None:
    publish(lab, services, program, f"first-{program}", "-p", "8130:80", "--constraint", f"node.hostname=={WORKER1}")
    taken = lab.on(MANAGER, program, "service", "create", "-d", "--name", "second", "-p", "mode=host,published=8130,target=80", WHOAMI)
    assert taken.returncode == 1
    assert re.search(rf"port '8130' is already in use by service 'first-{program}' \([a-z0-9]{{25}}\) as an ingress port", taken.stderr)


def test_a_host_firewall_that_drops_the_mesh_is_named(lab: Lab) -> None:
    lab.ok(WORKER1, "nft", "add table ip strict; add chain ip strict fw { type filter hook forward priority 0; policy drop; }")
    try:
        assert "the firewall chain 'ip strict fw' drops forwarded packets" in lab.ok(WORKER1, "festoon", "info", "--format", "{{json .Warnings}}")
        lab.ok(WORKER1, "nft", 'insert rule ip strict fw oifname "docker_gwbridge" accept')
        assert "strict" not in lab.ok(WORKER1, "festoon", "info", "--format", "{{json .Warnings}}")
    finally:
        lab.ok(WORKER1, "nft", "delete", "table", "ip", "strict")


def test_the_mesh_answers_over_ipv6(lab: Lab, services: list[str]) -> None:
    publish(lab, services, "festoon", "six", "-p", "8140:80", "--constraint", f"node.hostname=={MANAGER}")
    assert until(lambda: ask(lab, WORKER2, "http://[::1]:8140/"))
