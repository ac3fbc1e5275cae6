"""A lab's plan: names and addresses as in the seed, and sentences for what makes no lab."""

from __future__ import annotations

import pytest

from lab.layout import LabError, conflict, plan


def test_three_nodes_are_the_seeds_machines() -> None:
    lab = plan(3, 1)
    assert [(m.name, m.role, m.address) for m in lab.machines] == [
        ("swarm-manager", "manager", "192.168.200.10"),
        ("swarm-worker1", "worker", "192.168.200.11"),
        ("swarm-worker2", "worker", "192.168.200.12"),
    ]
    assert (lab.gateway, lab.host, lab.prefix, lab.host_link) == ("192.168.200.1", "192.168.200.2", 24, "fl-lab")


def test_more_managers_come_before_the_workers() -> None:
    names = [(m.name, m.address.rpartition(".")[2]) for m in plan(5, 3).machines]
    assert names == [
        ("swarm-manager", "10"),
        ("swarm-manager2", "11"),
        ("swarm-manager3", "12"),
        ("swarm-worker1", "13"),
        ("swarm-worker2", "14"),
    ]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((0, 1), "--nodes 0"),
        ((65, 1), "--nodes 65"),
        ((3, 4), "--managers 4"),
        ((3, 0), "--managers 0"),
        ((3, 1, "10.0.0.0/29"), "too small"),
        ((3, 1, "10.0.0.1/24"), "--subnet"),
        ((3, 1, "nonsense"), "--subnet"),
        ((3, 1, "127.0.0.0/24"), "no network for machines"),
        ((3, 1, "224.0.0.0/24"), "no network for machines"),
        ((3, 1, "172.16.0.0/14"), "the network of docker0"),
        ((3, 1, "172.18.5.0/24"), "the network of docker_gwbridge"),
        ((3, 1, "10.0.0.0/24", "../etc"), "--name"),
        ((3, 1, "10.0.0.0/24", "thirteen-long"), "--name"),
    ],
)
def test_what_makes_no_lab_is_said(arguments: tuple[int, int, str, str], match: str) -> None:
    with pytest.raises(LabError, match=match):
        plan(*arguments)


def test_an_unknown_machine_is_said_with_those_that_are_there() -> None:
    with pytest.raises(LabError, match=r"no machine x in the lab: there are swarm-manager$"):
        plan(1, 1).machine("x")


def test_a_route_into_the_subnet_is_a_conflict_and_the_default_route_is_none() -> None:
    routes = ("0.0.0.0/0", "10.0.0.0/8", "192.168.200.128/25")
    assert conflict("192.168.200.0/24", routes) == "192.168.200.128/25"
    assert conflict("10.1.0.0/24", routes) == "10.0.0.0/8"
    assert conflict("172.16.0.0/24", routes) == ""
