"""`search` in an index of images, by both programs: a small server on the node's loopback answers as Docker Hub's does."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.client import image_index
from tests.driver import MANAGER, Lab


@pytest.fixture(scope="module")
def index(lab: Lab) -> Iterator[str]:
    """HOST:PORT of it, as the first node sees it."""
    with image_index.standing(lab) as address:
        yield address


def test_an_index_is_searched_and_what_it_finds_filtered(lab: Lab, index: str, program: str) -> None:
    found = lab.ok(MANAGER, program, "search", f"{index}/box").splitlines()
    assert found[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert [line.split() for line in found[1:]] == [["box", "a", "box", "of", "tools", "7", "[OK]"], ["team/box", "d" * 44 + "…", "3"]]

    def names(*argv: str) -> list[str]:
        return lab.ok(MANAGER, program, "search", "--format", "{{.Name}}", *argv).split()

    assert names(f"{index}/e") == ["team/box", "team/empty"]
    assert names("--limit", "1", f"{index}/e") == ["team/box"]
    assert names("--filter", "is-official=true", f"{index}/") == ["box"]
    assert names("--filter", "is-official=false", "--filter", "stars=2", f"{index}/") == ["team/box"]
    assert names("--filter", "is-automated=true", f"{index}/") == []
    assert names("--limit", "-1", f"{index}/box") == names(f"{index}/box")
    warned = lab.on(MANAGER, program, "search", "--filter", "is-automated=true", f"{index}/").stderr
    assert warned.startswith('WARNING: the "is-automated" filter is deprecated, and searching for "is-automated=true" will not')
    assert names(f"{index}/nothing") == []


def test_what_can_not_be_searched_is_said_in_dockers_words(lab: Lab, index: str, program: str) -> None:
    for arguments, words in (
        (("--limit", "101", "x"), "limit 101 is outside the range of [1, 100]"),
        (("--filter", "stars=many", "x"), "invalid filter 'stars=many'"),
        (("--filter", "is-official=perhaps", "x"), "invalid filter 'is-official=[perhaps]'"),
        (("--filter", "colour=red", "x"), "invalid filter 'colour'"),
        (("http://x/y",), "invalid repository name: repository name (http://x/y) should not have a scheme"),
        (("-bad.test/y",), "unknown shorthand flag: 'b' in -bad.test/y"),
        (("bad.test-/y",), "invalid index name (bad.test-). Cannot begin or end with a hyphen"),
        ((f"{index}/broken",), "Unexpected status code 503"),
        ((f"{index}/wrong",), "error decoding registry search results: "),
        ((f"{index}/endless",), "an index's answer of more than 1048576 bytes"),
        (("127.0.0.1:1/x",), 'HTTP attempt: Get "http://127.0.0.1:1/v1/_ping": dial tcp 127.0.0.1:1: connect: connection refused'),
        (("busybox",), 'Get "https://index.docker.io/v1/search?q=busybox&n=25": dial tcp: lookup index.docker.io'),
    ):
        done = lab.on(MANAGER, program, "search", *arguments)
        assert done.returncode != 0
        assert words in done.stderr


def test_the_answer_is_as_the_api_has_it(lab: Lab, index: str) -> None:
    asked = lab.ok(MANAGER, "curl", "-s", "--unix-socket", "/run/festoon/festoon.sock", f"http://x/images/search?term={index}/empty")
    assert json.loads(asked) == [{"star_count": 0, "is_official": False, "name": "team/empty", "is_automated": False, "description": ""}]
