"""The machine goes down: every container is stopped as its image asks for, the ends are recorded, and the supervisor ends. Owns the
order of that.

Nothing is removed: after the next boot the node finds how each container ended, and starts again what its policy wants.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from runtime.kernel.processes import send_signal
from runtime.spec import Exited
from runtime.supervisor import control, ending
from runtime.supervisor.context import Context
from runtime.supervisor.states import Container, Phase


def halt(context: Context, grace_s: float, done: Callable[[], None]) -> None:
    """Stop signals now, SIGKILL after the grace period; `done` when no container runs. From now on nothing is started."""
    context.halting = True
    left = {container.spec.id for container in context.containers.values() if container.phase is Phase.RUNNING}

    def ended(container_id: str, _exited: Exited) -> None:
        left.discard(container_id)
        if not left:
            context.loop.when_idle(done)  # what else waits for this end is told before

    for container_id in tuple(left):
        container = context.containers[container_id]
        container.waiters.append(partial(ended, container_id))
        _ask_to_stop(container)
    if not left:
        done()
        return

    def out_of_patience() -> None:
        for container_id in left:
            ending.kill(context.containers[container_id])

    context.loop.after(grace_s, out_of_patience)


def _ask_to_stop(container: Container) -> None:
    if container.process is not None:
        send_signal(container.process.pidfd, container.spec.stop_signal)
    if container.paused:
        control.unpause(container)
