"""Names of images, as the distribution library normalises them."""

from __future__ import annotations

import pytest

from cluster.model.reference import InvalidReference, familiar, id_prefix, parse


@pytest.mark.parametrize(
    ("text", "canonical", "short"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("containous/whoami", "docker.io/containous/whoami:latest", "containous/whoami:latest"),
        ("docker.io/busybox:1", "docker.io/library/busybox:1", "busybox:1"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
        ("registry.example:5000/a/b:x", "registry.example:5000/a/b:x", "registry.example:5000/a/b:x"),
        ("a@sha256:" + "0" * 64, "docker.io/library/a@sha256:" + "0" * 64, "a@sha256:" + "0" * 64),
    ],
)
def test_a_name_is_normalised_and_comes_back_familiar(text: str, canonical: str, short: str) -> None:
    name = parse(text).with_default_tag()
    assert name.canonical == canonical
    assert name.familiar == short
    assert familiar(canonical) == short


@pytest.mark.parametrize(
    "text", ["", ":tag", "a:", "a b", "-a", "a//b", "a:b:c", "a@sha256:12", "a@", "http://a/b", "a/" + "b" * 300]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse(text)


def test_upper_case_is_refused_in_dockers_words() -> None:
    with pytest.raises(InvalidReference, match=r"repository name \(library/Foo\) must be lowercase"):
        parse("Foo")
    with pytest.raises(InvalidReference, match=r"repository name \(library/Foo@3cc\) must be lowercase"):
        parse("Foo@3cc:x")


def test_sixty_four_digits_are_no_name() -> None:
    with pytest.raises(InvalidReference, match="cannot specify 64-byte hexadecimal strings"):
        parse("a" * 64)


def test_the_beginning_of_an_id_is_told_from_a_name() -> None:
    assert id_prefix("sha256:ab12") == "ab12"
    assert id_prefix("ab12") == "ab12"
    assert id_prefix("busybox") == ""
