"""A property of rolling updates: while a service is updated one by one, at most one of its slots is without a running
task. Holds with `--faults none`; with crashing agents it can't, and the counterexample shows why.
"""

from sim.properties import View

RUNNING = 512


def state(view: View) -> str | None:
    for service in view.services:
        status, update = service.update_status, service.spec.update
        if status is None or status.state != "updating" or update is None or update.parallelism != 1:
            continue
        tasks = view.of(service.spec.name)
        made = {task.slot for task in tasks if task.history or task.status.state >= RUNNING}
        running = {task.slot for task in tasks if task.status.state == RUNNING}
        wanted = set(range(1, (service.spec.mode.replicas or 0) + 1)) & made
        if len(wanted - running) > 1:
            return f"slots {sorted(wanted - running)} of {service.spec.name} are down at once in an update one by one"
    return None
