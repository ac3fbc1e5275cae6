"""Encrypted overlays on a kernel with ESP: the tests of tests/node/test_netfabric_encryption.py, which see there what a kernel without it does."""

from __future__ import annotations

import pytest
import trio

from tests.node import netfabric_world as w
from tests.node.test_netfabric_encryption import (
    test_a_turn_of_the_ring_interrupts_nothing_while_nodes_hear_of_it_one_after_the_other,
    test_nothing_of_an_encrypted_overlay_crosses_the_underlay_in_the_clear,
    test_what_is_there_is_known_again_and_the_rest_repaired,
    world,
)

__all__ = [
    "test_a_turn_of_the_ring_interrupts_nothing_while_nodes_hear_of_it_one_after_the_other",
    "test_nothing_of_an_encrypted_overlay_crosses_the_underlay_in_the_clear",
    "test_what_is_there_is_known_again_and_the_rest_repaired",
    "world",
]


@pytest.fixture(autouse=True)
def _with_esp(world: w.World) -> None:
    """The others skip where there is none, or ask for less."""

    async def main() -> None:
        async with world.open():
            assert all(fabric.encrypts for fabric in world.fabrics.values())

    trio.run(main)
