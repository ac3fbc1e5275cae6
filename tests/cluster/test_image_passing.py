"""An image that one node has reaches every node whose tasks need it, without a registry, and no other node."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

from tests.driver import MANAGER, WORKER1, WORKER2, Lab, until

BUSYBOX = Path("/bin/busybox")
NAME = "only-here:1"


def archive(path: Path) -> Path:
    """A file system's tar: busybox, and enough that does not compress to need many pieces."""
    with tarfile.open(path, "w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for name in ("bin/sh", "bin/sleep"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        ballast = tarfile.TarInfo("ballast")
        ballast.size = 8_000_000
        tar.addfile(ballast, io.BytesIO(os.urandom(ballast.size)))
    return path


def image_id(lab: Lab, node: str) -> str:
    found = lab.on(node, "festoon", "image", "inspect", "--format", "{{.Id}}", NAME)
    return found.stdout.strip() if found.returncode == 0 else ""


def test_an_image_of_one_node_runs_on_every_node(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    lab = make_lab("passing", "--swarm")
    lab.ok(WORKER1, "festoon", "import", str(archive(tmp_path / "fs.tar")), NAME)
    first = image_id(lab, WORKER1)
    assert image_id(lab, MANAGER) == ""

    words = ("--constraint", "node.hostname!=swarm-worker2", "--mode", "global", NAME, "sleep", "100000")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "-q", "--name", "near", *words)
    assert until(lambda: lab.running("festoon", "near") and image_id(lab, MANAGER) == first)
    assert image_id(lab, WORKER2) == "", "none of its tasks needs it"

    lab.ok(MANAGER, "festoon", "service", "update", "-d", "-q", "--constraint-rm", "node.hostname!=swarm-worker2", "near")
    assert until(lambda: image_id(lab, WORKER2) == first)
    size = lab.ok(WORKER2, "festoon", "run", "--rm", NAME, "/bin/busybox", "stat", "-c", "%s", "/ballast")
    assert size.strip() == "8000000"


def test_what_no_node_has_is_refused_in_dockers_words(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("passing", "--swarm")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "-q", "--name", "never", "--restart-condition", "none", "nobody-has:1")
    assert until(lambda: "No such image: nobody-has:1" in lab.ok(MANAGER, "festoon", "service", "ps", "--no-trunc", "never"))
