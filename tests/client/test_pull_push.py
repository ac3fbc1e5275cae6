"""Pull and push through a node, by both programs, against the lab's registry; a service whose image no node has."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.driver import MANAGER, OWN_SUBNET, WORKER1, Lab, until

pytestmark = pytest.mark.skipif(shutil.which("docker-registry") is None, reason="Debian's docker-registry is not installed: ./check installs it")
HOST = f"{OWN_SUBNET}.1:5000"


@pytest.fixture
def with_registry(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab("registry", "--nodes", "2", "--swarm", "--registry")


def test_pushed_pulled_and_run_by_a_service(with_registry: Lab, program: str) -> None:
    lab, name = with_registry, f"{HOST}/team/box:1"
    lab.ok(MANAGER, program, "tag", "busybox", name)
    pushed = lab.ok(MANAGER, program, "push", name)
    assert pushed.startswith(f"The push refers to repository [{HOST}/team/box]\n")
    assert ": Pushed\n" in pushed
    assert ": Layer already exists\n" in lab.ok(MANAGER, program, "push", name)

    lab.ok(WORKER1, program, "image", "rm", "busybox")  # else it has the image already
    pulled = lab.ok(WORKER1, program, "pull", name).splitlines()
    assert pulled[0] == "1: Pulling from team/box"
    assert pulled[-2:] == [f"Status: Downloaded newer image for {name}", name]
    digest = next(line for line in pulled if line.startswith("Digest: ")).removeprefix("Digest: ")
    assert f"1: digest: {digest} size: " in pushed
    assert lab.ok(WORKER1, program, "pull", name).splitlines()[-2] == f"Status: Image is up to date for {name}"
    assert lab.ok(WORKER1, program, "pull", "-q", name) == f"{name}\n"

    lab.ok(MANAGER, program, "tag", "busybox", f"{HOST}/other:2")
    lab.ok(MANAGER, program, "push", "-q", f"{HOST}/other:2")
    lab.ok(MANAGER, program, "service", "create", "-d", "--name", "far", "--mode", "global", f"{HOST}/other:2", "sleep", "1000")
    assert until(lambda: len(lab.running(program, "far")) == 2), lab.ok(MANAGER, program, "service", "ps", "--no-trunc", "far")


def test_all_tags_are_pulled(with_registry: Lab, program: str) -> None:
    lab, name = with_registry, f"{HOST}/team/many"
    for tag in ("one", "two", "three"):
        lab.ok(MANAGER, program, "tag", "busybox", f"{name}:{tag}")
    lab.ok(MANAGER, program, "push", "-q", "--all-tags", name)
    pulled = lab.ok(WORKER1, program, "pull", "--all-tags", name).splitlines()
    assert {line for line in pulled if "Pulling from" in line} == {f"{tag}: Pulling from team/many" for tag in ("one", "three", "two")}
    assert pulled[-1] == name
    tags = lab.ok(WORKER1, program, "images", "--format", "{{.Tag}}", name).split()
    assert sorted(tags) == ["one", "three", "two"]
    refused = lab.on(WORKER1, program, "pull", "--all-tags", f"{name}:one")
    assert (refused.returncode, refused.stderr.strip()) == (1, "tag can't be used with --all-tags/-a")


def test_what_can_not_be_had_is_said_in_dockers_words(with_registry: Lab, program: str) -> None:
    lab = with_registry
    for arguments, sentence in (
        (("pull", f"{HOST}/nosuch:1"), f"Error response from daemon: manifest for {HOST}/nosuch:1 not found: manifest unknown: manifest unknown"),
        (("push", f"{HOST}/nosuch:1"), f"An image does not exist locally with the tag: {HOST}/nosuch"),
        (("pull", "127.0.0.1:1/x:1"), 'Error response from daemon: Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused'),
        (("pull", "bad name"), "invalid reference format"),
    ):
        done = lab.on(MANAGER, program, *arguments)
        assert (done.returncode, done.stderr.strip()) == (1, sentence)
    refused = lab.on(MANAGER, program, "pull", "nosuchimage:1")
    assert refused.returncode == 1
    assert 'Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io' in refused.stderr
