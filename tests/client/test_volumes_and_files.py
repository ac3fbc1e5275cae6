"""Volumes, cp, diff, export, commit and save, driven from outside by both programs."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.driver import MANAGER, Lab


@pytest.fixture
def box(lab: Lab, program: str) -> Iterator[str]:
    """A running container with something written and a volume; removed with its anonymous volumes."""
    name = f"files-{program}"
    script = "mkdir -p /d/e; echo one > /d/one; ln -s one /d/link; ln -s /etc /d/out; rm /etc/group; touch /ready; sleep 1000"
    lab.ok(MANAGER, "docker", "run", "-d", "--name", name, "-v", f"vol-{program}:/data", "-v", "/anon", "busybox", "sh", "-c", script)
    lab.ok(MANAGER, "docker", "exec", name, "sh", "-c", "while [ ! -e /ready ]; do :; done")
    try:
        yield name
    finally:
        lab.on(MANAGER, "docker", "rm", "-fv", name)
        lab.on(MANAGER, "docker", "volume", "rm", f"vol-{program}")


def test_a_volume_keeps_what_was_written_and_is_not_removed_in_use(lab: Lab, program: str, box: str) -> None:
    volume = f"vol-{program}"
    lab.ok(MANAGER, "docker", "exec", box, "sh", "-c", "echo kept > /data/f")
    assert volume in lab.ok(MANAGER, program, "volume", "ls", "-q").split()
    refused = lab.on(MANAGER, program, "volume", "rm", volume)
    assert refused.returncode == 1
    assert f"remove {volume}: volume is in use - [" in refused.stderr
    assert lab.ok(MANAGER, "docker", "run", "--rm", "-v", f"{volume}:/x:ro", "busybox", "cat", "/x/f") == "kept\n"
    lab.ok(MANAGER, program, "rm", "-fv", box)
    assert lab.ok(MANAGER, program, "volume", "rm", volume) == f"{volume}\n"
    again = lab.on(MANAGER, program, "volume", "rm", volume)
    assert f"get {volume}: no such volume" in again.stderr or again.stderr == f"Error: No such volume: {volume}\n", "the second: clients before 23.0"


def test_a_sparse_file_of_an_archive_stays_sparse(lab: Lab, program: str, box: str, tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.seek(50_000_000)
        file.write(b"end")
    lab.ok(MANAGER, "sh", "-c", f"tar --sparse -C {tmp_path} -cf - big | {program} cp - {box}:/d")
    size, blocks = map(int, lab.ok(MANAGER, program, "exec", box, "stat", "-c", "%s %b", "/d/big").split())
    assert size == 50_000_003
    assert blocks * 512 < 1_000_000
    assert lab.ok(MANAGER, program, "exec", box, "tail", "-c", "3", "/d/big") == "end"


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_files_go_in_and_out(lab: Lab, program: str, box: str, tmp_path: Path, stopped: bool) -> None:
    if stopped:
        lab.ok(MANAGER, "docker", "stop", "-t", "0", box)
    lab.ok(MANAGER, program, "cp", f"{box}:/d", str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "one").read_text() == "one\n"
    assert (tmp_path / "copy" / "link").readlink() == Path("one")
    for target in ("contents", "contents"):  # made, then there
        lab.ok(MANAGER, program, "cp", f"{box}:/d/.", str(tmp_path / target))
        assert {path.name for path in (tmp_path / target).iterdir()} == {path.name for path in (tmp_path / "copy").iterdir()}
    lab.ok(MANAGER, program, "cp", f"{box}:/", str(tmp_path / "whole"))
    assert (tmp_path / "whole/d/one").read_text() == "one\n"
    for words, sentence in (
        ((f"{box}:/d/one", f"{tmp_path}/copy/one/x"), f"stat {tmp_path}/copy/one/x: not a directory"),
        ((f"{box}:/d/one", f"{tmp_path}/none/x/"), f'invalid output path: directory "{tmp_path}/none" does not exist'),
        ((f"{box}:/d/one", f"{tmp_path}/none/"), "no such directory"),
        ((f"{box}:", f"{tmp_path}/none"), "pathcannot be empty"),
        ((f"{tmp_path}/copy/one", f"{box}:"), "no such directory"),
        ((f"{tmp_path}/copy/one", f"{box}:/d/one/"), "no such directory"),
        ((f"{tmp_path}/copy/one", f"{box}:/d/one/x"), "extraction point is not a directory"),
    ):
        refused = lab.on(MANAGER, program, "cp", *words)
        assert (refused.returncode, sentence in refused.stderr) == (1, True), refused
    lab.ok(MANAGER, program, "cp", "-L", f"{box}:/d/link", str(tmp_path / "followed"))
    assert (tmp_path / "followed").read_text() == "one\n"
    (tmp_path / "in").write_text("in\n")
    lab.ok(MANAGER, program, "cp", str(tmp_path / "in"), f"{box}:/data")
    lab.ok(MANAGER, program, "cp", f"{box}:/data/in", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "in\n"
    missing = lab.on(MANAGER, program, "cp", f"{box}:/nosuch", str(tmp_path / "x"))
    assert missing.returncode == 1
    assert any(words in missing.stderr for words in (f"Could not find the file /nosuch in container {box}", f"No such container:path: {box}:/nosuch")), missing
    nowhere = lab.on(MANAGER, program, "cp", str(tmp_path / "in"), f"{box}:/nosuchdir/in")
    assert "Could not find the file /nosuchdir in container" in nowhere.stderr or "No such container:path:" in nowhere.stderr


def test_links_are_followed_at_the_ends_of_a_copy_where_docker_follows_them(lab: Lab, program: str, box: str, tmp_path: Path) -> None:
    def cp(*words: str) -> str:
        done = lab.on(MANAGER, "sh", "-c", 'cd "$0" && exec "$@"', str(tmp_path), program, "cp", *words)
        return done.stderr if done.returncode else ""

    (tmp_path / "real").mkdir()
    (tmp_path / "real/f").write_text("host")
    for name, target in (("to-real", "real"), ("to-file", "file"), ("to-new", "new"), ("nowhere", "gone/x")):
        (tmp_path / name).symlink_to(target)
    assert cp(f"{box}:/d/one", "to-real") == cp(f"{box}:/d/one", "to-file") == cp(f"{box}:/d/e", "to-new") == ""
    assert [(tmp_path / name).is_symlink() for name in ("to-real", "to-file", "to-new")] == [True] * 3
    assert (tmp_path / "real/one").read_text() == (tmp_path / "file").read_text() == "one\n"
    assert (tmp_path / "new").is_dir()
    assert cp("-L", f"{box}:/d/link", "real") == ""
    assert (tmp_path / "real/link").read_text() == "one\n", "called as it was asked for"
    assert cp("to-real/", f"{box}:/d/e") == cp("-L", "to-real", f"{box}:/d") == ""
    assert lab.ok(MANAGER, program, "exec", box, "cat", "/d/e/to-real/f", "/d/to-real/f") == "hosthost"
    assert cp("-L", "nowhere", f"{box}:/d") == f"lstat {tmp_path}/gone: no such file or directory\n"


def test_a_copy_takes_the_place_of_no_device(lab: Lab, program: str, box: str, tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    refused = lab.on(MANAGER, program, "cp", f"{box}:/d/one", str(tmp_path / "null"))
    assert (refused.returncode, refused.stderr) == (
        1, f'invalid output path: "{tmp_path}/null" must be a directory or a regular file: got a device\n'
    )  # fmt: skip
    assert (tmp_path / "null").is_char_device()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("", "box:/x"), "source can not be empty"),
        (("box:/x", ""), "destination can not be empty"),
        (("/etc/hostname/", "{box}:/x"), "not a directory"),
        (("{box}:/d/one", "/nosuch/x"), 'invalid output path: directory "/nosuch" does not exist'),
        (("{box}:/d/one", "/etc/hostname/"), "stat /etc/hostname/: not a directory"),
        (("{box}:/d", "/etc/hostname"), "cannot copy directory"),
    ],
)
def test_what_can_not_be_copied(lab: Lab, program: str, box: str, words: tuple[str, ...], sentence: str) -> None:
    done = lab.on(MANAGER, program, "cp", *(word.format(box=box) for word in words))
    assert (done.returncode, done.stderr.strip()) == (1, sentence)


def test_an_archive_keeps_its_owners_where_the_container_has_no_user_of_its_own(lab: Lab, program: str, box: str, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    os.chown(tmp_path / "f", 7, 8)
    lab.ok(MANAGER, program, "cp", "-a", str(tmp_path / "f"), f"{box}:/d/f")
    assert lab.ok(MANAGER, program, "exec", box, "stat", "-c", "%u %g", "/d/f") == "7 8\n"


def test_a_working_folder_is_there_before_the_first_start(lab: Lab, program: str, tmp_path: Path) -> None:
    name = f"folder-{program}"
    lab.ok(MANAGER, program, "create", "--name", name, "-w", "/home/new/deep", "busybox", "stat", "-c", "%a %u", "/home/new/deep")
    try:
        lab.ok(MANAGER, program, "cp", f"{name}:/home/new", str(tmp_path))
        assert (tmp_path / "new/deep").is_dir()
        assert lab.ok(MANAGER, program, "diff", name) == "C /home\nA /home/new\nA /home/new/deep\n"
        assert lab.ok(MANAGER, program, "start", "-a", name) == "755 0\n"
    finally:
        lab.on(MANAGER, program, "rm", "-f", name)


def test_diff_export_and_commit(lab: Lab, program: str, box: str) -> None:
    changes = set(lab.ok(MANAGER, program, "diff", box).splitlines())
    assert {"A /d", "A /d/one", "C /etc", "D /etc/group"} <= changes
    assert not any(line.endswith(("/etc/hosts", "/proc", "/dev")) for line in changes)
    image = f"made-{program}:1"
    lab.ok(MANAGER, program, "commit", "-m", "note", "--change", 'CMD ["cat","/d/one"]', box, image)
    try:
        assert lab.ok(MANAGER, "docker", "run", "--rm", image) == "one\n"
        gone = lab.on(MANAGER, "docker", "run", "--rm", image, "ls", "/etc/group")
        assert "No such file or directory" in gone.stderr
        assert lab.ok(MANAGER, program, "history", "--format", "{{.Comment}}", image).splitlines()[0] == "note"
    finally:
        lab.on(MANAGER, program, "rmi", image)


def test_an_archive_in_a_file_is_for_its_owner_alone(lab: Lab, program: str, box: str, tmp_path: Path) -> None:
    lab.ok(MANAGER, program, "export", "-o", str(tmp_path / "export.tar"), box)
    lab.ok(MANAGER, program, "save", "-o", str(tmp_path / "save.tar"), "busybox")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_link_in_the_container_leads_nowhere_outside(lab: Lab, program: str, box: str, tmp_path: Path) -> None:
    """/d/out -> /etc: what is written through it must land in the container."""
    before = set(Path("/etc").iterdir())
    (tmp_path / "planted").write_text("x")
    lab.ok(MANAGER, program, "cp", str(tmp_path / "planted"), f"{box}:/d/out/planted")
    assert set(Path("/etc").iterdir()) == before
    assert lab.ok(MANAGER, "docker", "exec", box, "cat", "/etc/planted") == "x"


def hostile(*members: tuple[str, bytes, str]) -> bytes:
    """A tar of (name, type, link or content)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
            else:
                info.linkname = text
                tar.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        hostile(("../../../../../../../../tmp/escaped-by-cp", tarfile.REGTYPE, "x")),
        hostile(("l", tarfile.SYMTYPE, "../../../../../../../../tmp"), ("l/escaped-by-cp", tarfile.REGTYPE, "x")),
        hostile(("h", tarfile.LNKTYPE, "../../../../../../../../etc/hostname")),
        hostile(("p", tarfile.SYMTYPE, "/proc/1/root"), ("p/tmp/escaped-by-cp", tarfile.REGTYPE, "x")),
    ],
    ids=["dots", "link", "hard link", "link of /proc"],
)
def test_hostile_archives_stay_inside(lab: Lab, program: str, box: str, tmp_path: Path, archive: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(archive)
    lab.on(MANAGER, "sh", "-c", f"{program} cp - {box}:/d < {tmp_path}/a.tar")
    assert not Path("/tmp/escaped-by-cp").exists()
    assert lab.on(MANAGER, "ls", "/tmp/escaped-by-cp").returncode != 0
    assert lab.ok(MANAGER, program, "cp", f"{box}:/d/one", "-")  # and it still works


def test_saved_images_are_read_by_skopeo_and_come_back(lab: Lab, program: str, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo")
    archive, packed = tmp_path / "s.tar", tmp_path / "z.tar"
    lab.ok(MANAGER, program, "tag", "busybox", f"saved-{program}:1")
    lab.ok(MANAGER, program, "save", "-o", str(archive), f"saved-{program}:1")
    assert json.loads(lab.ok(MANAGER, "skopeo", "inspect", f"docker-archive:{archive}"))["Os"] == "linux"
    lab.ok(MANAGER, "skopeo", "copy", "-q", "--dest-compress", "--dest-compress-format", "zstd", f"oci-archive:{archive}:1", f"oci-archive:{packed}")
    lab.ok(MANAGER, program, "rmi", f"saved-{program}:1")
    assert f"Loaded image: saved-{program}:1" in lab.ok(MANAGER, program, "load", "-i", str(archive))
    assert "Loaded image" in lab.ok(MANAGER, program, "load", "-i", str(packed))
    lab.ok(MANAGER, program, "rmi", f"saved-{program}:1")


def test_cp_sees_the_container_s_layer_its_volumes_and_its_names_and_nothing_else_that_is_mounted(lab: Lab, program: str, tmp_path: Path) -> None:
    """As in Docker: what stands below /proc, /dev and a tmpfs is the layer's."""
    name = f"mounted-{program}"
    script = "echo seen > /v/in; echo hidden > /t/in; touch /ready; sleep 1000"
    lab.ok(MANAGER, "docker", "run", "-d", "--name", name, "--tmpfs", "/t", "-v", f"vol-{name}:/v", "busybox", "sh", "-c", script)
    try:
        lab.ok(MANAGER, "docker", "exec", name, "sh", "-c", "while [ ! -e /ready ]; do :; done")
        for path in ("/t/in", "/proc/version", "/dev/null"):
            missing = lab.on(MANAGER, program, "cp", f"{name}:{path}", str(tmp_path / "x"))
            assert missing.returncode == 1
            assert f"Could not find the file {path} in container {name}" in missing.stderr
        lab.ok(MANAGER, program, "cp", f"{name}:/v/in", str(tmp_path / "in"))
        assert (tmp_path / "in").read_text() == "seen\n"
        lab.ok(MANAGER, program, "cp", str(tmp_path / "in"), f"{name}:/t/copied")
        assert lab.ok(MANAGER, "docker", "exec", name, "ls", "/t") == "in\n"
        lab.ok(MANAGER, program, "cp", f"{name}:/t/copied", str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == "seen\n"
        for state in ("running", "stopped"):
            lab.ok(MANAGER, program, "cp", f"{name}:/etc/hostname", str(tmp_path / state))
            assert (tmp_path / state).read_text() == lab.ok(MANAGER, "docker", "inspect", "--format", "{{.Config.Hostname}}", name)
            lab.ok(MANAGER, "docker", "stop", "-t", "0", name)
    finally:
        lab.on(MANAGER, "docker", "rm", "-fv", name)
        lab.on(MANAGER, "docker", "volume", "rm", f"vol-{name}")


def test_a_folder_of_a_volume_takes_what_the_image_has_there(lab: Lab, program: str) -> None:
    name = f"filled-{program}"
    try:
        lab.ok(MANAGER, program, "run", "--rm", "-v", f"{name}:/v", "busybox", "mkdir", "/v/tools")
        mount = f"type=volume,src={name},dst=/bin,volume-subpath=tools"
        assert lab.ok(MANAGER, program, "run", "--rm", "--mount", mount, "busybox", "ls", "/bin/busybox") == "/bin/busybox\n"
        assert "/v/tools/busybox" in lab.ok(MANAGER, program, "run", "--rm", "-v", f"{name}:/v", "busybox", "find", "/v")
    finally:
        lab.on(MANAGER, program, "volume", "rm", name)


def test_of_a_tmpfs_s_options_the_last_word_counts_and_it_may_be_shared(lab: Lab, program: str) -> None:
    words = ("--tmpfs", "/t:exec,size=8m,size=4m,noexec,shared", "busybox", "grep", " /t ", "/proc/self/mountinfo")
    line = lab.ok(MANAGER, program, "run", "--rm", *words)
    assert {"noexec", "shared:"} <= {word.rstrip("0123456789") for word in line.replace(",", " ").split()}
    assert "size=4096k" in line


def test_mounts_below_a_bind_go_both_ways_one_way_or_none(lab: Lab, program: str) -> None:
    """What is mounted in a container appears on the host from a shared bind only; what the host mounts appears in shared and slave ones."""
    place, name = f"/run/propagation-{program}", f"propagation-{program}"
    lab.ok(MANAGER, "sh", "-c", f"mkdir -p {place} && mount -t tmpfs none {place} && mount --make-shared {place}")
    binds = [part for mode in ("rshared", "rslave", "rprivate") for part in ("-v", f"{place}:/{mode}:{mode}")]
    binds += ["--mount", f"type=bind,src={place},dst=/shared,bind-propagation=shared"]
    try:
        lab.ok(MANAGER, program, "run", "-d", "--privileged", "--name", name, *binds, "busybox", "sleep", "1000")
        for mode in ("rshared", "rslave", "rprivate", "shared"):
            lab.ok(MANAGER, program, "exec", name, "sh", "-c", f"mkdir -p /{mode}/of-{mode} && mount -t tmpfs none /{mode}/of-{mode}")
        lab.ok(MANAGER, "sh", "-c", f"mkdir {place}/of-host && mount -t tmpfs none {place}/of-host")
        on_host = [line.split()[1] for line in lab.ok(MANAGER, "cat", "/proc/mounts").splitlines()]
        assert sorted(point for point in on_host if point.startswith(f"{place}/")) == [f"{place}/of-{who}" for who in ("host", "rshared", "shared")]
        inside = [line.split()[1] for line in lab.ok(MANAGER, program, "exec", name, "cat", "/proc/mounts").splitlines()]
        assert sorted(point for point in inside if point.endswith("/of-host")) == ["/rshared/of-host", "/rslave/of-host", "/shared/of-host"]
        lab.ok(MANAGER, program, "rm", "-f", name)
        assert f"{place}/of-rshared" in lab.ok(MANAGER, "cat", "/proc/mounts"), "what a container mounted on the host outlives it, as Docker's does"
    finally:
        lab.on(MANAGER, program, "rm", "-f", name)
        lab.on(MANAGER, "umount", "-R", place)
