"""docs/engine-api.md says what the table of routes has, and the table has every route of the Engine API's description, where that lies beside the checkout."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from agent.engine import reference
from agent.engine.routes import ROUTES, compile_routes, find

TOP = Path(__file__).parents[3]
DESCRIPTION = TOP.parent / "shared" / "data" / "engine-api-1.51.json"
METHODS = ("get", "head", "post", "put", "delete")


def test_the_page_is_the_table() -> None:
    assert (TOP / "docs" / "engine-api.md").read_text() == reference.text(), "python -m agent.engine.reference > docs/engine-api.md"


def test_those_that_refuse_are_named() -> None:
    refusing = {handler for _, _, handler in ROUTES if re.search(r"^    return unserved\(", inspect.getsource(inspect.unwrap(handler)), re.MULTILINE)}
    assert refusing == reference.REFUSED


@pytest.mark.skipif(not DESCRIPTION.exists(), reason="the Engine API's description is not beside this checkout")
def test_every_route_of_the_description_is_served() -> None:
    table = compile_routes()
    described = [(method.upper(), path) for path, methods in json.loads(DESCRIPTION.read_text())["paths"].items() for method in methods if method in METHODS]
    assert len(described) > 90
    assert [(method, path) for method, path in described if find(table, method, re.sub(r"\{\w+\}", "x", path)) is None] == []
