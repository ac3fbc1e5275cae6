"""Images without a registry: import, tag, inspect, load, remove; a missing one is said in Docker's words."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from tests.driver import MANAGER, Lab


def root_archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        program = tarfile.TarInfo("bin/busybox")
        program.mode, data = 0o755, Path("/bin/busybox").read_bytes()
        program.size = len(data)
        tar.addfile(program, io.BytesIO(data))
    return out.getvalue()


def test_import_tag_run_and_remove(lab: Lab, program: str, tmp_path: Path) -> None:
    archive = tmp_path / "root.tar"
    archive.write_bytes(root_archive())
    name = f"mine-{program}"
    created = lab.ok(MANAGER, program, "import", "--change", "CMD [\"/bin/busybox\",\"sleep\",\"1000\"]", str(archive), f"{name}:1")
    assert created.startswith("sha256:")
    lab.ok(MANAGER, program, "tag", f"{name}:1", f"{name}:2")
    rows = {(r["Repository"], r["Tag"]) for r in lab.rows(MANAGER, program, "image", "ls")}
    assert {(name, "1"), (name, "2"), ("busybox", "latest")} <= rows
    assert lab.ok(MANAGER, program, "image", "inspect", "--format", "{{.Os}} {{index .RepoTags 0}}", f"{name}:1") == f"linux {name}:1\n"
    assert lab.ok(MANAGER, program, "inspect", "--format", "{{json .Config}}", f"{name}:1") == '{"Cmd":["/bin/busybox","sleep","1000"]}\n'
    assert lab.ok(MANAGER, program, "image", "rm", f"{name}:2") == f"Untagged: {name}:2\n"
    removed = lab.ok(MANAGER, program, "image", "rm", f"{name}:1")
    assert f"Untagged: {name}:1" in removed
    assert "Deleted: sha256:" in removed
    gone = lab.on(MANAGER, program, "image", "rm", f"{name}:1")
    assert gone.returncode == 1
    assert f"No such image: {name}:1" in gone.stderr


def test_a_container_is_listed_by_its_image_whatever_that_is_called(lab: Lab, program: str) -> None:
    name = f"moving-{program}"
    base = lab.ok(MANAGER, "docker", "image", "inspect", "--format", "{{.Id}}", "busybox").strip()
    lab.ok(MANAGER, program, "tag", "busybox", f"{name}:1")
    try:
        lab.ok(MANAGER, program, "create", "--name", name, f"{name}:1", "touch", "/written")
        lab.ok(MANAGER, program, "start", "-a", name)
        lab.ok(MANAGER, program, "commit", name, f"{name}:child")
        lab.ok(MANAGER, program, "create", "--name", f"{name}-child", f"{name}:child")
        for ancestor, found in (("busybox", {name, f"{name}-child"}), (base, {name, f"{name}-child"}), (f"{name}:child", {f"{name}-child"}), ("nosuch", set())):
            listed = lab.ok(MANAGER, program, "ps", "-a", "--filter", f"ancestor={ancestor}", "--filter", f"name={name}", "--format", "{{.Names}}")
            assert set(listed.split()) == found, ancestor
        lab.ok(MANAGER, program, "tag", f"{name}:child", f"{name}:1")
        shown = lab.ok(MANAGER, program, "ps", "-a", "--no-trunc", "--filter", f"name=^{name}$", "--format", "{{.Image}}")
        assert shown.strip().removeprefix("sha256:") == base.removeprefix("sha256:")
    finally:
        lab.on(MANAGER, program, "rm", "-f", name, f"{name}-child")
        lab.on(MANAGER, program, "rmi", "-f", f"{name}:1", f"{name}:child")


def test_names_and_patterns_that_can_not_be(lab: Lab, program: str) -> None:
    for words, sentence in (
        (("tag", "busybox", "sha256:x"), "refusing to create an ambiguous tag using digest algorithm as name"),
        (("images", "--filter", "reference=["), "syntax error in pattern"),
        (("import", "--platform", "windows", "-"), "operating system is not supported"),
    ):
        done = lab.on(MANAGER, program, *words)
        assert (done.returncode, sentence in done.stderr) == (1, True), done.stderr
    assert lab.ok(MANAGER, program, "images", "-q", "--filter", "until=1h", "--filter", "reference=busybox").strip()


def test_an_image_in_use_stays(lab: Lab, program: str) -> None:
    lab.ok(MANAGER, "docker", "run", "-d", "--name", "user", "busybox", "sleep", "1000")
    try:
        refused = lab.on(MANAGER, program, "image", "rm", "busybox")
        assert refused.returncode == 1
        assert "conflict: unable to remove repository reference" in refused.stderr
    finally:
        lab.on(MANAGER, "festoon", "rm", "-f", "user")


def test_what_is_no_archive_is_refused(lab: Lab, program: str, tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk" * 1000)
    done = lab.on(MANAGER, program, "load", "-i", str(tmp_path / "junk"))
    assert (done.returncode, done.stderr) == (1, "Error processing tar file(exit status 1): archive/tar: invalid tar header\n")
