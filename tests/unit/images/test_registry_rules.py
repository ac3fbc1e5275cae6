"""The pure part of registries: challenges, credentials, endpoints, platforms, progress."""

from __future__ import annotations

import base64
import json

import pytest

from agent.engine.progress import bar, progress_json
from runtime.images.auth import ANONYMOUS, Challenge, Credentials, challenges, from_header, token_of, token_request
from runtime.images.endpoints import BadSetting, Endpoint, Registries, checked, endpoints
from runtime.images.manifest import OCI_LAYER_ZSTD, Descriptor, Index, Manifest, Platform, choose, parse, render
from runtime.images.progress import Progress, Steps


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', (Challenge("basic", "x"),)),
        ("Basic", (Challenge("basic"),)),
        (
            'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push"',
            (Challenge("bearer", "https://auth.example/token", "registry.example", "repository:a/b:pull,push"),),
        ),
        ('Negotiate, Bearer realm="a\\"b" , Basic realm=c', (Challenge("negotiate"), Challenge("bearer", 'a"b'), Challenge("basic", "c"))),
        ("", ()),
        ("=,=\x00", ()),
    ],
)
def test_challenges(header: str, expected: tuple[Challenge, ...]) -> None:
    assert challenges(header) == expected


def test_a_token_is_asked_for_by_name_or_exchanged() -> None:
    challenge = Challenge("bearer", "https://a/t?x=1", "s", "repository:a:pull")
    by_name = token_request(challenge, ("repository:a:pull", "repository:b:pull"), Credentials("me", "pw"))
    assert by_name.url == "https://a/t?x=1&service=s&account=me&scope=repository%3Aa%3Apull&scope=repository%3Ab%3Apull"
    assert by_name.authorization == "Basic " + base64.b64encode(b"me:pw").decode()
    exchanged = token_request(challenge, (), Credentials(identity_token="id"))  # noqa: S106
    assert exchanged.form == b"grant_type=refresh_token&service=s&client_id=festoon&scope=repository%3Aa%3Apull&refresh_token=id"
    assert (exchanged.url, exchanged.authorization) == ("https://a/t?x=1", "")


@pytest.mark.parametrize(
    ("body", "token"), [(b'{"token":"a"}', "a"), (b'{"access_token":"b"}', "b"), (b'{"token":"a\\r\\nX: y"}', ""), (b"[]", ""), (b"x", "")]
)
def test_tokens(body: bytes, token: str) -> None:
    assert token_of(body) == token


def header(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def test_credentials_of_a_request() -> None:
    assert from_header(header({"username": "a", "password": "b", "serveraddress": "s"})) == Credentials("a", "b", server="s")
    assert from_header(header({"auth": base64.b64encode(b"a:b:c").decode()})) == Credentials("a", "b:c")
    assert from_header(header({"username": "a"}).rstrip("=")).username == "a"
    for nonsense in ("", "%%%", header([]), header({"username": 5}), header({"auth": "%"}), header({})):
        assert from_header(nonsense) == ANONYMOUS
    assert "secret" not in repr(Credentials("a", "secret"))


def test_where_a_registry_is_asked() -> None:
    none = Registries()
    assert endpoints("docker.io", none) == (Endpoint("https://registry-1.docker.io"),)
    assert endpoints("registry.example:5000", none) == (Endpoint("https://registry.example:5000"),)
    both = (Endpoint("https://h", verified=False), Endpoint("http://h", verified=False))
    assert [e.url.replace("//h", "//localhost:5000") for e in both] == [e.url for e in endpoints("localhost:5000", none)]
    for host in ("127.0.0.1:5000", "127.8.9.1", "[::1]:5000"):
        assert len(endpoints(host, none)) == 2
    for host in ("127.0.0.1.example:5000", "localhost.example", "192.168.200.1:5000"):
        assert len(endpoints(host, none)) == 1
    told = checked(["https://mirror.example/"], ["192.168.200.0/24", "plain.example:5000"])
    assert endpoints("docker.io", told)[0] == Endpoint("https://mirror.example", mirror=True)
    assert [len(endpoints(h, told)) for h in ("192.168.200.1:5000", "plain.example:5000", "plain.example:5001")] == [2, 2, 1]
    for wrong in (["mirror.example"], ["ftp://x"], ["https://x/y"]):
        with pytest.raises(BadSetting):
            checked(wrong, [])
    with pytest.raises(BadSetting, match="should not contain"):
        checked([], ["http://x"])


def of(*platforms: Platform | None) -> Index:
    return Index("", tuple(Descriptor("", str(n), 1, p) for n, p in enumerate(platforms)))


def test_the_platform_chooses_in_an_index() -> None:
    arm = Platform("linux", "arm", "v7")
    chosen = choose(of(Platform("linux", "arm", "v5"), arm), arm)
    assert chosen is not None
    assert chosen.digest == "1"
    plain = choose(of(Platform("windows", "amd64"), Platform("linux", "amd64", "v3"), Platform("linux", "amd64")), Platform("linux", "amd64"))
    assert plain is not None
    assert plain.digest == "2"
    assert choose(of(Platform("linux", "arm", "v5")), arm) is None
    alone = choose(of(None), arm)
    assert alone is not None
    assert choose(of(None, None), arm) is None


def test_a_manifest_that_we_make_is_one_that_we_read() -> None:
    digest = "sha256:" + "a" * 64
    for kind in ("application/vnd.docker.image.rootfs.diff.tar.gzip", OCI_LAYER_ZSTD):
        media_type, raw = render((digest, 3), [Descriptor(kind, digest, 7)])
        found = parse(raw, media_type)
        assert isinstance(found, Manifest)
        assert [x.digest for x in found.layers] == [digest]
        assert found.config.size_bytes == 3


def test_progress_is_said_as_docker_says_it() -> None:
    assert progress_json(Progress("Pulling from x", "latest")) == {"status": "Pulling from x", "id": "latest"}
    assert progress_json(Progress("Waiting", "abc", layer=True)) == {"status": "Waiting", "id": "abc", "progressDetail": {}}
    line = progress_json(Progress("Downloading", "abc", 500, 1000, layer=True))
    assert line["progressDetail"] == {"current": 500, "total": 1000}
    assert bar(500, 1000) == "[=========================>                         ]     500B/1kB"
    assert bar(1000, 1000).startswith("[" + "=" * 50 + ">]")


def test_a_blob_says_at_most_a_hundred_lines() -> None:
    said: list[Progress] = []
    steps = Steps(said.append, "Downloading", "abc", 10**9)
    for at in range(0, 10**9 + 1, 10**5):
        steps.at(at)
    assert len(said) <= 100
    assert said[-1].current_bytes == 10**9
