"""docs/engine-api.md, written from the table of routes: `python -m agent.engine.reference`. Never loaded by the daemon."""

from __future__ import annotations

import inspect

from agent.engine import system
from agent.engine.routes import ROUTES, Handler
from cluster.version import API_VERSION, MIN_API_VERSION

REFUSED = frozenset({system.build, system.plugin_install})
"""Handlers that answer 501 with one sentence, whatever is asked."""

OWN = ("/festoon/", "/metrics")
_HEAD = f"""# The Engine API, route by route

Versions {MIN_API_VERSION} to {API_VERSION}, on the node's socket and, with mutual TLS, over TCP (docs/security.md). A path may begin with `/v1.NN`.
`*`: with slashes, `**`: or empty, which is refused.
Made from the table of routes by `python -m agent.engine.reference`; a test holds it against the table, and the table against
Docker's description of version 1.51, which lists every route below but Festoon's own, `/plugins`, `/build` and what belongs to it.
What differs in the answers is in docs/differences.md.

| method | path | answer | by |
|---|---|---|---|
"""


def text() -> str:
    return _HEAD + "".join(f"| {method} | `{path}` | {_answer(path, handler)} | `{_place(handler)}` |\n" for method, path, handler in ROUTES)


def _answer(path: str, handler: Handler) -> str:
    if handler in REFUSED:
        return "501, one sentence"
    return "Festoon's own" if path.startswith(OWN) else "as Docker's"


def _place(handler: Handler) -> str:
    function = inspect.unwrap(handler)
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__}"


if __name__ == "__main__":
    print(text(), end="")
