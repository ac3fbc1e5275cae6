"""Pull and push through a node, by both programs, against the lab's registry; a service whose image no node has."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.processes import Killing
from lab.records import gateway_folder, read_process
from tests.driver import MANAGER, OWN_SUBNET, WORKER1, Lab, client_home, until
from tests.node.registry_world import HTPASSWD, PASSWORD, USER

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


@pytest.fixture
def strict_registry(with_registry: Lab, tmp_path: Path) -> Iterator[str]:
    """In the place of the lab's registry: one that asks for a name and a password."""
    process = read_process(gateway_folder(with_registry.name), "registry")
    assert process is not None
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    (tmp_path / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\nhttp: {{addr: {HOST}}}\n"
        f"auth: {{htpasswd: {{realm: tests, path: {tmp_path}/htpasswd}}}}\n"
    )
    with open(f"/proc/{process.pid}/ns/net") as namespace, open(tmp_path / "log", "wb") as log:
        with Killing((process.pid,)) as killing:
            assert killing.wait(10), "it has the port until it is gone"
        argv = ["nsenter", f"--net=/proc/self/fd/{namespace.fileno()}", "docker-registry", "serve", str(tmp_path / "config.yml")]
        with subprocess.Popen(argv, pass_fds=(namespace.fileno(),), stdout=log, stderr=log) as serving:
            try:
                assert until(lambda: with_registry.on(MANAGER, "bash", "-c", ": </dev/tcp/" + HOST.replace(":", "/")).returncode == 0)
                yield HOST
            finally:
                serving.kill()


def test_nodes_pull_with_what_a_services_user_has_logged_in_with(with_registry: Lab, strict_registry: str, program: str, tmp_path: Path) -> None:
    """The image is kept by its digest; without --with-registry-auth the nodes have no password, and nobody else is shown it."""
    lab, name = with_registry, f"{strict_registry}/team/box:1"
    own = ("env", f"DOCKER_CONFIG={client_home(tmp_path / 'home')}", program)
    refused = lab.on(MANAGER, *own, "login", "-u", USER, "-p", "wrong", strict_registry)
    assert refused.returncode == 1
    assert f"login attempt to http://{HOST}/v2/ failed with status: 401 Unauthorized" in refused.stderr
    assert "Login Succeeded" in lab.ok(MANAGER, *own, "login", "-u", USER, "-p", PASSWORD, strict_registry)
    lab.ok(MANAGER, *own, "tag", "busybox", name)
    pushed = lab.ok(MANAGER, *own, "push", name)
    digest = pushed.split("digest: ")[1].split()[0]
    for node in (MANAGER, WORKER1):
        lab.ok(node, "festoon", "rmi", "-f", *((name,) if node == MANAGER else ()), "busybox")

    create = (*own, "service", "create", "-d", "--mode", "global", "--restart-condition", "none")
    without = lab.ok(MANAGER, *create, "--name", "without", "--no-resolve-image", name, "sleep", "1000")
    assert without
    assert until(lambda: f"No such image: {name}" in lab.ok(MANAGER, "festoon", "service", "ps", "--no-trunc", "without"))
    lab.ok(MANAGER, *create, "--name", "with", "--with-registry-auth", name, "sleep", "1000")
    assert until(lambda: len(lab.running(program, "with")) == 2), lab.ok(MANAGER, program, "service", "ps", "--no-trunc", "with")
    shown = lab.ok(MANAGER, program, "service", "inspect", "with")
    assert f'"Image": "{name}@{digest}"' in shown
    assert PASSWORD not in shown
    assert "auth" not in shown.lower()
