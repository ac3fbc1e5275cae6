"""A filter: what makes docs/examples/apart.py hold."""

from cluster.model.objects import Node, Task

APART = {"s1": "s2", "s2": "s1"}


def fits(task: Task, node: Node, on_node: tuple[Task, ...]) -> bool:
    return APART.get(task.service_name) not in {other.service_name for other in on_node}
