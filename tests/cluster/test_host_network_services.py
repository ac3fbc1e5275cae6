"""Services on networks that every node has of its own: host and bridge."""

from __future__ import annotations

import pytest

from tests.driver import MANAGER, WORKER1, Lab, until

TARGETS = "{{range .Spec.TaskTemplate.Networks}}{{.Target}} {{end}}"


def test_tasks_of_a_service_on_the_host_network_share_their_node_s(lab: Lab, program: str) -> None:
    serve = "echo here > /tmp/index.html; exec httpd -f -p 18766 -h /tmp"
    lab.ok(MANAGER, program, "service", "create", "--mode", "global", "--name", "onhost", "--network", "host", "busybox", "sh", "-c", serve)
    try:
        for node in (MANAGER, WORKER1):
            assert until(lambda node=node: lab.on(node, "busybox", "wget", "-qO-", "http://127.0.0.1:18766/").stdout.strip() == "here"), node
            task = lab.ok(node, program, "ps", "-q", "--filter", "name=onhost").split()[0]
            assert lab.ok(node, program, "exec", task, "hostname").strip() == node
            assert lab.ok(node, program, "inspect", "-f", "{{.HostConfig.NetworkMode}}", task).strip() == "host"
        target = lab.ok(MANAGER, program, "service", "inspect", "-f", TARGETS, "onhost").strip()
        assert lab.ok(WORKER1, program, "network", "inspect", "-f", "{{.Name}} {{.Scope}}", target).strip() == "host swarm"
        assert "Networks: host" in " ".join(lab.ok(MANAGER, program, "service", "inspect", "--pretty", "onhost").split())
    finally:
        lab.on(MANAGER, program, "service", "rm", "onhost")


def test_a_service_on_the_bridge_beside_an_overlay_is_on_both(lab: Lab) -> None:
    lab.ok(MANAGER, "festoon", "network", "create", "-d", "overlay", "beside")
    try:
        lab.ok(MANAGER, "festoon", "service", "create", "--name", "onboth", "--network", "beside", "--network", "bridge", "busybox", "sleep", "1000")
        (row,) = lab.running("festoon", "onboth")
        task = f"{row['Name']}.{row['ID']}"
        shown = lab.ok(row["Node"], "festoon", "inspect", "-f", "{{range $name, $it := .NetworkSettings.Networks}}{{$name}} {{end}}", task)
        assert shown.split() == ["beside", "bridge"]
        template = "{{range .Endpoint.VirtualIPs}}{{with .Addr}}address{{else}}none{{end}} {{end}}"
        addresses = lab.ok(MANAGER, "festoon", "service", "inspect", "-f", template, "onboth")
        assert addresses.split() == ["address", "none"]
        assert lab.ok(row["Node"], "festoon", "inspect", "-f", "{{json .HostConfig.Dns}}", task).strip() == "null"
    finally:
        lab.on(MANAGER, "festoon", "service", "rm", "onboth")
        assert until(lambda: lab.on(MANAGER, "festoon", "network", "rm", "beside").returncode == 0)


def test_a_service_leaves_the_bridge_and_comes_back_by_its_name_or_its_id(lab: Lab, program: str) -> None:
    def change(*flags: str) -> str:
        lab.ok(MANAGER, program, "service", "update", "-d", *flags, "moving")
        return lab.ok(MANAGER, program, "service", "inspect", "-f", TARGETS, "moving").strip()

    lab.ok(MANAGER, program, "service", "create", "-d", "--replicas", "0", "--name", "moving", "--network", "bridge", "busybox", "true")
    try:
        bridge = change("--env-add", "A=b")
        assert len(bridge) == 25
        assert lab.ok(MANAGER, program, "service", "inspect", "-f", "{{(index .Endpoint.VirtualIPs 0).NetworkID}}", "moving").strip() == bridge
        assert change("--network-rm", "bridge") == ""
        assert change("--network-add", bridge) == bridge
        assert "Networks: bridge" in " ".join(lab.ok(MANAGER, program, "service", "inspect", "--pretty", "moving").split())
        assert change("--network-rm", bridge) == ""
        assert change("--network-add", "bridge") == bridge
    finally:
        lab.on(MANAGER, program, "service", "rm", "moving")


@pytest.mark.parametrize(("networks", "words"), [(("host", "host"), "network host is specified more than once"), (("none",), "network none not found")])
def test_what_cannot_be_is_refused(lab: Lab, networks: tuple[str, ...], words: str) -> None:
    flags = [word for name in networks for word in ("--network", name)]
    refused = lab.on(MANAGER, "festoon", "service", "create", *flags, "busybox", "true")
    assert (refused.returncode, words in refused.stderr) == (1, True), refused.stderr


def test_an_overlay_that_is_removed_while_its_last_task_stops_leaves_its_node_with_it(lab: Lab) -> None:
    """Word of other changes comes meanwhile; what stayed would stand in the way of the next owner of its VNI."""
    network = lab.ok(MANAGER, "festoon", "network", "create", "-d", "overlay", "brief").strip()
    lab.ok(MANAGER, "festoon", "service", "create", "--name", "brief", "--network", "brief", "busybox", "sleep", "1000")
    (row,) = lab.running("festoon", "brief")
    places = ("ls", "/run/festoon/netns")
    assert f"1-{network[:10]}" in lab.ok(row["Node"], *places).split()
    lab.ok(MANAGER, "festoon", "service", "rm", "brief")
    assert until(lambda: lab.on(MANAGER, "festoon", "network", "rm", "brief").returncode == 0)
    lab.ok(MANAGER, "festoon", "service", "create", "--mode", "global", "--name", "meanwhile", "-p", "18799:80", "busybox", "sleep", "1000")
    lab.ok(MANAGER, "festoon", "service", "rm", "meanwhile")
    assert until(lambda: not any(network[:9] in place for place in lab.ok(row["Node"], *places).split()))
