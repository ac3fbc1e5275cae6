"""A Dockerfile's words, as the reference of Dockerfiles says them."""

from __future__ import annotations

import pytest

from runtime.errors import BadImage
from runtime.images.words import MAX_DEPTH, expand, split

ENV = {"name": "bee", "empty": ""}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("$name", "bee"), ("${name}s", "bees"), ("$names", ""), ("'$name'", "$name"), ('"$name"', "bee"), ("\\$name", "$name"), ('"\\$name"', "$name"),
        ("${nosuch:-x}", "x"), ("${empty:-x}", "x"), ("${name:-x}", "bee"), ("${name:+x}", "x"), ("${nosuch:+x}", ""), ("${nosuch:-${name}}", "bee"),
        ("a$", "a$"), ("''", ""), ("a'b'\"c\"", "abc"), ('"a\\b"', "a\\b"),
    ],
)  # fmt: skip
def test_variables_and_quotes(word: str, said: str) -> None:
    assert expand(word, ENV) == said


def test_words_end_at_white_space_outside_of_quotes() -> None:
    assert split("a  'b c' \"d e\" f\\ g") == ["a", "'b c'", '"d e"', "f\\ g"]
    assert split("  ") == []


@pytest.mark.parametrize("word", ["${", "${}", "${name", "'a", '"a', "${name:=x}", "${nosuch:?}", "${a:-" * 5_000 + "}" * 5_000])
def test_what_is_no_word_is_refused_however_deep(word: str) -> None:
    with pytest.raises(BadImage):
        expand(word, ENV)


def test_as_deep_as_anybody_needs() -> None:
    assert expand("${a:-" * MAX_DEPTH + "x" + "}" * MAX_DEPTH, ENV) == "x"
