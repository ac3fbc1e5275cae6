"""A placement policy: fill nodes one after the other, four tasks each, and keep one node empty for large tasks.

It has a bug: when the other nodes go away, small tasks wait for ever beside the empty one.
`festoon sim hunt --nodes 4 --services 2 --policy docs/examples/bin_packing.py --invariant docs/examples/no_starvation.py`
"""

from collections.abc import Sequence

from cluster.model.objects import Node, Task

TASKS_PER_NODE = 4
LARGE_BYTES = 1 << 30


def place(task: Task, nodes: Sequence[tuple[Node, tuple[Task, ...]]]) -> str | None:
    """The fullest node that has a place; an empty one only while another stays empty."""
    large = task.spec.reservations is not None and task.spec.reservations.memory_bytes >= LARGE_BYTES
    used = [(len(tasks), node.id) for node, tasks in nodes if 0 < len(tasks) < TASKS_PER_NODE]
    empty = [node.id for node, tasks in nodes if not tasks]
    if used:
        return max(used)[1]
    return empty[0] if empty and (large or len(empty) > 1) else None
