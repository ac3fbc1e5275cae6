"""--secret and --config: the grammar as the docker client 28 has it, and what update makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from cli.commands.dependency_update import successor, versions
from cli.dependency_fields import identified, parse_config, parse_secret, updated
from cli.failures import CliFailure


def made(name: str, target: str, uid: str = "0", gid: str = "0", mode: int = 0o444, word: str = "Secret") -> dict[str, Any]:
    return {"File": {"Name": target, "UID": uid, "GID": gid, "Mode": mode}, f"{word}Name": name}


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("s1", made("s1", "s1")),
        ("source=s1", made("s1", "s1")),
        ("src=s1,target=/a/b,uid=7,gid=8,mode=0400", made("s1", "/a/b", "7", "8", 0o400)),
        ("source=s1,mode=400", made("s1", "s1", mode=400)),
        ('source=s1,"target=a,b"', made("s1", "a,b")),
    ],
)
def test_secrets(text: str, reference: dict[str, Any]) -> None:
    assert parse_secret(text) == reference


def test_configs() -> None:
    assert parse_config("c1") == made("c1", "c1", word="Config")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("foo=bar", "invalid field in secret request: foo"),
        ("target=x", "source is required"),
        ("source=s1,target", "invalid field 'target' must be a key=value pair"),
        ("source=s1,mode=x", 'invalid mode specified: strconv.ParseUint: parsing "x": invalid syntax'),
        ("", "EOF"),
        ('"source=s', 'parse error on line 1, column 10: extraneous or missing " in quoted-field'),
    ],
)
def test_what_is_no_secret(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_secret(text)
    assert str(caught.value) == complaint


def test_names_get_ids_and_targets_are_used_once() -> None:
    known = {"s1": "id1"}
    assert identified([made("s1", "t")], "secret", known) == [{"File": made("s1", "t")["File"], "SecretID": "id1", "SecretName": "s1"}]
    with pytest.raises(CliFailure, match="secret not found: s2"):
        identified([made("s2", "t")], "secret", known)
    with pytest.raises(CliFailure, match="duplicate secret target for s1 not allowed"):
        identified([made("s1", "t"), made("s1", "t")], "secret", known)


def test_update_takes_away_by_name_and_adds_behind() -> None:
    present = [made("a", "a"), made("b", "b")]
    assert updated(present, "secret", [made("c", "c")], ["a", "nosuch"]) == [made("b", "b"), made("c", "c")]


def test_a_new_version_follows_the_newest_and_keeps_its_labels() -> None:
    known: list[dict[str, Any]] = [
        {"Spec": {"Name": "s.10", "Labels": {"festoon.version-of": "s", "festoon.version": "10", "k": "v"}}},
        {"Spec": {"Name": "other", "Labels": {}}},
        {"Spec": {"Name": "s"}},
        {"Spec": {"Name": "s.9", "Labels": {"festoon.version-of": "s", "festoon.version": "9"}}},
    ]
    series = versions(known, "s")
    assert [one["Spec"]["Name"] for one in series] == ["s", "s.9", "s.10"]
    assert successor(series, "s") == {"Name": "s.11", "Labels": {"festoon.version-of": "s", "festoon.version": "11", "k": "v"}}
    assert versions(known, "nosuch") == []
