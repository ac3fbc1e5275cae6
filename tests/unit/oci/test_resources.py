"""linux.resources to control files and device rules."""

from __future__ import annotations

import pytest

from runtime.cgroups.limits import DEFAULT_DEVICES
from runtime.child.faults import Refused
from runtime.oci.resources import allowed_devices, device_rules, settings


def files(resources: dict[str, object], *, unified: bool) -> list[tuple[str, str]]:
    return [(setting.file, setting.value) for setting in settings(resources, unified=unified)]


def test_memory_before_memory_and_swap_on_v1() -> None:
    found = files({"memory": {"limit": 10, "swap": 20}}, unified=False)
    assert found == [("memory.limit_in_bytes", "10"), ("memory.memsw.limit_in_bytes", "20")]


def test_v2_counts_swap_alone() -> None:
    assert files({"memory": {"limit": 10, "swap": 25}}, unified=True) == [("memory.swap.max", "15"), ("memory.max", "10")]


def test_no_limit_on_processes() -> None:
    assert files({"pids": {"limit": -1}}, unified=False) == [("pids.max", "max")]


def test_cpu_on_v2() -> None:
    assert files({"cpu": {"quota": 50000, "period": 100000, "cpus": "0"}}, unified=True) == [("cpu.max", "50000 100000"), ("cpuset.cpus", "0")]


def test_unified_files_need_v2() -> None:
    with pytest.raises(Refused, match="cgroup v2"):
        settings({"unified": {"memory.high": "1"}}, unified=False)
    with pytest.raises(Refused, match="no control file"):
        settings({"unified": {"../memory.high": "1"}}, unified=True)


def test_denying_all_leaves_the_default_devices() -> None:
    rules = device_rules({"devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rw"}]})
    assert rules[:2] == ((False, "a"), (True, "c 10:200 rw"))
    assert [rule for _, rule in rules[2:]] == list(DEFAULT_DEVICES)


def test_no_rules_no_files() -> None:
    assert device_rules({}) == ()


def test_the_allowed_devices_of_v2() -> None:
    assert allowed_devices(((False, "a"), (True, "c 1:3 rwm"))) == ("c 1:3 rwm",)
    assert allowed_devices(((True, "a"),)) == ("a",)
    with pytest.raises(Refused, match="excepted"):
        allowed_devices(((True, "a"), (False, "c 1:3 rwm")))
