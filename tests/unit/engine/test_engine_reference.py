"""docs/engine-api.md says what the table of routes has, and the table has every route of the Engine API's description, where that lies beside the checkout."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from agent.engine import reference
from agent.engine.routes import ROUTES, compile_routes, find
from tests import description

TOP = Path(__file__).parents[3]


def test_the_page_is_the_table() -> None:
    assert (TOP / "docs" / "engine-api.md").read_text() == reference.text(), "python -m agent.engine.reference > docs/engine-api.md"


def test_those_that_refuse_are_named() -> None:
    refusing = {handler for _, _, handler in ROUTES if re.search(r"^    return unserved\(", inspect.getsource(inspect.unwrap(handler)), re.MULTILINE)}
    assert refusing == reference.REFUSED


@description.NEEDED
def test_every_route_of_the_description_is_served() -> None:
    table = compile_routes()
    described = description.operations()
    assert len(described) > 90
    assert [str(one) for one in described if find(table, one.method, re.sub(r"\{\w+\}", "x", one.path)) is None] == []
