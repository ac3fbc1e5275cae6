"""The seed's walk-through by the real docker client on the node's socket."""

import shutil

import pytest

from tests.cluster import walkthrough as walk
from tests.driver import Lab

PROGRAM = "docker"
pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="needs the docker client on the PATH")


def test_nodes(lab: Lab) -> None:
    walk.nodes_are_listed(lab, PROGRAM)


def test_the_seed_from_network_to_removal(lab: Lab) -> None:
    walk.overlay_service(lab, PROGRAM, "dtest", "dnet")
    walk.mesh(lab, PROGRAM, "dweb", "dnet", 8081)
    walk.logs(lab, PROGRAM, "dtalk")
    walk.why(lab, PROGRAM, "dnowhere")
    walk.removal(lab, PROGRAM, ("dtest", "dweb", "dtalk", "dnowhere"), "dnet")
