"""SCTP on a kernel that has it, by both balancers: the test of tests/node/test_netfabric_mesh.py, which skips where there is none."""

from __future__ import annotations

import pytest

from tests.node import netfabric_world as w
from tests.node.test_netfabric_mesh import test_sctp_is_balanced_by_published_port_and_virtual_address, world

__all__ = ["test_sctp_is_balanced_by_published_port_and_virtual_address", "world"]


@pytest.fixture(autouse=True)
def _with_sctp() -> None:
    assert w.has_sctp()
    assert w.has_ipvs()
