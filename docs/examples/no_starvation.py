"""An invariant over the history: no task waits for a node for ten seconds while an empty node is ready."""

from collections.abc import Sequence

from sim.properties import View

PATIENCE_S = 10.0


def history(views: Sequence[View]) -> str | None:
    now = views[-1]
    idle = [node.id for node in now.nodes if node.status.state == "ready" and node.spec.availability == "active" and not now.on(node.id)]
    for task in now.tasks if idle else ():
        if task.node_id or task.desired_state > 512:
            continue
        waited = [view for view in views if any(known.id == task.id and not known.node_id for known in view.tasks)]
        if waited and now.at_s - waited[0].at_s > PATIENCE_S:
            return f"{task.service_name}.{task.slot} waits for {now.at_s - waited[0].at_s:.0f} s while {idle[0]} is empty"
    return None
