"""Who is asked, in which order, while the leader is not known."""

from __future__ import annotations

import pytest
import trio

from cluster.model.errors import NotLeader, PermissionDenied, Unavailable
from cluster.wire.redirect import ask_leader

Answers = dict[str, str | Exception]


def asked(answers: Answers, *addresses: str) -> tuple[str, list[str]]:
    order: list[str] = []

    async def ask(address: str) -> str:
        order.append(address)
        answer = answers[address]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return trio.run(ask_leader, addresses, ask), order


def test_the_first_that_answers_is_enough() -> None:
    assert asked({"a": Unavailable("gone"), "b": "yes", "c": "no"}, "a", "b", "c") == ("yes", ["a", "b"])


def test_the_leader_that_is_named_is_asked_next() -> None:
    assert asked({"a": NotLeader("z"), "z": "yes"}, "a", "b") == ("yes", ["a", "z"])


def test_there_is_one_redirect_and_then_the_next_is_asked() -> None:
    assert asked({"a": NotLeader("z"), "z": NotLeader("a"), "b": "yes"}, "a", "b") == ("yes", ["a", "z", "b"])


def test_a_refusal_is_the_answer() -> None:
    with pytest.raises(PermissionDenied):
        asked({"a": PermissionDenied("no")}, "a", "b")


def test_nobody_answers() -> None:
    with pytest.raises(Unavailable, match="gone"):
        asked({"a": NotLeader(""), "b": Unavailable("gone")}, "a", "b")
