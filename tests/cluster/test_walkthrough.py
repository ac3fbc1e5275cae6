"""The seed's walk-through by `festoon`."""

from tests.cluster import walkthrough as walk
from tests.driver import Lab

PROGRAM = "festoon"


def test_nodes(lab: Lab) -> None:
    walk.nodes_are_listed(lab, PROGRAM)


def test_the_seed_from_network_to_removal(lab: Lab) -> None:
    walk.overlay_service(lab, PROGRAM, "test", "mynet")
    walk.mesh(lab, PROGRAM, "web", "mynet", 8080)
    walk.logs(lab, PROGRAM, "talk")
    walk.why(lab, PROGRAM, "nowhere")
    walk.removal(lab, PROGRAM, ("test", "web", "talk", "nowhere"), "mynet")
