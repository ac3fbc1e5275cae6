"""An invariant over the state: services s1 and s2 never share a node. The product does not know of it, so it is broken
soon; with `--policy docs/examples/apart_policy.py` it holds.
"""

from sim.properties import View


def state(view: View) -> str | None:
    for node in view.nodes:
        services = {task.service_name for task in view.on(node.id)}
        if {"s1", "s2"} <= services:
            return f"s1 and s2 are both on {node.id}"
    return None
