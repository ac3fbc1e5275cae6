"""Nothing that a client can send is answered by an error of our own, ends the node, or makes it grow: random requests of the API's description, and bytes that
are no requests at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import description
from tests.node.engine_fuzzing import Heard, Sent, head, requests
from tests.node.engine_world import World, standing_world

WARM, FEW, MANY = 100, 300, 10_000
GROWN_DESCRIPTORS = 24
GROWN_BYTES = 48 * 1024 * 1024
"""What caches, and the interpreter's arenas, may take in addition."""

OUR_BUG = b"internal error"
NOT_SENT = {"/images/search", "/distribution/{name}/json", "/images/{name}/push"}
"""Each waits seconds for a registry that is not there."""

QUIET = settings(
    deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with standing_world("fuzz") as made:
        yield made


def _is_bounded(world: World, number: int, strategy: st.SearchStrategy[Sent], check: Callable[[Sent, Heard], None]) -> None:
    """So many requests, the first hundred before the sizes are taken: what is loaded and cached at the first use is there then."""
    world.renew()
    sizes: list[tuple[int, int]] = []
    for count in (WARM, number):

        @settings(QUIET, max_examples=count)
        @given(strategy)
        def send(sent: Sent) -> None:
            check(sent, world.send(sent))

        send()
        sizes.append(world.size())
    assert world.bugs() == []
    (descriptors, resident), (descriptors_after, resident_after) = sizes
    assert descriptors_after <= descriptors + GROWN_DESCRIPTORS
    assert resident_after <= resident + GROWN_BYTES


def _random_requests() -> st.SearchStrategy[Sent]:
    operations = tuple(operation for operation in description.operations() if operation.path not in NOT_SENT)
    return requests(operations)


def _is_an_answer(sent: Sent, heard: Heard) -> None:
    """A refusal says why, in JSON; none of them is a mistake of ours."""
    assert heard.status < 500 or OUR_BUG not in heard.body, sent
    if heard.status >= 400 and not sent.raw.startswith(b"HEAD "):
        assert json.loads(heard.body)["message"], sent


@description.NEEDED
def test_random_requests_get_answers(world: World) -> None:
    _is_bounded(world, FEW, _random_requests(), _is_an_answer)


@pytest.mark.slow
@description.NEEDED
def test_many_random_requests_get_answers(world: World) -> None:
    _is_bounded(world, MANY, _random_requests(), _is_an_answer)


SEEDS = (
    head("GET", "/v1.51/containers/json?all=1", {}, 0),
    head("POST", "/containers/create", {"Content-Type": "application/json"}, 2) + b"{}",
    b"POST /images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
    b"POST /containers/one/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n",
    b"PUT /containers/one/archive?path=/tmp HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nabcde",
)
PIECES = (b"\r\n", b"\r\n\r\n", b"\0", b"\xff" * 9, b" ", b":", b"HTTP/9.9", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n", b"%",
          b"%zz", b"Transfer-Encoding: chunked\r\n", b"ffffffffffffffff\r\n", b"?" * 50, b"x" * 70_000,
          b"GET / HTTP/1.1\r\n\r\n", b"Upgrade: tcp\r\n")  # fmt: skip


@st.composite
def _raw(draw: st.DrawFn) -> Sent:
    """A request with a few things wrong, or none at all."""
    if draw(st.integers(0, 4)) == 0:
        return Sent("bytes", draw(st.binary(max_size=400)))
    raw = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        at, until_ = sorted(draw(st.tuples(st.integers(0, len(raw)), st.integers(0, len(raw)))))
        cut = at if draw(st.booleans()) else min(until_, at + 20)
        raw = raw[:at] + draw(st.sampled_from(PIECES) | st.binary(max_size=8)) + raw[cut:]
    return Sent("bytes", raw)


def _is_no_bug(sent: Sent, heard: Heard) -> None:
    assert heard.status < 500 or OUR_BUG not in heard.body, sent


def test_bytes_that_are_no_requests_do_no_harm(world: World) -> None:
    _is_bounded(world, FEW, _raw(), _is_no_bug)


@pytest.mark.slow
def test_many_bytes_that_are_no_requests_do_no_harm(world: World) -> None:
    _is_bounded(world, MANY, _raw(), _is_no_bug)
