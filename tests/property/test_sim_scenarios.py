"""Hypothesis draws operations and faults by the world's own families, so what it finds it also shrinks."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from sim.draws import Draws
from sim.run import run
from sim.scenario import Scenario, Shape
from sim.strategies import FAMILIES, generate_from


class Drawn(Draws):
    """Every number is Hypothesis' choice."""

    def __init__(self, draw: Any) -> None:
        super().__init__(0)
        self._draw = draw

    def fork(self, label: str) -> Draws:  # noqa: ARG002  one stream is enough: Hypothesis keeps it
        return self

    def bits(self) -> int:
        return int(self._draw(st.integers(0, (1 << 64) - 1)))

    def below(self, limit: int) -> int:
        return int(self._draw(st.integers(0, limit - 1)))

    def between(self, low: int, high: int) -> int:
        return int(self._draw(st.integers(low, high)))

    def chance(self, permille: int) -> bool:
        return self.below(1000) < permille


def scenarios(shape: Shape) -> SearchStrategy[Scenario]:
    @st.composite
    def drawn(draw: Any) -> Scenario:
        return generate_from(Drawn(draw), draw(st.integers(0, 50)), shape)

    return drawn()


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_choice_of_faults_breaks_a_promise(data: DataObject) -> None:
    scenario = data.draw(scenarios(Shape(agents=2, services=2, jobs=2, seconds=6, faults=tuple(FAMILIES))))
    assert run(scenario, keep=False).failure == ""
