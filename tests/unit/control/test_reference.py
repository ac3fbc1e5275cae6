"""The grammar of image references, with the cases of distribution/reference's own tests."""

from __future__ import annotations

import pytest

from cluster.model import reference


@pytest.mark.parametrize(
    ("text", "name", "tag"),
    [
        ("busybox", "docker.io/library/busybox", ""),
        ("busybox:latest", "docker.io/library/busybox", "latest"),
        ("containous/whoami", "docker.io/containous/whoami", ""),
        ("localhost/a:1", "localhost/a", "1"),
        ("registry.example:5000/a/b", "registry.example:5000/a/b", ""),
        ("registry.example:5000/a/b:v1.0_x-y", "registry.example:5000/a/b", "v1.0_x-y"),
        ("a__b/c-d--e", "docker.io/a__b/c-d--e", ""),
    ],
)
def test_names_are_normal(text: str, name: str, tag: str) -> None:
    parsed = reference.parse(text)
    assert (parsed.repository, parsed.tag) == (name, tag)


def test_digests_are_kept() -> None:
    digest = "sha256:" + "a" * 64
    assert reference.parse(f"busybox:1@{digest}").digest == digest


@pytest.mark.parametrize("text", ["", "a b", "Busybox", "a:", "a//b", "-a", "a/-b", "a:b c", "a@sha256:1", "a" * 256, "f" * 64, "x\n"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        reference.parse(text)


@pytest.mark.parametrize("text", ["busybox", "containous/whoami", "registry.example/x"])
def test_the_familiar_name_is_the_written_one(text: str) -> None:
    assert reference.parse(text).familiar == text
