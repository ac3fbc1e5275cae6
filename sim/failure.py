"""What a run that went wrong says."""

from __future__ import annotations


class Broken(Exception):
    """A promise was not kept; the sentence says which, and by whom. `before` and `after`: the state around the step
    that broke it, in lines.
    """

    def __init__(self, sentence: str, before: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.before = before
        self.after = after


class BadProperty(Exception):
    """What a run was given is no policy, invariant or mistake, or goes wrong itself; the sentence names it."""
