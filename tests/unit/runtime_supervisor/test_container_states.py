"""The table of phases, row by row."""

from __future__ import annotations

import pytest

from runtime.spec import ContainerSpec, Exited, RootFs
from runtime.supervisor.states import TRANSITIONS, Container, Happening, Phase

SPEC = ContainerSpec("ab" * 32, ("true",), (), RootFs(("/l",), "/u", "/w"))


def test_a_whole_life() -> None:
    container = Container(SPEC, "/state")
    phases = []
    for happening in (
        Happening.START,
        Happening.FAILED,
        Happening.START,
        Happening.EXECUTED,
        Happening.ENDED,
        Happening.START,
        Happening.EXECUTED,
        Happening.REMOVE,
        Happening.ENDED,
    ):
        container.move(happening)
        phases.append(str(container.phase))
    assert phases == ["starting", "created", "starting", "running", "exited", "starting", "running", "removing", "removing"]


@pytest.mark.parametrize(("phase", "happening"), [(p, h) for p in Phase for h in Happening if (p, h) not in TRANSITIONS])
def test_what_is_not_in_the_table_is_our_bug(phase: Phase, happening: Happening) -> None:
    with pytest.raises(KeyError):
        Container(SPEC, "/state", phase=phase).move(happening)


def test_every_phase_can_be_removed_and_nothing_comes_back() -> None:
    assert all(TRANSITIONS[phase, Happening.REMOVE] is Phase.REMOVING for phase in Phase)
    assert {after for (before, _), after in TRANSITIONS.items() if before is Phase.REMOVING} == {Phase.REMOVING}


def test_what_list_shows() -> None:
    container = Container(SPEC, "/state", phase=Phase.STARTING)
    assert (container.state().phase, container.state().pid) == ("created", 0)
    container = Container(SPEC, "/state", phase=Phase.EXITED, exited=Exited(3))
    assert (container.state().phase, container.state().exited) == ("exited", Exited(3))
