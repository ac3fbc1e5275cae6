"""Labs that stand for as long as a test, or a session, wants them: noted before they are made, taken down whatever happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests import leftovers
from tests.driver import Lab


@contextmanager
def standing(name: str, *argv: str, timeout_s: float = 60) -> Iterator[Lab]:
    """`lab up` with these words; what an earlier run left under the name goes first."""
    made = Lab(name)
    leftovers.note_lab(name)
    made.festoon("down")
    try:
        done = made.festoon("up", *argv, timeout_s=timeout_s)
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        down = made.festoon("down")
        assert down.returncode == 0, down.stdout + down.stderr
