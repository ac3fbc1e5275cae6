"""Volumes whose options name a file system: mounted once and shared while in use, taken away afterwards, never emptied with the volume."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.driver import MANAGER, Lab


@pytest.fixture
def volume(lab: Lab, program: str) -> Iterator[str]:
    name = f"fs-{program}"
    yield name
    lab.on(MANAGER, program, "rm", "-f", f"{name}-box")
    lab.on(MANAGER, program, "volume", "rm", "-f", name)


def mounted(lab: Lab, name: str) -> int:
    return int(lab.on(MANAGER, "sh", "-c", f"grep -c '/volumes/{name}/_data' /proc/self/mountinfo").stdout)


def test_a_tmpfs_is_one_for_all_its_containers_and_goes_with_the_last(lab: Lab, program: str, volume: str) -> None:
    lab.ok(MANAGER, program, "volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m,uid=7", volume)
    lab.ok(MANAGER, program, "run", "-d", "--name", f"{volume}-box", "-v", f"{volume}:/a", "busybox", "sh", "-c", "echo shared > /a/f; sleep 1000")
    show = "until test -s /b/f; do sleep 0.05; done; cat /b/f; df -k /b | tail -1 | awk '{print $2}'; stat -c %u /b"
    assert lab.ok(MANAGER, program, "run", "--rm", "-v", f"{volume}:/b", "busybox", "timeout", "10", "sh", "-c", show).split() == ["shared", "1024", "7"]
    assert mounted(lab, volume) == 1
    lab.ok(MANAGER, program, "rm", "-f", f"{volume}-box")
    assert mounted(lab, volume) == 0
    assert lab.ok(MANAGER, program, "run", "--rm", "-v", f"{volume}:/b", "busybox", "ls", "/b") == ""


def test_a_bound_folder_outlives_its_volume(lab: Lab, program: str, volume: str) -> None:
    folder = f"/tmp/{volume}"
    lab.ok(MANAGER, "sh", "-c", f"mkdir -p {folder}; echo kept > {folder}/f")
    lab.ok(MANAGER, program, "volume", "create", "--opt", "type=none", "--opt", f"device={folder}", "--opt", "o=bind,ro", volume)
    assert lab.ok(MANAGER, program, "run", "--rm", "-v", f"{volume}:/b", "busybox", "cat", "/b/f") == "kept\n"
    written = lab.on(MANAGER, program, "run", "--rm", "-v", f"{volume}:/b", "busybox", "touch", "/b/g")
    assert "Read-only file system" in written.stderr
    assert mounted(lab, volume) == 0
    lab.ok(MANAGER, program, "volume", "rm", volume)
    assert lab.ok(MANAGER, "cat", f"{folder}/f") == "kept\n"
    lab.ok(MANAGER, "rm", "-r", folder)


def test_a_prune_leaves_what_may_be_elsewhere(lab: Lab, program: str, volume: str) -> None:
    options = ("--opt", "type=tmpfs", "--opt", "device=tmpfs")
    for name, more in ((volume, options), (f"{volume}-plain", ())):
        lab.ok(MANAGER, program, "volume", "create", "--label", volume, *more, name)
    gone = lab.ok(MANAGER, program, "volume", "prune", "-fa", "--filter", f"label={volume}")
    assert [line for line in gone.splitlines() if volume in line] == [f"{volume}-plain"]


def test_what_can_not_be_mounted_is_said_when_it_is_used(lab: Lab, program: str, volume: str) -> None:
    lab.ok(MANAGER, program, "volume", "create", "--opt", "type=none", "--opt", "device=/nosuch", "--opt", "o=bind", volume)
    done = lab.on(MANAGER, program, "run", "--rm", "-v", f"{volume}:/b", "busybox", "true")
    assert done.returncode == 127
    assert "failed to mount local volume: mount /nosuch:" in done.stderr
    assert "flags: 0x1000: no such file or directory" in done.stderr
    lab.ok(MANAGER, program, "volume", "rm", volume)
