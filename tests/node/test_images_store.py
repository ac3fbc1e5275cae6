"""The image store: both archive formats, names, removal with Docker's conflicts, and a store that is whole after any
kill.
"""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.model.reference import parse
from runtime.errors import BadImage, ImageInUse, NoSuchImage
from runtime.images.store import ImageStore
from tests.node.image_archives import configuration, digest, docker_archive, entry, oci_layout, tar

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="unpacking layers needs root")
BASE = tar([entry("bin", None), entry("bin/sh", b"shell"), entry("etc/x", b"x")])
TOP = tar([entry("etc/.wh.x"), entry("app", b"app!")])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "images")
    yield opened
    opened.close()


def load(store: ImageStore, data: bytes) -> list[str]:
    return store.load(io.BytesIO(data))


def leftovers(root: Path) -> list[str]:
    return sorted(
        str(p.relative_to(root)) for folder in ("tmp", "blobs/sha256", "layers") for p in (root / folder).iterdir()
    )


def test_an_archive_of_docker_save_is_loaded_with_its_names(store: ImageStore) -> None:
    assert load(store, docker_archive([BASE, TOP], ["busybox:latest", "me/box:1"])) == [
        "Loaded image: busybox:latest",
        "Loaded image: me/box:1",
    ]
    image = store.get("busybox")
    assert image.references == ("busybox:latest", "me/box:1")
    assert image.size_bytes == len(b"shell") + 1 + len(b"app!")
    assert (image.config.cmd, image.config.env) == (("sh",), ("A=b",))
    top, base = store.lower_dirs(image.id)
    assert Path(top, "app").read_text() == "app!"
    assert Path(base, "bin/sh").read_text() == "shell"
    assert store.list() == (image,)


def test_layers_are_unpacked_once_and_shared(store: ImageStore) -> None:
    load(store, docker_archive([BASE], ["a:1"]))
    load(store, gzip.compress(docker_archive([BASE, TOP, TOP], ["b:1"])))
    assert store.lower_dirs(store.get("b:1").id)[2] == store.lower_dirs(store.get("a:1").id)[0]
    store.remove("b:1")
    assert Path(store.lower_dirs(store.get("a:1").id)[0], "bin/sh").exists()


def test_an_oci_layout_is_loaded_for_this_platform(store: ImageStore) -> None:
    data = oci_layout(BASE, "docker.io/library/box:2")
    assert load(store, data) == ["Loaded image: box:2"]
    assert store.get("box:2").id == digest(configuration([BASE]))


def test_an_image_without_a_name_gives_its_id(store: ImageStore) -> None:
    (line,) = load(store, docker_archive([BASE], None))
    assert line == f"Loaded image ID: {store.list()[0].id}"
    assert store.get(store.list()[0].id[7:17]).references == ()


def test_a_name_that_moves_is_told(store: ImageStore) -> None:
    load(store, docker_archive([BASE], ["a:1"]))
    before = store.get("a:1").id
    lines = load(store, docker_archive([TOP], ["a:1"]))
    assert lines[0] == f"The image a:1 already exists, renaming the old one with ID {before} to empty string"
    assert store.get(before).references == ()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (docker_archive([BASE], ["a:1"], configuration([TOP])), "but the image's configuration says"),
        (docker_archive([BASE], ["a:1"], configuration([])), "layers length mismatch"),
        (docker_archive([BASE], ["a:1"], b"{"), "no JSON"),
        (docker_archive([BASE], ["a:1"], b"[]"), "rootfs.diff_ids"),
        (docker_archive([BASE], ["A:1"]), "must be lowercase"),
        (docker_archive([tar([entry("../x", b"x")])], ["a:1"]), "leaves the layer"),
        (oci_layout(BASE, "a:1", wrong_digest=True), "has digest"),
        (tar([entry("../x", b"x")]), "leaves the archive"),
        (tar([entry("manifest.json", b'[{"Config": "c", "Layers": ["../../etc/passwd"]}]')]), "no such file"),
        (tar([entry("c", link="../../../etc/passwd"), entry("manifest.json", b"[]")]), "leaves the archive"),
        (tar([entry("manifest.json", b'{"a": 1}')]), "malformed"),
        (tar([entry("hello", b"")]), "no such file or directory"),
        (b"not a tar at all" * 100, "invalid tar header"),
        (b"", "no such file or directory"),
        (gzip.compress(b"x" * 100000, mtime=0)[:50], "damaged|EOF|invalid tar header"),
        (docker_archive([BASE], ["a:1"])[:3000], "EOF"),
    ],
)
def test_bad_archives_are_refused_and_leave_nothing(store: ImageStore, tmp_path: Path, data: bytes, match: str) -> None:
    from runtime.errors import RuntimeFault

    with pytest.raises(RuntimeFault, match=match):
        load(store, data)
    assert store.list() == ()
    assert leftovers(tmp_path / "images") == []


def test_a_file_system_is_imported_with_changes(store: ImageStore) -> None:
    changes = (
        'CMD ["sh", "-c"]',
        "ENV A=b C='d e'",
        "LABEL x=y",
        "EXPOSE 80",
        "WORKDIR /w",
        "USER 5",
        "ENTRYPOINT run me",
    )
    image_id = store.import_(io.BytesIO(gzip.compress(BASE)), "me/fs", changes, "by hand")
    image = store.get("me/fs")
    assert image.id == image_id
    config = image.config
    assert (config.cmd, config.entrypoint) == (("sh", "-c"), ("/bin/sh", "-c", "run me"))
    assert (config.env, config.labels, config.exposed_ports) == (("A=b", "C=d e"), (("x", "y"),), ("80/tcp",))
    assert (config.working_dir, config.user, image.comment) == ("/w", "5", "by hand")
    with pytest.raises(BadImage, match="run is not a valid change command"):
        store.import_(io.BytesIO(BASE), "x", ("RUN x",))


def test_what_is_not_there_is_told_in_dockers_words(store: ImageStore) -> None:
    for text, shown in (
        ("nope", "nope:latest"),
        ("nope:1", "nope:1"),
        ("sha256:abc", "sha256:abc"),
        ("abc", "abc:latest"),
    ):
        with pytest.raises(NoSuchImage, match=f"^No such image: {shown}$"):
            store.get(text)


def test_tags_come_and_go_and_the_last_takes_the_image_along(store: ImageStore, tmp_path: Path) -> None:
    load(store, docker_archive([BASE, TOP], ["a:1"]))
    image = store.get("a:1")
    store.tag("a:1", "other/name")
    assert store.remove("a:1") == [("Untagged", "a:1")]
    with pytest.raises(NoSuchImage):
        store.get("a:1")
    lines = store.remove("other/name")
    assert lines[:2] == [("Untagged", "other/name:latest"), ("Deleted", image.id)]
    assert [kind for kind, _ in lines[2:]] == ["Deleted", "Deleted"]
    assert leftovers(tmp_path / "images") == []


def test_the_last_tag_of_a_repository_takes_its_digests_along(store: ImageStore, tmp_path: Path) -> None:
    load(store, docker_archive([BASE], ["far.example/a:1", "far.example/a:2", "far.example/b:1"]))
    image = store.get("far.example/a:1")
    a, b = (f"far.example/{name}@sha256:{digit * 64}" for name, digit in (("a", "1"), ("b", "2")))
    for known in (a, b):
        store.add_digest(parse(known), image.id)
    assert store.remove("far.example/a:2") == [("Untagged", "far.example/a:2")]
    assert store.remove("far.example/a:1") == [("Untagged", "far.example/a:1"), ("Untagged", a)]
    assert store.get(image.id).repo_digests == (b,)
    container = "c" * 64
    with pytest.raises(ImageInUse, match=r"unable to remove repository reference"):
        store.remove("far.example/b:1", used_by=lambda _: container)
    assert store.remove(image.id)[:3] == [("Untagged", "far.example/b:1"), ("Untagged", b), ("Deleted", image.id)]
    assert leftovers(tmp_path / "images") == []


def test_removal_of_an_image_in_use_is_refused_as_docker_does(store: ImageStore, tmp_path: Path) -> None:
    load(store, docker_archive([BASE], ["a:1", "b:1"]))
    image = store.get("a:1")
    container = "c" * 64
    with pytest.raises(
        ImageInUse, match=r"unable to delete \w{12} \(must be forced\) - image is referenced in multiple repositories"
    ):
        store.remove(image.id)
    store.remove("b:1", used_by=lambda _: container)
    with pytest.raises(ImageInUse) as refusal:
        store.remove("a:1", used_by=lambda _: container)
    assert str(refusal.value) == (
        f'conflict: unable to remove repository reference "a:1" (must force) - container {"c" * 12} '
        f"is using its referenced image {image.id[7:19]}"
    )
    with pytest.raises(ImageInUse, match=r"\(cannot be forced\) - image is being used by running container c{12}$"):
        store.remove(image.id, force=True, used_by=lambda _: container, running_in=lambda _: container)
    with pytest.raises(ImageInUse, match=r"\(must be forced\) - image is being used by stopped container c{12}$"):
        store.remove(image.id[7:15], used_by=lambda _: container)
    assert store.get("a:1") == store.get(image.id)


def test_layers_stay_under_a_container_of_an_image_removed_by_force(store: ImageStore, tmp_path: Path) -> None:
    load(store, docker_archive([BASE], ["a:1"]))
    image = store.get("a:1")
    assert store.remove("a:1", force=True, used_by=lambda _: "c") == [("Untagged", "a:1"), ("Deleted", image.id)]
    assert store.list() == ()
    assert Path(store.lower_dirs(image.id)[0], "bin/sh").exists()
    store.collect(lambda _: "c")
    assert Path(store.lower_dirs(image.id)[0], "bin/sh").exists()
    store.collect(lambda _: "")
    assert leftovers(tmp_path / "images") == []


KILLED = """
import os, signal, sys
from pathlib import Path
from runtime.images.store import ImageStore
steps = int(sys.argv[3])
def count(event, args):
    global steps
    if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "sqlite3.connect", "open", "shutil.rmtree", "os.chown"):
        steps -= 1
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
store = ImageStore(Path(sys.argv[1]))
with open(sys.argv[2], "rb") as file:
    store.load(file)
store.remove("a:1")
with open(sys.argv[2], "rb") as file:
    store.load(file)
"""


def test_killed_at_any_step_the_store_is_whole(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(docker_archive([BASE, TOP], ["a:1"]))
    steps, killed = 1, 0
    while True:
        root = tmp_path / f"images-{steps}"
        done = subprocess.run([sys.executable, "-I", "-c", KILLED, str(root), str(archive), str(steps)], check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        killed += 1
        store = ImageStore(root)
        try:
            for image in store.list():
                assert image.references == ("a:1",)
                assert Path(store.lower_dirs(image.id)[0], "app").read_text() == "app!"
            assert not list((root / "tmp").iterdir())
            assert len(list((root / "layers").iterdir())) == 2 * len(store.list())
            assert load(store, archive.read_bytes()) == ["Loaded image: a:1"]
            assert Path(store.lower_dirs(store.get("a:1").id)[0], "app").read_text() == "app!"
        finally:
            store.close()
        steps += 3
    assert killed > 10
