"""--node-generic-resource in Docker's grammar and words, and what a task's program is told."""

import pytest

from agent.generic_resources import environment, parse
from cluster.model.errors import InvalidArgument
from cluster.model.specs import GenericResource


def test_counted_and_named() -> None:
    assert parse(["gpu=2", "card=a, card = b"]) == (GenericResource("gpu", 2), GenericResource("card", 1, "a"), GenericResource("card", 1, "b"))
    assert parse(["card=a", "card=a"]) == (GenericResource("card", 1, "a"),)
    assert parse([]) == ()


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (["gpu"], "incorrect term gpu, missing '=' or malformed expression"),
        (["gpu=a=b"], "incorrect term gpu=a=b, missing '=' or malformed expression"),
        (["gpu=-1"], "cannot ask for negative resource gpu"),
        (["gpu=1", "gpu=a"], "mixed discrete and named resources in expression 'gpu=[1 a]'"),
    ],
)
def test_what_is_no_resource(terms: list[str], words: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse(terms)
    assert raised.value.message == f"could not parse GenericResource: {words}"


def test_the_program_is_told() -> None:
    given = (GenericResource("gpu", 2), GenericResource("card", 1, "a"), GenericResource("card", 1, "b"))
    assert environment(given) == ("DOCKER_RESOURCE_GPU=2", "DOCKER_RESOURCE_CARD=a,b")
