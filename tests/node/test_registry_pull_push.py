"""Pull and push against Debian's docker-registry: both ways, with and without authentication, interrupted and resumed."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from cluster.model.reference import parse
from runtime.errors import NoSuchImage, RegistryFailed, RegistryRefused, RegistryUnreachable
from runtime.images.auth import ANONYMOUS, Credentials
from runtime.images.endpoints import Registries
from runtime.images.manifest import Platform
from runtime.images.progress import Progress
from runtime.images.puller import Pulled, Puller
from runtime.images.pusher import Pushed, Pusher
from runtime.images.store import ImageStore
from tests.node.image_archives import docker_archive, entry, tar
from tests.node.registry_world import NEEDS_REGISTRY, PASSWORD, USER, Asked, proxy, registry

pytestmark = [NEEDS_REGISTRY, pytest.mark.skipif(os.geteuid() != 0, reason="unpacking layers needs root")]
BASE = tar([entry("bin", None), entry("bin/sh", b"shell"), entry("etc/x", b"x")])
TOP = tar([entry("etc/.wh.x"), entry("app", b"app!")])
BIG = tar([entry("big", os.urandom(3 * 1024 * 1024))])
T = TypeVar("T")


@dataclass
class Node:
    """A store with its puller and pusher."""

    store: ImageStore
    root: Path
    said: list[Progress]

    def pull(self, name: str, who: Credentials = ANONYMOUS, platform: Platform | None = None) -> Pulled:
        return self._run(lambda: Puller(self.store, self.root / "partial", Registries()).pull(parse(name), self.said.append, who, platform))

    def push(self, name: str, who: Credentials = ANONYMOUS) -> Pushed:
        return self._run(lambda: Pusher(self.store, Registries()).push(parse(name), self.said.append, who))

    def _run(self, work: Callable[[], Awaitable[T]]) -> T:
        self.said.clear()

        async def main() -> T:
            return await work()

        return trio.run(main)

    def statuses(self) -> list[str]:
        return [p.status for p in self.said]


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[[str], Node]]:
    nodes: list[Node] = []

    def make(name: str) -> Node:
        root = tmp_path / name
        nodes.append(Node(ImageStore(root), root, []))
        return nodes[-1]

    yield make
    for node in nodes:
        node.store.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="module")
def locked_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("locked"), authenticated=True) as address:
        yield address


def loaded(node: Node, name: str, layers: list[bytes]) -> None:
    node.store.load(io.BytesIO(docker_archive(layers, [name])))


def test_what_one_node_pushes_another_pulls(host: str, make_node: Callable[[str], Node]) -> None:
    name = f"{host}/team/app:1"
    one, two = make_node("one"), make_node("two")
    loaded(one, name, [BASE, TOP])
    pushed = one.push(name)
    assert one.statuses()[0] == f"The push refers to repository [{host}/team/app]"
    assert one.statuses().count("Pushed") == 2
    assert one.statuses()[-1] == f"1: digest: {pushed.digest} size: {pushed.size_bytes}"
    assert one.store.get(name).repo_digests == (f"{host}/team/app@{pushed.digest}",)

    pulled = two.pull(name)
    assert (pulled.digest, pulled.fresh) == (pushed.digest, True)
    image = two.store.get(name)
    assert image.id == pulled.image_id == one.store.get(name).id
    assert image.repo_digests == (f"{host}/team/app@{pushed.digest}",)
    top, base = two.store.lower_dirs(image.id)
    assert Path(top, "app").read_text() == "app!"
    assert Path(base, "bin/sh").read_text() == "shell"
    assert two.statuses()[0] == "Pulling from team/app"
    assert two.statuses()[-2:] == [f"Digest: {pushed.digest}", f"Status: Downloaded newer image for {name}"]
    assert two.statuses().count("Pull complete") == 2
    assert list((two.root / "tmp").iterdir()) == list((two.root / "partial").iterdir()) == []

    again = two.pull(name)
    assert not again.fresh
    assert two.statuses() == ["Pulling from team/app", f"Digest: {pushed.digest}", f"Status: Image is up to date for {name}"]
    one.store.tag(name, f"{host}/team/app:also")
    one.push(f"{host}/team/app:also")
    assert not two.pull(f"{host}/team/app:also").fresh
    assert two.statuses()[-1] == f"Status: Downloaded newer image for {host}/team/app:also"  # the name is new here
    assert two.store.get(f"{host}/team/app@{pushed.digest}").id == image.id
    assert two.store.get(f"{host}/team/app:other@{pushed.digest}").id == image.id  # the digest says which


def test_pulled_by_digest_it_has_no_tag(host: str, make_node: Callable[[str], Node]) -> None:
    one, two = make_node("one"), make_node("two")
    loaded(one, f"{host}/by-digest:1", [BASE])
    name = f"{host}/by-digest@{one.push(f'{host}/by-digest:1').digest}"
    two.pull(name)
    assert two.statuses()[-1] == f"Status: Downloaded newer image for {name}"
    image = two.store.get(name)
    assert (image.references, image.repo_digests) == ((), (name,))


def test_a_second_push_sends_nothing_and_another_repository_is_mounted(host: str, make_node: Callable[[str], Node]) -> None:
    node = make_node("one")
    loaded(node, f"{host}/first:1", [BASE, BIG])
    first = node.push(f"{host}/first:1")
    with proxy(host) as seen:
        node.store.tag(f"{host}/first:1", f"{seen.address}/first:1")
        assert node.push(f"{seen.address}/first:1").digest == first.digest
        assert node.statuses().count("Layer already exists") == 2
        assert not seen.of("PATCH", ".")
        assert not seen.of("POST", ".")
        node.store.tag(f"{host}/first:1", f"{seen.address}/second:1")
        assert node.push(f"{seen.address}/second:1").digest == first.digest
        assert node.statuses().count("Mounted from first") == 2
        assert len(seen.of("PATCH", ".")) == 1  # the configuration


def test_a_pull_takes_only_the_layers_that_are_missing(host: str, make_node: Callable[[str], Node]) -> None:
    one, two = make_node("one"), make_node("two")
    loaded(one, f"{host}/shared:1", [BASE])
    loaded(one, f"{host}/shared:2", [BASE, TOP])
    one.push(f"{host}/shared:1")
    one.push(f"{host}/shared:2")
    two.pull(f"{host}/shared:1")
    with proxy(host) as seen:
        two.pull(f"{seen.address}/shared:2")
        assert len(seen.of("GET", "/blobs/")) == 2  # a configuration and one layer
    assert two.statuses().count("Already exists") == 1


def test_a_download_that_breaks_off_goes_on_from_there(host: str, make_node: Callable[[str], Node]) -> None:
    one, two = make_node("one"), make_node("two")
    loaded(one, f"{host}/big:1", [BIG])
    one.push(f"{host}/big:1")
    with proxy(host) as seen:
        seen.cut = lambda asked: 700_000 if "/blobs/" in asked.path else None
        two.pull(f"{seen.address}/big:1")
        ranges = [a.headers.get("range") for a in seen.of("GET", "/blobs/")]
        assert [r for r in ranges if r] == [f"bytes={n * 700_000}-" for n in range(1, 5)]
        image = two.store.get(f"{seen.address}/big:1")
    assert Path(two.store.lower_dirs(image.id)[0], "big").stat().st_size == 3 * 1024 * 1024


def test_a_pull_that_was_given_up_is_taken_up_by_the_next(host: str, make_node: Callable[[str], Node]) -> None:
    one, two = make_node("one"), make_node("two")
    loaded(one, f"{host}/given-up:1", [BIG])
    one.push(f"{host}/given-up:1")
    with proxy(host) as seen:
        served = []

        def once(asked: Asked) -> int | None:
            if "/blobs/" not in asked.path or "config" in asked.path or asked.headers.get("range"):
                served.append(asked)
                return 0 if "/blobs/" in asked.path else None
            return 1_500_000

        seen.cut = once
        with pytest.raises(RegistryUnreachable, match="EOF"):
            two.pull(f"{seen.address}/given-up:1")
        assert two.store.list() == ()
        assert list((two.root / "tmp").iterdir()) == []
        (kept,) = (two.root / "partial").iterdir()
        assert kept.stat().st_size == 1_500_000
        seen.cut = lambda _: None
        seen.asked.clear()
        two.pull(f"{seen.address}/given-up:1")
        assert [a.headers["range"] for a in seen.asked if "range" in a.headers] == ["bytes=1500000-"]
    assert list((two.root / "partial").iterdir()) == []


def test_what_was_kept_is_not_believed(host: str, make_node: Callable[[str], Node]) -> None:
    """A partial file with wrong bytes costs one attempt, never a wrong layer."""
    one, two = make_node("one"), make_node("two")
    loaded(one, f"{host}/spoilt:1", [BIG])
    one.push(f"{host}/spoilt:1")
    (digest,) = [c.digest for c in _layers(one, f"{host}/spoilt:1", host)]
    (two.root / "partial").mkdir()
    (two.root / "partial" / digest[7:]).write_bytes(b"x" * 1000)
    with pytest.raises(Exception, match=f"filesystem layer verification failed for digest {digest}"):
        two.pull(f"{host}/spoilt:1")
    assert list((two.root / "partial").iterdir()) == []
    two.pull(f"{host}/spoilt:1")


def _layers(node: Node, name: str, host: str) -> Any:
    from runtime.images import registry as wire
    from runtime.images.endpoints import Endpoint
    from runtime.images.manifest import Manifest
    from runtime.images.manifest import parse as parse_manifest

    async def main() -> Any:
        async with wire.connect(Endpoint(f"http://{host}", verified=False), parse(name).path, ANONYMOUS, ()) as source:
            media_type, raw = await source.manifest(parse(name).tag)
            found = parse_manifest(raw, media_type)
            assert isinstance(found, Manifest)
            return found.layers

    return trio.run(main)


def test_an_upload_that_breaks_off_goes_on_from_there(host: str, make_node: Callable[[str], Node]) -> None:
    node = make_node("one")
    with proxy(host) as seen:
        name = f"{seen.address}/upload:1"
        loaded(node, name, [tar([entry("big", os.urandom(9 * 1024 * 1024))])])
        swallowed: list[Asked] = []

        def second(asked: Asked) -> bool:
            if asked.method == "PATCH" and len(seen.of("PATCH", ".")) == 2:
                swallowed.append(asked)
                return True
            return False

        seen.break_upload = second
        node.push(name)
        assert len(swallowed) == 1
        assert node.statuses().count("Pushed") == 1


def test_without_and_with_wrong_credentials_nothing_is_had(locked_host: str, make_node: Callable[[str], Node]) -> None:
    node = make_node("one")
    name = f"{locked_host}/private:1"
    loaded(node, name, [BASE])
    for work in (node.push, node.pull):
        with pytest.raises(RegistryRefused, match="no basic auth credentials"):
            work(name)
        with pytest.raises(RegistryRefused, match="unauthorized: authentication required"):
            work(name, Credentials(USER, "wrong"))
    node.push(name, Credentials(USER, PASSWORD))
    other = make_node("two")
    assert other.pull(name, Credentials(USER, PASSWORD)).fresh


def test_what_the_registry_lacks_is_said_in_dockers_words(host: str, make_node: Callable[[str], Node]) -> None:
    node = make_node("one")
    with pytest.raises(RegistryRefused, match=rf"^manifest for {host}/nosuch:1 not found: manifest unknown: manifest unknown$") as caught:
        node.pull(f"{host}/nosuch:1")
    assert caught.value.http_status == 404
    assert node.said == []
    with pytest.raises(NoSuchImage, match=rf"^An image does not exist locally with the tag: {host}/nosuch$"):
        node.push(f"{host}/nosuch:1")
    with pytest.raises(RegistryUnreachable, match=r'^Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused$'):
        node.pull("127.0.0.1:1/x:1")


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_what_we_push_and_we_pull_its_index(host: str, make_node: Callable[[str], Node], tmp_path: Path) -> None:
    one, two = make_node("one"), make_node("two")
    loaded(one, f"{host}/ours:1", [BASE, TOP])
    one.push(f"{host}/ours:1")
    copy = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run([*copy, f"docker://{host}/ours:1", f"oci:{tmp_path}/layout:1"], check=True)
    subprocess.run([*copy, "--dest-compress-format=zstd", "--dest-compress", f"oci:{tmp_path}/layout:1", f"docker://{host}/theirs:1"], check=True)
    two.pull(f"{host}/theirs:1")
    assert two.store.get(f"{host}/theirs:1").diff_ids == one.store.get(f"{host}/ours:1").diff_ids


def test_a_login_is_the_registrys_word(locked_host: str, host: str, make_node: Callable[[str], Node]) -> None:
    node = make_node("one")
    puller = Puller(node.store, node.root / "partial", Registries())
    trio.run(puller.log_in, locked_host, Credentials(USER, PASSWORD))
    trio.run(puller.log_in, host, Credentials(USER, "whatever"))  # it asks nobody who they are
    with pytest.raises(RegistryRefused, match=rf"^login attempt to http://{locked_host}/v2/ failed with status: 401 Unauthorized$") as caught:
        trio.run(puller.log_in, locked_host, Credentials(USER, "wrong"))
    assert caught.value.http_status == 401
    with pytest.raises(RegistryUnreachable, match="connection refused"):
        trio.run(puller.log_in, "127.0.0.1:1", Credentials(USER, PASSWORD))


def test_what_a_registry_has_is_looked_up_without_pulling(host: str, make_node: Callable[[str], Node]) -> None:
    node = make_node("one")
    loaded(node, f"{host}/looked-up:1", [BASE])
    digest = node.push(f"{host}/looked-up:1").digest
    found = trio.run(Puller(node.store, node.root / "partial", Registries()).look_up, parse(f"{host}/looked-up:1"))
    assert (found.digest, found.platforms) == (digest, (Platform("linux", "amd64"),))


def test_a_mirror_is_asked_first_and_need_not_have_it(host: str, make_node: Callable[[str], Node]) -> None:
    one, two = make_node("one"), make_node("two")
    loaded(one, f"{host}/library/mirrored:1", [BASE])
    one.push(f"{host}/library/mirrored:1")
    mirrored = Puller(two.store, two.root / "partial", Registries(mirrors=(f"http://{host}",)))
    trio.run(mirrored.pull, parse("mirrored:1"), two.said.append)
    assert two.store.get("mirrored:1").references == ("mirrored:1",)
    with pytest.raises(RegistryFailed, match=r"registry-1\.docker\.io|denied"):  # Docker Hub is asked then, if it can be reached
        trio.run(mirrored.pull, parse("festoon-nosuch/mirrored:1"), two.said.append)
