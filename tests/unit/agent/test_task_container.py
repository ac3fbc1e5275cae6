"""A task becomes a container with Docker's name, labels, placeholders and ports."""

import pytest

from agent.records import NetworkWish
from agent.task_container import task_container
from cluster.model.errors import InvalidArgument
from cluster.model.ids import NetworkId, ServiceId, TaskId
from cluster.model.objects import Endpoint, NodeDescription, Task, TaskNetwork
from cluster.model.specs import ContainerSpec, PortConfig, PublishMode, TaskSpec

NODE = NodeDescription(hostname="swarm-worker1")


def task(**container: object) -> Task:
    spec = TaskSpec(ContainerSpec("busybox", **container))  # type: ignore[arg-type]
    ports = (PortConfig("tcp", 80, 8080), PortConfig("udp", 53, 53, PublishMode.HOST))
    return Task(TaskId("t" * 25), ServiceId("s" * 25), spec, service_name="web", slot=2, endpoint=Endpoint(ports),
                networks=(TaskNetwork(NetworkId("n" * 25), "10.0.1.8/24", ("alias",)),), service_labels=(("tier", "front"),))  # fmt: skip


def test_name_labels_networks_and_ports() -> None:
    made = task_container(task(args=("ping", "8.8.8.8")), NODE, "node1")
    assert made.name == "web.2." + "t" * 25
    assert dict(made.config.labels)["com.docker.swarm.task.name"] == made.name
    assert made.networks == (NetworkWish(network="n" * 25, aliases=("alias",), address="10.0.1.8/24", assigned=True, has_ipam=True),)
    assert [(p.host_port, p.container_port) for p in made.mesh_ports] == [(8080, 80)]
    assert [(p.host_port, p.protocol) for p in made.host.port_bindings] == [(53, "udp")]
    assert (made.config.image, made.host.isolation) == ("busybox:latest", "default")
    assert made.config.exposed_ports == ("53/udp",)  # the mesh leads to the task, not to its container
    assert (made.config.cmd, made.config.entrypoint) == (("ping", "8.8.8.8"), None)


def test_placeholders() -> None:
    env = ("N={{.Node.Hostname}}", "S={{ .Service.Name }}.{{.Task.Slot}}", 'L={{index .Service.Labels "tier"}}')
    made = task_container(task(hostname="{{.Service.Name}}-{{.Task.Slot}}", env=env), NODE, "node1")
    assert made.config.hostname == "web-2"
    assert made.config.env == ("N=swarm-worker1", "S=web.2", "L=front")


def test_an_unknown_placeholder_is_refused() -> None:
    words = r'expanding env "A=\{\{.Nope\}\}": template: expansion:1:2: executing "expansion" at <.Nope>: can\'t evaluate field Nope in type \*template.Context'
    with pytest.raises(InvalidArgument, match=words):
        task_container(task(env=("A={{.Nope}}",)), NODE, "node1")


def test_templates_are_go_s() -> None:
    made = task_container(task(env=('A={{if eq .Task.Slot "2"}}two{{else}}other{{end}}', "B={{.Service.Labels.tier}}")), NODE, "node1")
    assert made.config.env == ("A=two", "B=front")


def test_grace_is_rounded_up_and_extra_hosts_are_turned_round() -> None:
    made = task_container(task(stop_grace_ns=1_500_000_000, hosts=("1.2.3.4 db",)), NODE, "node1")
    assert made.config.stop_timeout_s == 2
    assert made.host.extra_hosts == ("db:1.2.3.4",)
