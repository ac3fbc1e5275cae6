"""Services that ask for devices, capabilities and privileges: given by our flags, kept when Docker's own client rewrites the spec."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cluster.test_health import box_of
from tests.driver import MANAGER, Lab, until

SHOW = "grep -E 'CapEff|NoNewPrivs' /proc/1/status; ls -l /dev/xnull | cut -c1; df -k /dev/shm | tail -1; cat /proc/1/oom_score_adj; id -G"


def api_version(lab: Lab) -> tuple[int, int]:
    """The newest that the docker client knows."""
    major, minor = lab.ok(MANAGER, "docker", "version", "--format", "{{.Client.DefaultAPIVersion}}").strip().split(".")
    return int(major), int(minor)


def test_a_service_gets_devices_and_rights_and_keeps_them(make_lab: Callable[..., Lab], program: str) -> None:
    lab = make_lab("rights", "--nodes", "1", "--swarm")
    words = ("--device", "/dev/null:/dev/xnull", "--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--shm-size", "8m", "--security-opt", "no-new-privileges",
             "--oom-score-adj", "300", "--group", "50", "busybox", "sleep", "100000")  # fmt: skip
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "-q", "--name", "rights", *words)
    assert until(lambda: lab.running("festoon", "rights"))
    seen = lab.ok(MANAGER, "festoon", "exec", box_of(lab, "rights"), "sh", "-c", SHOW)
    assert "CapEff:\t0000000000001000" in seen
    assert "NoNewPrivs:\t1\nc\n" in seen
    assert seen.split()[-1] == "50"
    assert " 8192 " in " ".join(seen.split())
    assert "\n300\n" in seen

    if program == "docker" and api_version(lab) < (1, 46):
        pytest.skip("this docker client is older than no-new-privileges and oom-score-adj of services, and drops them at an update")
    first = box_of(lab, "rights")
    lab.ok(MANAGER, program, "service", "update", "-d", "-q", "--env-add", "A=b", "--stop-grace-period", "1s", "rights")
    assert until(lambda: box_of(lab, "rights") not in ("", first) and lab.running("festoon", "rights"))
    again = lab.ok(MANAGER, "festoon", "exec", box_of(lab, "rights"), "sh", "-c", SHOW)
    assert again == seen


def test_a_privileged_service_and_one_whose_device_is_missing(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("priv", "--nodes", "1", "--swarm")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "-q", "--name", "all", "--privileged", "busybox", "sleep", "100000")
    assert until(lambda: lab.running("festoon", "all"))
    lab.ok(MANAGER, "festoon", "exec", box_of(lab, "all"), "mount", "-t", "tmpfs", "x", "/tmp")
    refused = lab.on(MANAGER, "festoon", "service", "create", "--container-label", "festoon.privileged=perhaps", "busybox")
    assert refused.returncode == 1
    assert "invalid label festoon.privileged=perhaps: must be true or false" in refused.stderr
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "-q", "--name", "none", "--device", "/dev/nosuch", "busybox", "sleep", "1")

    def tasks() -> str:
        return lab.ok(MANAGER, "festoon", "service", "ps", "--no-trunc", "none")

    assert until(lambda: 'gathering device information while adding custom device "/dev/nosuch"' in tasks())


def test_an_unknown_security_option_is_refused_before_anything_is_made(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("opt", "--nodes", "1", "--swarm")
    for option in ("nonsense", "seccomp=/nosuch.json", "label=x"):
        refused = lab.on(MANAGER, "festoon", "service", "create", "--security-opt", option, "busybox")
        assert refused.returncode == 125
        assert refused.stderr
    assert lab.ok(MANAGER, "festoon", "service", "ls", "-q") == ""
