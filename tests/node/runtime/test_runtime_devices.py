"""Devices that a container is given: the node, its rule, and nothing beyond."""

from __future__ import annotations

import os
from typing import Any

import pytest

from runtime.client import Supervisor
from runtime.errors import StartFailed
from runtime.spec import DeviceNode


def test_a_given_device_is_there_and_can_be_opened_as_permitted(machine: Any) -> None:
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("needs /dev/loop-control")

    async def body(supervisor: Supervisor) -> None:
        for permissions, answer in (("rwm", "read write"), ("r", "read")):
            device = DeviceNode("/dev/loop-control", "/dev/mine/control", permissions)
            script = "exec 3< /dev/mine/control && printf 'read '; (exec 3> /dev/mine/control) 2>/dev/null && printf write"
            spec = machine.spec("sh", "-c", script, devices=(device,))
            await machine.ran(supervisor, spec)
            assert machine.output(spec).split() == answer.split()

    machine.run(body)


def test_a_given_device_takes_the_place_of_a_default_one(machine: Any) -> None:
    async def body(supervisor: Supervisor) -> None:
        devices = (DeviceNode("/dev/null", "/dev/null"), DeviceNode("/dev/zero", "/dev/full"))
        spec = machine.spec("stat", "-c", "%t:%T", "/dev/null", "/dev/full", "/dev/zero", devices=devices)
        assert (await machine.ran(supervisor, spec)).status == 0
        assert machine.output(spec).split() == ["1:3", "1:5", "1:5"]

    machine.run(body)


def test_device_rules_without_a_node(machine: Any) -> None:
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("needs /dev/loop-control")

    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("sh", "-c", "mknod /tmp/d c 10 237 && exec 3< /tmp/d", device_rules=("c 10:237 r",))
        assert (await machine.ran(supervisor, spec)).status == 0

    machine.run(body)


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        (DeviceNode("/dev/no-such", "/dev/x"), 'custom device "/dev/no-such": no such file or directory'),
        (DeviceNode("/etc/hostname", "/dev/x"), "not a device node"),
        (DeviceNode("/etc", "/etc"), 'custom device "/etc": not a device node'),
        (DeviceNode("/dev/null", "/etc/x"), "only below /dev"),
        (DeviceNode("/dev/null", "/dev/../etc/x"), "only below /dev"),
        (DeviceNode("/dev/null", "/dev/fd/x"), "only below /dev"),
        (DeviceNode("/dev/null", "/dev/zero/x"), "only below /dev"),
    ],
)
def test_wrong_devices_are_refused_and_leave_nothing(machine: Any, device: DeviceNode, sentence: str) -> None:
    async def body(supervisor: Supervisor) -> None:
        spec = machine.spec("true", devices=(device,))
        await supervisor.create(spec)
        with pytest.raises(StartFailed, match=sentence):
            await supervisor.start(spec.id)
        assert not [folder for folder in machine.cgroup_folders() if folder.endswith(spec.id[:12])]

    machine.run(body)
