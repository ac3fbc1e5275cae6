"""Texts of requests that look like numbers and are none: refused in Docker's words, found by fuzzing."""

from __future__ import annotations

import pytest

from agent import users
from agent.engine.convert import time_parameter_ns
from agent.engine.convert_dependencies import spec_of
from agent.engine.convert_host import bindings_of, parse_port
from agent.engine.fields import Fields
from agent.engine.until import until_ns
from cluster.model.decimals import is_integer, is_natural
from cluster.model.errors import InvalidArgument

DIGITS = "9" * 5000
"""More than `int` reads."""


def test_a_number_is_ascii_and_goes_into_eight_bytes() -> None:
    assert all(is_natural(text) for text in ("0", "12", "9223372036854775807"))
    assert not any(is_natural(text) for text in ("9223372036854775808", "-1", "", "²", "٣", "9" * 20, DIGITS))
    assert [is_integer(text) for text in ("-1", "1", "--1", "-", "-²")] == [True, True, False, False, False]


@pytest.mark.parametrize("text", ["²", DIGITS, "²/tcp"])
def test_a_port_that_is_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid port specification"):
        parse_port(text)


@pytest.mark.parametrize(("text", "fault"), [("²", "invalid syntax"), (DIGITS, "value out of range"), (f"1.{DIGITS}", "value out of range"),
                                            ("nonsense", "invalid syntax")])  # fmt: skip
def test_a_time_that_is_none(text: str, fault: str) -> None:
    with pytest.raises(InvalidArgument, match=f'strconv.ParseInt: parsing "{text.removeprefix("1.")}": {fault}'):
        time_parameter_ns(text)
    with pytest.raises(InvalidArgument, match="failed to parse value as time or duration"):
        until_ns({"until": (f"{DIGITS}h",)}, 0)


def test_data_that_is_no_base64() -> None:
    for text in ("\x80", "a", "%"):
        with pytest.raises(InvalidArgument, match="Data must be base64"):
            spec_of(Fields({"Name": "a", "Data": text}))


def test_a_user_that_is_no_number() -> None:
    for text in ("²", f"0:{DIGITS}"):
        with pytest.raises(InvalidArgument, match=r"unable to find (user|group)"):
            users.resolve(text, "", "")


def test_a_port_is_read_as_docker_reads_it() -> None:
    """testcontainers writes the protocol behind both ports."""
    assert parse_port("80/TCP") == (80, "tcp")
    with pytest.raises(InvalidArgument, match=r'^invalid port specification: "-1"$'):
        parse_port("-1/tcp")
    (binding,) = bindings_of(Fields({"PortBindings": {"8125/udp": [{"HostPort": "8126/udp"}]}}))
    assert (binding.container_port, binding.protocol, binding.host_port) == (8125, "udp", 8126)
