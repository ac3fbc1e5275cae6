"""A port of the node, in a service's host mode, when its task ends and another takes its place."""

from __future__ import annotations

from collections.abc import Callable

from tests.driver import MANAGER, Lab, until


def test_a_task_that_comes_back_at_once_has_its_port_of_the_node_again(make_lab: Callable[..., Lab]) -> None:
    """Its end is told before all of it is gone: the next one waits for the port instead of failing."""
    lab = make_lab("port", "--nodes", "1", "--swarm")
    publish = ("--publish", "mode=host,target=80,published=8091", "--restart-delay", "0s")
    lab.ok(MANAGER, "docker", "service", "create", "-d", "--name", "back", *publish, "busybox", "sleep", "1000")
    assert until(lambda: lab.running("docker", "back"))
    for _ in range(3):
        (task,) = lab.running("docker", "back")
        box = lab.ok(MANAGER, "docker", "ps", "-q", "--filter", "name=back").strip()
        lab.ok(MANAGER, "docker", "kill", box)
        assert until(lambda task=task: [t["ID"] for t in lab.running("docker", "back")] not in ([], [task["ID"]]))
    errors = [row["Error"] for row in lab.rows(MANAGER, "docker", "service", "ps", "--no-trunc", "back")]
    assert set(errors) == {"", '"task: non-zero exit (137)"'}


def test_a_port_that_the_node_has_chosen_is_told(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("port", "--nodes", "1", "--swarm")
    lab.ok(MANAGER, "docker", "service", "create", "-d", "--name", "any", "--publish", "mode=host,target=80", "busybox", "sleep", "1000")
    assert until(lambda: lab.running("docker", "any"))
    told = lab.ok(MANAGER, "docker", "service", "ps", "any", "--format", "{{.Ports}}").strip()
    bound = lab.ok(MANAGER, "docker", "port", lab.ok(MANAGER, "docker", "ps", "-q", "--filter", "name=any").strip()).splitlines()[0].rpartition(":")[2]
    assert told == f"*:{bound}->80/tcp,*:{bound}->80/tcp"
