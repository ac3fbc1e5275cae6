"""Which containers `ps` shows by their ports, in Docker's words where a filter means nothing."""

from __future__ import annotations

import pytest

from agent.engine.container_filters import has_port
from cluster.model.errors import InvalidArgument


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("80", True), ("80/tcp", True), ("80/udp", False), ("70-90", True), ("81-90/tcp", False), ("53/udp", True)],
)
def test_a_port_is_found_by_number_range_and_protocol(wanted: str, found: bool) -> None:
    assert has_port("publish", {"80/tcp", "53/udp"}, (wanted,)) is found


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("", "error while looking up for publish : Empty string specified for ports."),
        ("x", 'error while looking up for publish x: strconv.ParseUint: parsing "x": invalid syntax'),
        ("99999", 'error while looking up for publish 99999: strconv.ParseUint: parsing "99999": value out of range'),
        ("90-80", "error while looking up for publish 90-80: Invalid range specified for the Port: 90-80"),
    ],
)
def test_what_is_no_port_is_refused(wanted: str, sentence: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        has_port("publish", {"80/tcp"}, (wanted,))
    assert refused.value.message == sentence
