"""Registries that lie: manifests, indexes, blobs, redirects and tokens that must not get further than an error."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from cluster.model.reference import parse
from runtime.errors import BadImage, RegistryFailed, RegistryRefused, RuntimeFault
from runtime.images import manifest, puller
from runtime.images.auth import ANONYMOUS, Credentials
from runtime.images.endpoints import Endpoint, Registries
from runtime.images.puller import Puller
from runtime.images.registry import MAX_REDIRECTS, connect
from runtime.images.store import ImageStore
from tests.node.image_archives import configuration, digest, entry, tar
from tests.node.registry_world import Answer, Asked, hostile

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="unpacking layers needs root")
LAYER = tar([entry("a", b"a")])
PACKED = gzip.compress(LAYER, mtime=0)
CONFIG = configuration([LAYER])


def a_manifest(**changes: Any) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": manifest.DOCKER_MANIFEST,
            "config": {"mediaType": manifest.DOCKER_CONFIG, "size": len(CONFIG), "digest": digest(CONFIG)},
            "layers": [{"mediaType": manifest.DOCKER_LAYER_GZIP, "size": len(PACKED), "digest": digest(PACKED)}],
        }
        | changes
    ).encode()


def serving(documents: dict[str, bytes], media_type: str = manifest.DOCKER_MANIFEST) -> Callable[[Asked], Answer]:
    """Answers by the last part of the path; `tag` is the manifest's."""

    def answers(asked: Asked) -> Answer:
        if asked.path == "/v2/":
            return Answer(body=b"{}")
        name = asked.path.rpartition("/")[2]
        if name not in documents:
            return Answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        return Answer(body=documents[name], headers={"Content-Type": media_type} if "/manifests/" in asked.path else {})

    return answers


def good() -> dict[str, bytes]:
    return {"tag": a_manifest(), digest(CONFIG): CONFIG, digest(PACKED): PACKED}


def pulled(root: Path, answers: Callable[[Asked], Answer], name: str = "x:tag", who: Credentials = ANONYMOUS) -> str:
    """Pull; the image's id. Whatever happens, nothing half-made is left."""
    store = ImageStore(root / "images")
    try:
        with hostile(answers) as host:

            async def main() -> str:
                made = Puller(store, root / "images" / "partial", Registries())
                with trio.fail_after(20):
                    return (await made.pull(parse(f"{host}/{name}"), lambda _: None, who)).image_id

            try:
                return trio.run(main)
            except RuntimeFault:
                assert store.list() == ()
                assert list((root / "images/blobs/sha256").iterdir()) == list((root / "images/layers").iterdir()) == []
                raise
    finally:
        assert list((root / "images/tmp").iterdir()) == []
        store.close()


def test_the_honest_one_is_pulled(tmp_path: Path) -> None:
    assert pulled(tmp_path, serving(good())) == digest(CONFIG)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"<html>", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "malformed"),
        (b"{}", "neither a configuration nor manifests"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "schema 1 are not supported"),
        (a_manifest(manifests=[]), "both a manifest and an index"),
        (a_manifest(mediaType=manifest.OCI_INDEX), "should be"),
        (a_manifest(config={"digest": "sha256:../../../etc/passwd", "size": 1}), "invalid checksum digest format"),
        (a_manifest(config={"digest": digest(CONFIG).upper(), "size": 1}), "invalid checksum digest format"),
        (a_manifest(config={"digest": digest(CONFIG), "size": -1}), "-1 bytes"),
        (a_manifest(config={"digest": digest(CONFIG), "size": True}), "malformed"),
        (a_manifest(config={"digest": digest(CONFIG), "size": 1 << 62}), "at most"),
        (a_manifest(config={"digest": digest(CONFIG), "size": 5, "mediaType": "application/vnd.helm.config"}), "no image configuration"),
        (a_manifest(layers=[{"digest": digest(PACKED), "size": 1 << 50, "mediaType": manifest.DOCKER_LAYER_GZIP}]), "at most"),
        (a_manifest(layers=[{"digest": digest(PACKED), "size": 5, "mediaType": "text/html"}]), "invalid media type for a layer"),
        (a_manifest(layers=[{"digest": digest(PACKED), "size": 5, "mediaType": manifest.OCI_LAYER_GZIP}] * 128), "max depth exceeded"),
        (a_manifest(layers={}), "length mismatch"),
        (a_manifest(layers="x"), "no list"),
        (a_manifest(layers=[]), "length mismatch"),
    ],
)
def test_manifests_that_are_none(tmp_path: Path, raw: bytes, sentence: str) -> None:
    with pytest.raises(BadImage, match=sentence):
        pulled(tmp_path, serving(good() | {"tag": raw}))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({digest(CONFIG): CONFIG.replace(b"amd64", b"arm64")}, "image config verification failed"),
        ({digest(CONFIG): CONFIG + b" "}, "of more than"),
        ({digest(PACKED): PACKED[:-1] + b"x"}, "filesystem layer verification failed"),
        ({digest(PACKED): PACKED + b"x"}, "is longer than"),
    ],
)
def test_blobs_that_are_not_what_their_digest_says(tmp_path: Path, changed: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(BadImage, match=sentence):
        pulled(tmp_path, serving(good() | changed))


def test_a_layer_that_is_not_what_the_configuration_says(tmp_path: Path) -> None:
    other = gzip.compress(tar([entry("b", b"b")]), mtime=0)
    raw = a_manifest(layers=[{"mediaType": manifest.DOCKER_LAYER_GZIP, "size": len(other), "digest": digest(other)}])
    with pytest.raises(BadImage, match="but the image's configuration says"):
        pulled(tmp_path, serving(good() | {"tag": raw, digest(other): other}))


def test_a_manifest_that_is_not_the_one_asked_for_by_digest(tmp_path: Path) -> None:
    wanted = digest(b"another")
    with pytest.raises(BadImage, match=f"manifest verification failed for digest {wanted}"):
        pulled(tmp_path, serving(good() | {wanted: a_manifest()}), f"x@{wanted}")


def an_index(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": list(entries)}).encode()


def test_an_index_in_an_index_in_an_index_ends_somewhere(tmp_path: Path) -> None:
    documents, below = good(), a_manifest()
    for _ in range(5):
        documents[digest(below)] = below
        below = an_index({"mediaType": manifest.OCI_INDEX, "digest": digest(below), "size": len(below), "platform": {"os": "linux", "architecture": "amd64"}})
    with pytest.raises(BadImage, match="indexes nested deeper"):
        pulled(tmp_path, serving(documents | {"tag": below}, ""))


def test_an_index_is_read_by_platform_and_its_choice_is_checked(tmp_path: Path) -> None:
    right = a_manifest()
    arm = {"mediaType": manifest.DOCKER_MANIFEST, "digest": digest(b"arm"), "size": 3, "platform": {"os": "linux", "architecture": "arm64"}}
    own = {"mediaType": manifest.DOCKER_MANIFEST, "digest": digest(right), "size": len(right), "platform": {"os": "linux", "architecture": "amd64"}}
    assert pulled(tmp_path / "a", serving(good() | {"tag": an_index(arm, own), digest(right): right}, "")) == digest(CONFIG)
    with pytest.raises(BadImage, match="manifest verification failed"):
        pulled(tmp_path / "b", serving(good() | {"tag": an_index(arm, own), digest(right): right + b" "}, ""))
    with pytest.raises(RegistryRefused, match=r"^no matching manifest for linux/amd64 in the manifest list entries$"):
        pulled(tmp_path / "c", serving({"tag": an_index(arm)}, ""))


def test_an_endless_manifest_and_an_endless_error_end(tmp_path: Path) -> None:
    def endless(status: int) -> Callable[[Asked], Answer]:
        return lambda asked: Answer(body=b"{}") if asked.path == "/v2/" else Answer(status, endless=True)

    with pytest.raises(BadImage, match="a manifest of more than"):
        pulled(tmp_path, endless(200))
    with pytest.raises(RegistryFailed, match="received unexpected HTTP status: 418"):
        pulled(tmp_path, endless(418))


def test_a_blob_that_never_comes_is_given_up(tmp_path: Path) -> None:
    asked_for: list[Asked] = []
    honest = serving(good())

    def answers(asked: Asked) -> Answer:
        if asked.path.endswith(digest(PACKED)):
            asked_for.append(asked)
            return Answer(body=b"")
        return honest(asked)

    with pytest.raises(RegistryFailed, match="unexpected EOF"):
        pulled(tmp_path, answers)
    assert len(asked_for) == puller.MAX_FRUITLESS_ATTEMPTS


def test_redirects_end_and_never_carry_the_password_elsewhere(tmp_path: Path) -> None:
    seen: list[Asked] = []
    turns: list[Asked] = []

    def elsewhere(asked: Asked) -> Answer:
        seen.append(asked)
        return Answer(body=PACKED if digest(PACKED) in asked.path else b"")

    with hostile(elsewhere) as other:
        honest = serving(good())

        def answers(asked: Asked) -> Answer:
            if "authorization" not in asked.headers:
                return Answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            if asked.path.endswith(digest(PACKED)):
                return Answer(307, headers={"Location": f"http://{other}{asked.path}"})
            return honest(asked)

        assert pulled(tmp_path, answers, who=Credentials("user", "password")) == digest(CONFIG)
        assert [("authorization" in a.headers) for a in seen] == [False]

    def around(asked: Asked) -> Answer:
        turns.append(asked)
        return Answer(302, headers={"Location": asked.path + "x"}) if asked.path != "/v2/" else Answer(body=b"{}")

    with pytest.raises(RegistryRefused, match=f"stopped after {MAX_REDIRECTS} redirects"):
        pulled(tmp_path / "around", around)
    assert len(turns) == MAX_REDIRECTS + 2


def test_a_token_is_fetched_with_the_users_name_and_used(tmp_path: Path) -> None:
    tokens: list[Asked] = []
    honest = serving(good())
    address: list[str] = []

    def answers(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            tokens.append(asked)
            return Answer(body=b'{"token": "t0ken"}' if "authorization" in asked.headers else b'{"token": 5}')
        if asked.headers.get("authorization") != "Bearer t0ken":
            return Answer(401, headers={"WWW-Authenticate": f'Bearer realm="http://{asked.headers["host"]}/token",service="s",scope="repository:x:pull"'})
        address.append(asked.headers["host"])
        return honest(asked)

    assert pulled(tmp_path / "a", answers, who=Credentials("user", "password")) == digest(CONFIG)
    assert tokens[0].path == "/token?service=s&account=user&scope=repository%3Ax%3Apull"
    with pytest.raises(RegistryRefused, match="did not include a token"):
        pulled(tmp_path / "b", answers)


def test_a_checked_connection_is_never_led_to_an_unchecked_one() -> None:
    """Without TLS of our own to try it with: the rule itself, on a connection that says it is checked."""

    async def main(host: str) -> None:
        import httpx

        from runtime.images.registry import Registry

        async with httpx.AsyncClient() as client:
            source = Registry(client, Endpoint(f"https://{host}"), "x", ANONYMOUS, ())
            with pytest.raises(RegistryRefused, match="which is not HTTPS"):
                source._allowed("http://elsewhere/token")

    trio.run(main, "registry.example")


def test_https_is_asked_of_a_registry_that_is_not_known_as_insecure() -> None:
    async def main(host: str) -> None:
        with trio.fail_after(10):
            async with connect(Endpoint(f"https://{host}"), "x", ANONYMOUS, ()):
                pass

    with hostile(lambda _: Answer(body=b"{}")) as host, pytest.raises(RegistryFailed, match="http: server gave HTTP response to HTTPS client"):
        trio.run(main, host)
